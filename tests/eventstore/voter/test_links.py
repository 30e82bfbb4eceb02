from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.access.places import Places
from eventstore.events import VoterPlaced
from eventstore.raft.messages import VERSION, Message, TimeoutNow
from eventstore.reactor import Reactor
from eventstore.voter.links import VoterLinks
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import close_reactor, new_reactor

WITHIN_S = 30.0
EVERY_S = 0.05
CLUSTER = "6f1f3f0e-0000-4000-8000-000000000001"


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


class Gate(Places):
    """Places that know the key of `admitted` only, and note that somebody's was looked up."""

    asked = False
    admitted: tuple[str, str] = ("", "")  # name, key

    def holder_of(self, curve_key: str) -> str | None:
        self.asked = True
        name, key = self.admitted
        return name if key == curve_key else None


def place(name: str, keys: CurveKeys, endpoint: str) -> VoterPlaced:
    return VoterPlaced(
        name=name,
        inc="00" * 16,
        curve_key=keys.public,
        requests="",
        publications="",
        replication=endpoint,
    )


@pytest.mark.acceptance
def test_a_voter_whose_key_was_refused_is_heard_once_it_is_known(reactor: Reactor) -> None:
    """Its link is dialled anew: ZeroMQ itself never tries again after a refusal."""
    zap, old, new = ZapHandler(reactor), new_curve_keys(), new_curve_keys()
    heard: list[Message] = []
    gate = Gate()

    def links(keys: CurveKeys, places: Places, domain: str) -> VoterLinks:
        return VoterLinks(
            reactor,
            "tcp://127.0.0.1:*",
            keys=keys,
            zap=zap,
            places=places,
            on_message=heard.append,
            domain=domain,
            redial_s=1.0,
        )

    there = links(old, gate, "old")
    here = links(new, Places([place("old", old, there.endpoint)]), "new")
    message = TimeoutNow(VERSION, CLUSTER, 1, 1, "new", bytes(16))

    def send() -> None:
        here.send("old", message)
        reactor.call_at(reactor.now() + EVERY_S, send)

    send()
    assert reactor.run_until(lambda: gate.asked, timeout_s=WITHIN_S)
    assert not heard
    gate.admitted = ("new", new.public)
    assert reactor.run_until(lambda: bool(heard), timeout_s=WITHIN_S)
    assert heard[0] == message

"""The way of a call over several voters: hints, losses, refusals, deadlines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import AsyncClient, Client, Voter
from eventstore.errors import AccessDenied, EventStoreError, NotLeader, TooLarge, Unreachable
from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.serving.server import ReplyTo, Request
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import (
    MemoryReplica,
    WireVoter,
    close_reactor,
    new_reactor,
    unexpected,
)

pytestmark = pytest.mark.acceptance
EVERYONE = ("operator", "node")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


@pytest.fixture
def keys() -> CurveKeys:
    return new_curve_keys()


@pytest.fixture
def voters(reactor: Reactor, keys: CurveKeys) -> list[WireVoter]:
    """Three voters over one log, in which `keys` were admitted. `who` answers with the name."""
    zap, replica = ZapHandler(reactor), MemoryReplica()
    replica.append_event(
        STREAM, KeyAdmitted(name="operator:a", role="operator", curve_key=keys.public)
    )
    made = [WireVoter(reactor, zap, name, replica) for name in ("v1", "v2", "v3")]
    for voter in made:
        serve_who(voter)
    return made


def serve_who(voter: WireVoter) -> None:
    voter.server.register("who", EVERYONE, lambda _asked, reply: reply.done(voter.name))


def led_by(voters: list[WireVoter], leader: str, *, hint: str) -> None:
    """Let only `leader` answer `lead`; the others point to `hint`."""
    for voter in voters:

        def handler(_asked: Request, reply: ReplyTo, name: str = voter.name) -> None:
            if name != leader:
                raise NotLeader("not me", leader=hint)
            reply.done(name)

        voter.server.register("lead", EVERYONE, handler)


def client_of(reactor: Reactor, voters: list[WireVoter], keys: CurveKeys) -> Client:
    return Client([voter.voter for voter in voters], keys, reactor=reactor)


def test_the_leaders_name_is_followed(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A voter that does not lead names the leader; the call goes there, the next one directly."""
    led_by(voters, "v3", hint="v3")
    client = client_of(reactor, voters, keys)
    assert client.call("lead").voter == "v3"
    assert client.call("who").decode(str) == "v3"


@pytest.mark.parametrize("hint", ["", "v1", "nobody"])
def test_a_leader_is_found_without_a_useful_hint(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys, hint: str
) -> None:
    """Where the hints are missing, wrong or unknown, the voters are asked in turn."""
    led_by(voters, "v3", hint=hint)
    assert client_of(reactor, voters, keys).call("lead", timeout_s=10).voter == "v3"


def test_without_a_leader_the_call_ends_in_time(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """Voters that all point elsewhere do not hold a call beyond its deadline."""
    led_by(voters, "none", hint="v2")
    with pytest.raises(Unreachable):
        client_of(reactor, voters, keys).call("lead", timeout_s=0.5)


def test_a_dead_voter_is_passed_over(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """With the first voter gone, the next one answers."""
    known = [voter.voter for voter in voters]
    voters[0].close()
    assert Client(known, keys, reactor=reactor).call("who").decode(str) == "v2"


def test_a_voter_that_dies_with_the_request_is_replaced_with_the_same_key(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A call whose voter dies before the answer is repeated elsewhere, with its idempotency key."""
    seen: list[tuple[str, str | None]] = []

    def die(asked: Request, _reply: ReplyTo) -> None:
        seen.append(("v1", asked.key))
        reactor.call_soon(voters[0].close)

    def serve(asked: Request, reply: ReplyTo) -> None:
        seen.append(("v2", asked.key))
        reply.done("v2")

    voters[0].server.register("act", EVERYONE, die)
    voters[1].server.register("act", EVERYONE, serve)
    answer = client_of(reactor, voters, keys).call("act", key="once")
    assert answer.decode(str) == "v2"
    assert seen == [("v1", "once"), ("v2", "once")]


def test_a_voter_that_hangs_is_not_waited_for(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A voter that takes a request and says nothing is given up after the patience of the call."""
    voters[0].server.register("act", EVERYONE, lambda _asked, _reply: None)
    voters[1].server.register("act", EVERYONE, lambda _asked, reply: reply.done("v2"))
    client = client_of(reactor, voters, keys)
    assert client.call("act", patience_s=0.1).decode(str) == "v2"


def test_a_voter_that_lags_does_not_deny_for_the_others(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A key that the first voter does not know yet is let in by the second."""
    lagging = WireVoter(reactor, voters[0]._zap, "v0", MemoryReplica())
    client = Client([lagging.voter, voters[1].voter], keys, reactor=reactor)
    assert client.call("who").decode(str) == "v2"


def test_unreachable_says_that_the_outcome_is_unknown(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A request that was sent and never answered ends as Unreachable with that hint; one that could
    not be sent ends as Unreachable without it."""
    voters[0].server.register("act", EVERYONE, lambda _asked, _reply: None)
    with pytest.raises(Unreachable) as sent:
        client_of(reactor, voters[:1], keys).call("act", timeout_s=0.2, key="k")
    assert "outcome is unknown" in sent.value.hint
    assert "same key" in sent.value.hint
    known = voters[0].voter
    voters[0].close()
    with pytest.raises(Unreachable) as unsent:
        Client([known], keys, reactor=reactor).call("act", timeout_s=0.2, key="k")
    assert "unknown" not in unsent.value.hint


def test_a_wrong_voter_key_is_no_connection(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """Someone else at the voter's address is not talked to."""
    right = voters[0].voter
    wrong = Voter(
        name="v1",
        requests_endpoint=right.requests_endpoint,
        publish_endpoint=right.publish_endpoint,
        curve_key=new_curve_keys().public,
    )
    with pytest.raises(Unreachable):
        Client([wrong], keys, reactor=reactor).call("who", timeout_s=0.5)


def test_a_client_reconnects_to_a_voter_that_came_back(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A call made while the voter is away is answered once it is back at its address."""
    voter = voters[0]
    known = voter.voter
    client = Client([known], keys, reactor=reactor)
    assert client.call("who").decode(str) == "v1"
    voter.close()

    def come_back() -> None:
        voter.open(known.requests_endpoint, known.publish_endpoint)
        serve_who(voter)

    reactor.call_later(0.2, come_back)
    assert client.call("who", timeout_s=20).decode(str) == "v1"


def test_too_large_a_request_is_refused_before_it_is_sent(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A body beyond the limit raises TooLarge at the caller."""
    with pytest.raises(TooLarge):
        client_of(reactor, voters, keys).call("who", b"x" * (2 << 20))


def test_voters_may_change_under_a_call(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A call to a voter that is no longer one is made to those that are."""
    voters[0].server.register("act", EVERYONE, lambda _asked, _reply: None)
    voters[1].server.register("act", EVERYONE, lambda _asked, reply: reply.done("v2"))
    client = AsyncClient(reactor, [voters[0].voter], keys)
    got: list[str] = []
    client.call(
        "act",
        timeout_s=20,
        on_answer=lambda answer: got.append(answer.voter),
        on_error=unexpected,
    )
    reactor.call_later(0.05, lambda: client.set_voters([voters[1].voter, voters[2].voter]))
    assert reactor.run_until(lambda: bool(got), timeout_s=10)
    assert got == ["v2"]


def test_a_call_to_one_voter_stays_there(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """A call that names its voter is made there alone: its NotLeader is the answer, and its death
    the end of the call."""
    led_by(voters, "v1", hint="v1")
    known = [voter.voter for voter in voters]
    client = AsyncClient(reactor, known, keys)
    got: list[str] = []
    errors: list[EventStoreError] = []

    def call(kind: str, timeout_s: float) -> None:
        client.call(
            kind,
            timeout_s=timeout_s,
            voter="v3",
            on_answer=lambda answer: got.append(answer.decode(str)),
            on_error=errors.append,
        )

    call("who", 10)
    assert reactor.run_until(lambda: got == ["v3"], timeout_s=10)
    call("lead", 10)
    assert reactor.run_until(lambda: len(errors) == 1, timeout_s=10)
    voters[2].close()
    call("who", 0.3)
    assert reactor.run_until(lambda: len(errors) == 2, timeout_s=10)
    assert [type(error) for error in errors] == [NotLeader, Unreachable]
    assert client.preferred == "v1"


def test_a_cancelled_call_is_silent(
    reactor: Reactor, voters: list[WireVoter], keys: CurveKeys
) -> None:
    """After cancel neither callback is called, though the voter answers."""
    client = AsyncClient(reactor, [voters[0].voter], keys)
    call = client.call("who", timeout_s=20, on_answer=unexpected, on_error=unexpected)
    call.cancel()
    got: list[str] = []
    client.call("who", timeout_s=20, on_answer=lambda a: got.append(a.voter), on_error=unexpected)
    assert reactor.run_until(lambda: bool(got), timeout_s=10)


def test_a_denied_key_is_denied_by_all_before_it_is_said(
    reactor: Reactor, voters: list[WireVoter]
) -> None:
    """AccessDenied names every voter that refused."""
    errors: list[EventStoreError] = []
    client = AsyncClient(reactor, [voter.voter for voter in voters], new_curve_keys())
    client.call("who", timeout_s=20, on_answer=unexpected, on_error=errors.append)
    assert reactor.run_until(lambda: bool(errors), timeout_s=10)
    assert isinstance(errors[0], AccessDenied)
    assert "v1, v2, v3" in str(errors[0])


def test_importing_the_client_is_cheap() -> None:
    """A command line that imports the client loads neither SQLite nor cryptography nor asyncio."""
    code = (
        "import sys, eventstore.access.keys;"
        "import eventstore.clients.client, eventstore.clients.subscriber;"
        "heavy = {'apsw', 'cryptography', 'asyncio', 'sqlite3', 'sqlite_utils'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

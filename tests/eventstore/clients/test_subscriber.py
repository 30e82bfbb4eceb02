"""Subscriptions over real sockets: exactly once, in order, through losses and restarts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest

from eventstore.access.keys import new_curve_keys
from eventstore.clients.client import AsyncClient
from eventstore.clients.following import Log, Streams
from eventstore.clients.subscriber import Delivery, Reign, Subscriber, Subscription
from eventstore.errors import AccessDenied, CorruptLog, EventStoreError
from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.record import Epoch, Stored
from eventstore.replica import Leadership
from eventstore.wire.messages import HEARTBEAT_TOPIC
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import (
    CLUSTER,
    MemoryReplica,
    WireVoter,
    close_reactor,
    new_reactor,
    unexpected,
)

pytestmark = pytest.mark.acceptance


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


@pytest.fixture
def voter(reactor: Reactor) -> WireVoter:
    return WireVoter(reactor, ZapHandler(reactor))


class Subject:
    """A subscription and what it delivered."""

    def __init__(self, voter: WireVoter, follower: Log | Streams, **options: object) -> None:
        self.deliveries: list[Delivery] = []
        self.reigns: list[Reign] = []
        self.errors: list[EventStoreError] = []
        keys = options.pop("keys", None) or voter.admit()
        voters = options.pop("voters", None) or [voter.voter]
        client = AsyncClient(voter.reactor, voters, keys)  # type: ignore[arg-type]
        self.subscription = Subscription(
            voter.reactor, client, keys, follower,  # type: ignore[arg-type]
            on_delivery=self.deliveries.append, on_error=self.errors.append,
            on_reign=self.reigns.append, **options,  # type: ignore[arg-type]
        )  # fmt: skip

    @property
    def records(self) -> list[Stored]:
        return [stored for delivery in self.deliveries for stored in delivery.records]


@pytest.mark.parametrize("seed", range(4))
def test_the_whole_log_arrives_whatever_is_dropped(
    voter: WireVoter, reactor: Reactor, seed: int
) -> None:
    """With two of three messages lost at random, heartbeats among them, and batches committed all
    the time, the log arrives exactly once and in order."""
    chance = random.Random(seed)
    subject = Subject(voter, Log.from_start(CLUSTER), drop=lambda _topic: chance.random() < 0.66)
    left = 300

    def commit() -> None:
        nonlocal left
        if left:
            left -= 1
            voter.replica.append(*chance.choices(["a", "b", "c"], k=chance.randint(1, 5)))
            reactor.call_later(0.002, commit)

    commit()
    assert reactor.run_until(lambda: not left, timeout_s=30)
    assert reactor.run_until(
        lambda: len(subject.records) == voter.replica.committed, timeout_s=30
    ), f"{len(subject.records)} of {voter.replica.committed}"
    assert subject.records == voter.replica.log
    assert len(subject.deliveries) > 1


@pytest.mark.parametrize("seed", range(3))
def test_streams_arrive_whatever_is_dropped(
    voter: WireVoter, reactor: Reactor, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for two streams of three; a lost last record is found by a later check."""
    monkeypatch.setattr("eventstore.clients.subscription._CHECK_S", 0.2)
    chance = random.Random(seed)
    subject = Subject(
        voter,
        Streams({"a": 0, "b": 0}),
        drop=lambda topic: topic != HEARTBEAT_TOPIC and chance.random() < 0.66,
    )
    for _ in range(100):
        reactor.call_later(
            chance.random() / 2,
            lambda: voter.replica.append(*chance.choices(["a", "b", "c"], k=chance.randint(1, 5))),
        )
    assert reactor.run_until(lambda: voter.replica.version("c") > 0, timeout_s=10)
    wanted: list[list[Stored]] = []

    def complete() -> bool:
        wanted[:] = [list(voter.replica.read_stream(s, 1, 10**6)) for s in "ab"]
        got = [[r for r in subject.records if r.record.stream == s] for s in "ab"]
        return voter.replica.committed > 100 and got == wanted

    assert reactor.run_until(complete, timeout_s=30)
    assert len(subject.records) == sum(map(len, wanted))


def test_a_restart_of_the_voter_loses_nothing(voter: WireVoter, reactor: Reactor) -> None:
    """What is committed while the voter's sockets are closed arrives after they are back."""
    keys = voter.admit()
    where = voter.voter
    subject = Subject(voter, Log.from_start(CLUSTER), keys=keys)
    voter.replica.append("a")
    assert reactor.run_until(lambda: len(subject.records) == 2, timeout_s=10)
    voter.close()
    for _ in range(50):
        voter.replica.append("a", "b")
    voter.open(where.requests_endpoint, where.publish_endpoint)
    assert reactor.run_until(lambda: len(subject.records) == 102, timeout_s=20)
    assert subject.records == voter.replica.log


def test_a_subscription_moves_to_the_leader_and_tells_of_the_reign(
    voter: WireVoter, reactor: Reactor
) -> None:
    """When another voter leads, deliveries come from it, in its epoch, without a repetition."""
    keys = voter.admit()
    replica2 = MemoryReplica("v2", like=voter.replica)  # one log, seen by two voters
    second = WireVoter(reactor, voter._zap, "v2", replica2)
    follow = Leadership(Epoch(1, 1), "v1", here=False, ready=False)
    replica2.lead(follow)
    subject = Subject(voter, Streams({"node/1": 0}), keys=keys, voters=[voter.voter, second.voter])
    voter.replica.append("node/1")
    assert reactor.run_until(lambda: len(subject.records) == 1, timeout_s=10)
    assert reactor.run_until(lambda: bool(subject.reigns), timeout_s=10)
    voter.replica.lead(Leadership(Epoch(1, 2), "v2", here=False, ready=False))
    replica2.lead(Leadership(Epoch(1, 2), "v2", here=True, ready=True))
    assert reactor.run_until(lambda: subject.reigns[-1].leads, timeout_s=10)
    replica2.append("node/1")
    assert reactor.run_until(lambda: len(subject.records) == 2, timeout_s=10)
    last = subject.deliveries[-1]
    assert subject.reigns[-1] == Reign(Epoch(1, 2), "v2", True)
    assert (last.epoch, last.records) == (Epoch(1, 2), (voter.replica.log[-1],))


def test_a_silent_voter_is_left_for_another(
    voter: WireVoter, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without heartbeats the subscription listens to the next voter."""
    monkeypatch.setattr("eventstore.clients.subscription._SILENCE_S", 1.5)
    keys = voter.admit()
    replica2 = MemoryReplica("v2", like=voter.replica)
    second = WireVoter(reactor, voter._zap, "v2", replica2)
    subject = Subject(voter, Log.from_start(CLUSTER), keys=keys, voters=[voter.voter, second.voter])
    assert reactor.run_until(lambda: len(subject.records) == 1, timeout_s=10)
    voter.close()
    replica2.append("a")
    assert reactor.run_until(lambda: len(subject.records) == 2, timeout_s=20)


def test_a_refused_key_ends_the_subscription(voter: WireVoter, reactor: Reactor) -> None:
    """A key that is not admitted is an error within seconds, once."""
    subject = Subject(voter, Log.from_start(CLUSTER), keys=new_curve_keys())
    assert reactor.run_until(lambda: bool(subject.errors), timeout_s=10)
    assert [type(error) for error in subject.errors] == [AccessDenied]


@pytest.mark.parametrize(
    "follower", [Log.from_start(CLUSTER), Streams({STREAM: 0})], ids=["log", "stream"]
)
def test_a_revoked_key_ends_the_subscription(
    voter: WireVoter, reactor: Reactor, monkeypatch: pytest.MonkeyPatch, follower: Log | Streams
) -> None:
    """A subscriber whose key is revoked hears nothing of what is committed afterwards, and is told
    why, though publishing alone would never tell it."""
    monkeypatch.setattr("eventstore.clients.subscription._SILENCE_S", 1.2)
    keys = voter.admit()
    subject = Subject(voter, follower, keys=keys)
    assert reactor.run_until(lambda: len(subject.records) == 1, timeout_s=10)
    voter.revoke(keys)
    voter.replica.append("after")
    assert reactor.run_until(lambda: bool(subject.errors), timeout_s=20)
    assert [type(error) for error in subject.errors] == [AccessDenied]
    assert all(stored.record.stream != "after" for stored in subject.records)


def test_a_log_that_contradicts_its_chain_ends_the_subscription(
    voter: WireVoter, reactor: Reactor
) -> None:
    """A voter that serves a changed record is found out, and the seq is named."""
    keys = voter.admit()
    voter.replica.append("a")
    first = voter.replica.log[0]
    voter.replica.log[0] = msgspec.structs.replace(first, hash=b"\0" * 32)
    subject = Subject(voter, Log.from_start(CLUSTER), keys=keys)
    assert reactor.run_until(lambda: bool(subject.errors), timeout_s=10)
    assert isinstance(subject.errors[0], CorruptLog)
    assert subject.errors[0].seq == 1


def test_a_subscriber_may_be_waited_for(voter: WireVoter, reactor: Reactor) -> None:
    """The synchronous form yields the same deliveries, resumes anywhere, and times out in vain."""
    keys = voter.admit()
    voter.replica.append("a", "b")
    (resume,) = voter.replica.append("c")
    voter.replica.append("d")
    follower = Log(resume.record.seq, resume.hash)
    with Subscriber([voter.voter], keys, follower, reactor=reactor) as subscriber:
        first = subscriber.next(timeout_s=10)
        assert first is not None
        assert [stored.record.stream for stored in first.records] == ["d"]
        assert (first.epoch, first.leads) == (Epoch(1, 1), True)
        assert subscriber.next(timeout_s=0.01) is None
        reactor.call_later(0.01, lambda: voter.replica.append("e"))
        for delivery in subscriber:
            assert [stored.record.stream for stored in delivery.records] == ["e"]
            break


def test_a_batch_is_delivered_whole(voter: WireVoter, reactor: Reactor) -> None:
    """However a batch of 1 MB is cut on the wire, the log delivers it in one piece."""
    subject = Subject(voter, Log.from_start(CLUSTER))
    assert reactor.run_until(lambda: len(subject.records) == 1, timeout_s=10)
    batch = voter.replica.append(*["a"] * 50, data=b"\xc5\x4e\x20" + b"x" * 20_000)
    assert reactor.run_until(lambda: len(subject.records) == 51, timeout_s=20)
    holding = [d for d in subject.deliveries if batch[0] in d.records]
    assert len(holding) == 1
    assert all(stored in holding[0].records for stored in batch)


def test_a_later_joiner_is_admitted_while_others_listen(voter: WireVoter, reactor: Reactor) -> None:
    """Admitting a key by a record lets its holder subscribe."""
    keys = new_curve_keys()
    voter.replica.append_event(
        STREAM, KeyAdmitted(name="node:9", role="node", curve_key=keys.public)
    )
    follower = Log.from_start(CLUSTER)
    client = AsyncClient(reactor, [voter.voter], keys)
    got: list[Delivery] = []
    Subscription(reactor, client, keys, follower, on_delivery=got.append, on_error=unexpected)
    assert reactor.run_until(lambda: bool(got), timeout_s=10)

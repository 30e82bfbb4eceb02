"""The whole path on a real log: propose, durable, committed, answered, published, followed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import Client, Voter
from eventstore.clients.following import Log, Streams
from eventstore.clients.subscriber import Subscriber
from eventstore.events import STREAM, KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Event, Stored
from eventstore.replica import Committed, Outcome
from eventstore.serving.server import ReplyTo, Request
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.layout import Layout
from eventstore.voter.creation import create_log
from eventstore.voter.opening import open_quorum
from eventstore.voter.quorum import QuorumVoter
from eventstore.voter.sockets import VoterSockets
from eventstore.wire import messages
from tests.eventstore.storage_lab import CLUSTER, START_MS, Happened
from tests.eventstore.wire_voter import close_reactor, new_reactor

pytestmark = pytest.mark.acceptance


class Daemon:
    """A voter on a real log, as a daemon runs it; `add` appends a record to a stream."""

    def __init__(self, directory: Path, keys: CurveKeys) -> None:
        self.reactor: Reactor = new_reactor()
        self.replica: QuorumVoter = open_quorum(
            directory,
            voter="v1",
            post=self.reactor.call_soon_threadsafe,
            call_at=self.reactor.call_at,
        )
        self.index = IndexReader(Layout(directory).index)
        self.sockets = VoterSockets(
            self.reactor, self.replica, self.index, name="v1", keys=keys,
            requests_endpoint="tcp://127.0.0.1:*", publish_endpoint="tcp://127.0.0.1:*",
        )  # fmt: skip
        self.sockets.server.register("add", ("operator",), self._add)
        self.voter = Voter(
            name="v1",
            requests_endpoint=self.sockets.server.endpoint,
            publish_endpoint=self.sockets.publisher.endpoint,
            curve_key=keys.public,
        )
        self.replica.start()
        assert self.reactor.run_until(lambda: self.replica.leadership.ready, timeout_s=10)

    def _add(self, asked: Request, reply: ReplyTo) -> None:
        event = Happened(text=asked.decode(str))
        draft = Draft(stream=f"job/{event.text}", event=event, actor=asked.actor, key=asked.key)

        def done(outcome: Outcome) -> None:
            assert isinstance(outcome, Committed)
            reply.done(outcome.records[0].record.seq)

        self.replica.propose(Batch(drafts=(draft,)), done)

    def append(self, event: Event) -> None:
        """Append one event of the log's own stream and wait until it is committed."""
        outcomes: list[Outcome] = []
        draft = Draft(stream=STREAM, event=event, actor="operator:test")
        self.replica.propose(Batch(drafts=(draft,)), outcomes.append)
        assert self.reactor.run_until(lambda: bool(outcomes), timeout_s=10)

    def close(self) -> None:
        close_reactor(self.reactor)
        self.index.close()
        self.replica.close()


@pytest.fixture
def operator() -> CurveKeys:
    return new_curve_keys()


@pytest.fixture
def directory(tmp_path: Path, operator: CurveKeys) -> Path:
    admitted = KeyAdmitted(name="operator:alice", role="operator", curve_key=operator.public)
    create_log(
        tmp_path / "log", cluster_id=CLUSTER, origin="cairn.example.net/log", voter="v1",
        now_ms=START_MS, first=[Draft(stream=STREAM, event=admitted, actor="operator:init")],
    )  # fmt: skip
    return tmp_path / "log"


@pytest.fixture
def daemon(directory: Path) -> Iterator[Daemon]:
    daemon = Daemon(directory, new_curve_keys())
    yield daemon
    daemon.close()


def test_what_is_answered_is_in_the_log_and_is_published(
    daemon: Daemon, operator: CurveKeys
) -> None:
    """Each answer names a committed record; a follower of the whole log and one of a stream get
    what was appended, by the actor of the key, each record once."""
    reactor, voters = daemon.reactor, [daemon.voter]
    client = Client(voters, operator, reactor=reactor)
    whole = Subscriber(voters, operator, Log.from_start(CLUSTER), reactor=reactor)
    stream = Subscriber(voters, operator, Streams({"job/x": 0}), reactor=reactor)
    seqs = [client.call("add", text).decode(int) for text in "xyxyx"]
    got: list[Stored] = []
    while not got or got[-1].record.seq < seqs[-1]:
        delivery = whole.next(timeout_s=10)
        assert delivery is not None
        got += delivery.records
    assert got == list(daemon.replica.read(1, seqs[-1]))
    assert [s.record.actor for s in got if s.record.seq in seqs] == ["operator:alice"] * 5
    ours: list[int] = []
    while len(ours) < 3:
        delivery = stream.next(timeout_s=10)
        assert delivery is not None
        ours += [stored.record.seq for stored in delivery.records]
    assert ours == [seqs[0], seqs[2], seqs[4]]


def test_a_request_repeated_with_its_key_does_it_once(daemon: Daemon, operator: CurveKeys) -> None:
    """The same idempotency key answers with the same record."""
    client = Client([daemon.voter], operator, reactor=daemon.reactor)
    assert client.call("add", "x", key="k1").body == client.call("add", "x", key="k1").body


def test_keys_survive_a_restart_and_so_does_their_revocation(
    directory: Path, operator: CurveKeys
) -> None:
    """After a restart the keyring is the log's: admitted keys are in, revoked ones are not."""
    revoked, server = new_curve_keys(), new_curve_keys()
    first = Daemon(directory, server)
    for n in range(30):
        Client([first.voter], operator, reactor=first.reactor).call("add", str(n))
    first.append(KeyAdmitted(name="node:1", role="node", curve_key=revoked.public))
    first.append(KeyRevoked(curve_key=revoked.public))
    first.close()
    second = Daemon(directory, server)
    assert second.sockets.keyring.get(revoked.public) is None
    holder = second.sockets.keyring.get(operator.public)
    assert holder is not None
    assert holder.name == "operator:alice"
    client = Client([second.voter], operator, reactor=second.reactor)
    asked = messages.RangeRequest(1, stream="job/7")
    reply = client.call("range", asked).decode(messages.RangeReply)
    assert [s.record.stream for s in messages.to_stored(reply.records)] == ["job/7"]
    second.close()

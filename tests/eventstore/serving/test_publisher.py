"""Publishing to real sockets: what is sent, on which topic, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import zmq

from eventstore.access.keys import CurveKeys
from eventstore.reactor import Reactor
from eventstore.record import Epoch, Stored, genesis_hash
from eventstore.replica import Leadership
from eventstore.serving.publisher import Topics
from eventstore.wire import frames, messages, sockets
from eventstore.wire.messages import HEARTBEAT_TOPIC, WHOLE_LOG_TOPIC, Heartbeat, Publication
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import CLUSTER, WireVoter, close_reactor, new_reactor

pytestmark = pytest.mark.acceptance


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


@pytest.fixture
def voter(reactor: Reactor) -> WireVoter:
    return WireVoter(reactor, ZapHandler(reactor))


class Listener:
    """A bare SUB and all that it got."""

    def __init__(self, voter: WireVoter, keys: CurveKeys, *topics: bytes) -> None:
        self.got: list[list[bytes]] = []
        self.events: list[int] = []
        self._voter = voter
        reactor = voter.reactor
        self._socket = sockets.subscriber(reactor.context, keys, voter.keys.public)
        self._watching = sockets.monitor(self._socket)
        for topic in topics:
            self._socket.subscribe(topic)
        reactor.watch(self._socket, lambda: self.got.append(self._socket.recv_multipart()))
        reactor.watch(self._watching, self._on_monitor)
        self._socket.connect(voter.publisher.endpoint)
        reactor.on_close(self.close)

    def _on_monitor(self) -> None:
        while (happened := sockets.read_monitor(self._watching)) is not None:
            self.events.append(happened.event)

    def subscribed(self) -> None:
        """Wait until the voter knows of every topic."""
        topics = self._voter.publisher._topics
        wait(self._voter, lambda: topics.wants_streams() or topics.wants(WHOLE_LOG_TOPIC))

    def close(self) -> None:
        if not self._socket.closed:
            self._voter.reactor.unwatch(self._socket)
            self._voter.reactor.unwatch(self._watching)
            sockets.close_monitored(self._socket, self._watching)


def wait(voter: WireVoter, done: object) -> None:
    assert callable(done)
    assert voter.reactor.run_until(done, timeout_s=10), "it did not happen"


def test_what_one_turn_commits_is_one_message_that_continues_the_chain(voter: WireVoter) -> None:
    """Several batches of one turn go out together; `prev_hash` is that of the record before."""
    keys = voter.admit("auditor:a", "auditor")
    listener = Listener(voter, keys, WHOLE_LOG_TOPIC)
    listener.subscribed()
    previous = voter.replica.log[-1]
    records = [*voter.replica.append("job/1", "job/2"), *voter.replica.append("job/1")]
    wait(voter, lambda: bool(listener.got))
    topic, header, body = listener.got[0]
    said = frames.decode(header, Publication)
    assert topic == WHOLE_LOG_TOPIC
    assert messages.unpack_records(body) == records
    assert (said.first_seq, said.last_seq, said.head_seq) == (2, 4, 4)
    assert said.prev_hash == previous.hash
    assert (said.gen, said.term, said.leads) == (1, 1, True)


def test_the_first_record_follows_the_genesis_hash(voter: WireVoter) -> None:
    """The first publication of a log that was empty names the genesis hash."""
    assert voter.publisher._hash == genesis_hash(CLUSTER)


def test_a_streams_topic_has_that_stream_alone(voter: WireVoter) -> None:
    """`job/4` gets its records, not those of `job/42`, and not the rest of its batch."""
    listener = Listener(voter, voter.admit(), messages.topic_of("job/4"))
    listener.subscribed()
    voter.replica.append("job/42", "job/4", "node/x")
    voter.replica.append("job/42")
    voter.replica.append("job/4")
    wait(voter, lambda: bool(listener.got))
    assert len(listener.got) == 1
    topic, header, body = listener.got[0]
    streams = [(s.record.stream, s.record.version) for s in messages.unpack_records(body)]
    assert topic == b"job/4\0"
    assert streams == [("job/4", 1), ("job/4", 2)]
    assert frames.decode(header, Publication).prev_hash == b""


def test_messages_stay_small(voter: WireVoter) -> None:
    """A batch of 500 kB goes out as messages of at most 64 kB or of one record, chained."""
    listener = Listener(voter, voter.admit(), WHOLE_LOG_TOPIC)
    listener.subscribed()
    big = frames.encode(b"x" * 20_000)
    records = [*voter.replica.append(*["job/1"] * 25, data=big)]
    records += voter.replica.append("job/1", data=frames.encode(b"y" * 200_000))
    got: list[object] = []

    def all_there() -> bool:
        got[:] = [s for m in listener.got for s in messages.unpack_records(m[2])]
        return len(got) == len(records)

    wait(voter, all_there)
    assert got == records
    headers = [frames.decode(message[1], Publication) for message in listener.got]
    for before, after in pairwise(headers):
        assert after.prev_hash == voter.replica.log[before.last_seq - 1].hash
    assert [len(m[2]) < 65_536 for m in listener.got] == [True] * (len(headers) - 1) + [False]


def test_nothing_is_encoded_for_nobody(
    voter: WireVoter, monkeypatch: pytest.MonkeyPatch, reactor: Reactor
) -> None:
    """Without a subscriber no record is packed; with one of a stream, only that stream's are."""
    packed: list[str] = []
    pack = messages.pack_records

    def counting(records: list[Stored]) -> bytes:
        packed.extend(stored.record.stream for stored in records)
        return pack(records)

    monkeypatch.setattr("eventstore.wire.messages.pack_records", counting)
    keys = voter.admit()
    voter.replica.append("job/1")
    reactor.run_until(lambda: not voter.publisher._waiting, timeout_s=5)
    assert packed == []
    listener = Listener(voter, keys, messages.topic_of("job/1"))
    listener.subscribed()
    voter.replica.append("job/1", "job/2")
    wait(voter, lambda: bool(listener.got))
    assert packed == ["job/1"]
    listener.close()
    wait(voter, lambda: not voter.publisher._topics.wants_streams())


def test_a_heartbeat_says_who_leads_and_how_far_the_log_is(voter: WireVoter) -> None:
    """Within seconds a heartbeat comes with head, epoch and leader; a change of leader at once."""
    listener = Listener(voter, voter.admit(), HEARTBEAT_TOPIC)
    wait(voter, lambda: bool(listener.got))
    beat = frames.decode(listener.got[-1][1], Heartbeat)
    assert (beat.head_seq, beat.voter, beat.leader, beat.leads) == (1, "v1", "v1", True)
    assert beat.cluster_id == CLUSTER
    voter.replica.lead(Leadership(Epoch(1, 2), "v2", here=False, ready=False))
    beat = frames.decode(voter_next(voter, listener)[1], Heartbeat)
    assert (beat.term, beat.leader, beat.leads) == (2, "v2", False)


def voter_next(voter: WireVoter, listener: Listener) -> list[bytes]:
    known = len(listener.got)
    wait(voter, lambda: len(listener.got) > known)
    return listener.got[known]


def test_a_revoked_key_hears_nothing_more(voter: WireVoter) -> None:
    """A subscriber whose key is revoked is cut off; the others come back and go on hearing."""
    keys, others = voter.admit("auditor:a", "auditor"), voter.admit()
    cut, other = (Listener(voter, k, WHOLE_LOG_TOPIC) for k in (keys, others))
    for listener in (cut, other):
        wait(voter, lambda li=listener: zmq.EVENT_HANDSHAKE_SUCCEEDED in li.events)
    cut.subscribed()
    voter.revoke(keys)
    wait(voter, lambda: zmq.EVENT_HANDSHAKE_FAILED_AUTH in cut.events)
    wait(voter, lambda: other.events.count(zmq.EVENT_HANDSHAKE_SUCCEEDED) == 2)
    wait(voter, lambda: voter.publisher._topics.wants(WHOLE_LOG_TOPIC))
    known = len(cut.got)
    (record,) = voter.replica.append("job/secret")
    wait(voter, lambda: bool(other.got) and record.encoded in other.got[-1][2])
    assert len(cut.got) == known


def test_an_invited_key_may_not_listen(voter: WireVoter) -> None:
    """The key of a ticket is refused by the publisher."""
    listener = Listener(voter, voter.admit("ticket:n", "ticket"), WHOLE_LOG_TOPIC)
    wait(voter, lambda: zmq.EVENT_HANDSHAKE_FAILED_AUTH in listener.events)


def test_a_used_ticket_disturbs_nobody(voter: WireVoter) -> None:
    """Its key could not listen, so its end does not cut off those who do."""
    listener, ticket = Listener(voter, voter.admit(), WHOLE_LOG_TOPIC), voter.admit("t", "ticket")
    listener.subscribed()
    voter.revoke(ticket)
    (record,) = voter.replica.append("job/1")
    wait(voter, lambda: bool(listener.got) and record.encoded in listener.got[-1][2])
    assert listener.events.count(zmq.EVENT_HANDSHAKE_SUCCEEDED) == 1


def test_topics_are_names_and_prefixes() -> None:
    """A whole name wants itself, a prefix what begins with it, and nothing after it was left."""
    topics = Topics()
    topics.take(b"\1job/4\0")
    topics.take(b"\1node/")
    assert topics.wants(b"job/4\0")
    assert topics.wants(b"node/7\0")
    assert not topics.wants(b"job/42\0")
    for leave in (b"\0job/4\0", b"\0node/"):
        topics.take(leave)
    assert not topics.wants_streams()
    assert not topics.wants(b"job/4\0")
    topics.take(b"\1")
    assert topics.wants(WHOLE_LOG_TOPIC)

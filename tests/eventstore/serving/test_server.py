"""A live request server: roles, late answers, errors, and everything a bad client may send."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
import zmq

from eventstore.access.keys import CurveKeys
from eventstore.clients.client import Answer
from eventstore.errors import (
    AccessDenied,
    Clash,
    DecodeError,
    DiskFull,
    EventStoreError,
    NotLeader,
    TooLarge,
)
from eventstore.reactor import Reactor
from eventstore.serving.server import ReplyTo, Request
from eventstore.wire import faults, frames, messages, sockets
from eventstore.wire.faults import RemoteError
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import WireVoter, close_reactor, new_reactor, unexpected

pytestmark = pytest.mark.acceptance
EVERYONE = ("voter", "node", "operator", "auditor", "gateway")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


@pytest.fixture
def voter(reactor: Reactor) -> WireVoter:
    voter = WireVoter(reactor, ZapHandler(reactor))
    voter.server.register("echo", EVERYONE, lambda request, reply: reply.done(request.body))
    return voter


class RawClient:
    """A DEALER that sends whatever bytes it is given."""

    def __init__(self, voter: WireVoter, keys: CurveKeys) -> None:
        self._reactor = voter.reactor
        self._socket = sockets.request_client(voter.reactor.context, keys, voter.keys.public)
        self._socket.setsockopt(zmq.IMMEDIATE, 0)
        self._socket.connect(voter.server.endpoint)
        self._replies: list[messages.Reply] = []
        self._reactor.watch(self._socket, self._on_readable)
        self._reactor.on_close(lambda: self._socket.close(0))

    def ask(self, *parts: bytes) -> messages.Reply:
        """Send a message of these frames and return the reply."""
        self._socket.send_multipart(parts)
        assert self._reactor.run_until(lambda: bool(self._replies), timeout_s=10), "no reply"
        return self._replies.pop()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def _on_readable(self) -> None:
        self._replies.append(frames.decode(self._socket.recv(), messages.Reply))


def request(kind: str = "echo", body: Any = None, *, v: int = 1, call: int = 7) -> bytes:
    return frames.encode((v, call, kind, 5000, None, body))


def error_of(reply: messages.Reply) -> EventStoreError:
    assert reply.status == messages.FAILED
    return faults.to_error(frames.decode(reply.body, messages.Fault))


def deep(levels: int) -> bytes:
    return b"\x91" * levels + b"\xc0"


HOSTILE = {
    "noise": b"\xc1\xff\x00garbage",
    "empty": b"",
    "truncated": request(body=list(range(100)))[:-7],
    "not an array": frames.encode({"v": 1}),
    "wrong types": frames.encode((1, "id", 3, "kind", None, None)),
    "too deep": request(body=msgspec.Raw(deep(100))),
    "absurdly deep": request(body=msgspec.Raw(deep(400_000))),
    "deep from the start": deep(1_000_000),
    "too large": request(body=b"x" * frames.MAX_REQUEST_BYTES),
    "text that is no UTF-8": b"\x96\x01\x07\xa2\xff\xfe\x00\xc0\xc0",
    "trailing bytes": request() + b"\x00",
    "a length beyond the end": b"\x96\x01\x07\xdb\xff\xff\xff\xff",
    "an array of four thousand million": b"\xdd\xff\xff\xff\xff",
    "an id beyond 64 bits": b"\x96\x01\xc7\x10\x01" + b"\xff" * 16,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_gets_an_error_and_harms_nobody(voter: WireVoter, name: str) -> None:
    """Each kind of malformed frame is answered with an error; the next request is served."""
    client = RawClient(voter, voter.admit())
    assert isinstance(error_of(client.ask(HOSTILE[name])), DecodeError | TooLarge)
    assert client.ask(request(body="still here")).body == msgspec.Raw(frames.encode("still here"))


def test_another_version_is_named_with_the_requests_id(voter: WireVoter) -> None:
    """A request of a later version, whatever it looks like, is told which version is spoken."""
    client = RawClient(voter, voter.admit())
    for frame in (request(v=2, call=9), frames.encode((2, 9, {"another": "shape"}))):
        reply = client.ask(frame)
        error = error_of(reply)
        assert (reply.id, type(error)) == (9, DecodeError)
        assert "version 2" in str(error)
        assert "version 1" in error.hint


def test_several_frames_are_refused(voter: WireVoter) -> None:
    """A message of many frames is refused as a whole, and the next request is served."""
    client = RawClient(voter, voter.admit())
    assert isinstance(error_of(client.ask(request(), *[b"more"] * 50)), DecodeError)
    assert client.ask(request()).status == messages.DONE


def test_a_frame_beyond_all_limits_costs_the_connection_only(voter: WireVoter) -> None:
    """Far above the limit ZeroMQ drops the connection; the same client is served when it is back,
    and so are others."""
    greedy, other = RawClient(voter, voter.admit()), RawClient(voter, voter.admit())
    greedy.send(b"x" * (4 * frames.MAX_REQUEST_BYTES))
    assert other.ask(request()).status == messages.DONE
    with voter.client() as client:
        assert client.call("echo", 1).decode(int) == 1


def test_roles_are_checked_and_the_actor_is_the_keys_holder(voter: WireVoter) -> None:
    """A kind is served to its roles only; the handler learns the name from the key."""
    seen: list[tuple[str, str, str | None]] = []

    def handler(asked: Request, reply: ReplyTo) -> None:
        seen.append((asked.actor, asked.role, asked.key))
        reply.done()

    voter.server.register("order", ("operator",), handler)
    voter.client(voter.admit("operator:bob")).call("order", key="k1")
    with pytest.raises(AccessDenied, match="may not ask for order") as denied:
        voter.client(voter.admit("auditor:eve", "auditor")).call("order")
    assert "operator" in denied.value.hint
    assert seen == [("operator:bob", "operator", "k1")]


def test_an_unknown_request_names_the_known_ones(voter: WireVoter) -> None:
    """A kind that nobody registered is refused by a code of its own, with what there is."""
    with pytest.raises(RemoteError) as unknown:
        voter.client().call("ehco")
    assert unknown.value.code == "unknown-request"
    assert "echo" in unknown.value.hint


@pytest.mark.parametrize(
    "error",
    [
        Clash("job/1", expected=3, actual=4),
        NotLeader("I do not lead", leader="v9"),
        DiskFull("no room", hint="free some", seq=12),
        RemoteError("wrong_input", "no such disk", hint="0 or 1", data={"disks": [0, 1]}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_class_message_hint_and_data(error: EventStoreError) -> None:
    """An error that crosses the wire is raised as the same class, with all that it bore."""
    again = faults.to_error(frames.decode(frames.encode(faults.to_fault(error)), messages.Fault))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_reply_may_come_later_and_in_any_order(voter: WireVoter, reactor: Reactor) -> None:
    """Answers given later and in reverse order each reach their own request."""
    waiting: list[tuple[int, ReplyTo]] = []

    def later(asked: Request, reply: ReplyTo) -> None:
        waiting.append((asked.decode(int), reply))

    voter.server.register("later", EVERYONE, later)
    client = voter.async_client()
    got: dict[int, int] = {}
    for n in range(5):

        def note(answer: Answer, n: int = n) -> None:
            got[n] = answer.decode(int)

        client.call("later", n, timeout_s=10, on_error=unexpected, on_answer=note)
    assert reactor.run_until(lambda: len(waiting) == 5, timeout_s=10)
    for n, reply in reversed(waiting):
        reply.done(n * 10)
    assert reactor.run_until(lambda: len(got) == 5, timeout_s=10)
    assert got == {n: n * 10 for n in range(5)}


def test_a_stream_arrives_whole_and_in_order(voter: WireVoter) -> None:
    """A kind that answers in parts yields them in order, the last one included."""

    def count(asked: Request, reply: ReplyTo) -> None:
        for n in range(asked.decode(int)):
            reply.part(n)
        reply.done("end")

    voter.server.register("count", EVERYONE, count)
    parts = [answer.decode(object) for answer in voter.client().stream("count", 200)]
    assert parts == [*range(200), "end"]


def test_replies_say_in_which_epoch_and_as_of_when(voter: WireVoter) -> None:
    """An answer bears the epoch of the voter and the seq that it had committed."""
    client = voter.client()
    voter.replica.append("job/1", "job/1")
    answer = client.call("echo")
    assert answer.as_of == voter.replica.committed
    assert (answer.epoch, answer.leads) == (voter.replica.leadership.epoch, True)


def test_a_client_that_is_gone_is_forgotten(voter: WireVoter, reactor: Reactor) -> None:
    """The open reply of a client that went away is closed when it cannot be sent, and says so."""
    waiting: list[ReplyTo] = []
    voter.server.register("later", EVERYONE, lambda _asked, reply: waiting.append(reply))
    client = voter.async_client()
    client.call("later", timeout_s=60, on_answer=unexpected, on_error=unexpected)
    assert reactor.run_until(lambda: bool(waiting), timeout_s=10)
    closed: list[bool] = []
    waiting[0].on_closed = lambda: closed.append(True)
    client.close()

    def part_until_closed() -> bool:
        waiting[0].part("news")
        return waiting[0].closed

    assert reactor.run_until(part_until_closed, timeout_s=10)
    assert closed == [True]


def test_an_answer_after_the_end_is_dropped(voter: WireVoter, reactor: Reactor) -> None:
    """A reply that is given once the server is closed harms nobody."""
    waiting: list[ReplyTo] = []
    voter.server.register("later", EVERYONE, lambda _asked, reply: waiting.append(reply))
    voter.async_client().call("later", timeout_s=9, on_answer=unexpected, on_error=unexpected)
    assert reactor.run_until(lambda: bool(waiting), timeout_s=10)
    voter.close()
    waiting[0].part("too late")
    waiting[0].done("too late")
    assert waiting[0].closed


def test_an_answer_beyond_the_limit_is_an_error_not_a_lost_connection(voter: WireVoter) -> None:
    """A handler whose answer is too large has the client told so; the next request is served."""
    huge = b"x" * (frames.MAX_REPLY_BYTES + 1)
    voter.server.register("huge", EVERYONE, lambda _asked, reply: reply.done(huge))
    client = voter.client()
    with pytest.raises(TooLarge) as refused:
        client.call("huge")
    assert refused.value.hint
    assert client.call("echo", 1).decode(int) == 1


def test_a_key_may_not_hoard_open_requests(
    voter: WireVoter, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit of open requests a key is told `busy`; another key is served."""
    monkeypatch.setattr("eventstore.serving.server._MAX_OPEN", 3)
    voter.server.register("later", EVERYONE, lambda _asked, _reply: None)
    hoarder = voter.async_client()
    errors: list[EventStoreError] = []
    for _ in range(4):
        hoarder.call("later", timeout_s=60, on_answer=unexpected, on_error=errors.append)
    assert reactor.run_until(lambda: bool(errors), timeout_s=10)
    assert [getattr(error, "code", "") for error in errors] == ["busy"]
    assert voter.client().call("echo", 1).decode(int) == 1


def test_a_stolen_routing_id_gets_no_replies(voter: WireVoter, reactor: Reactor) -> None:
    """A connection that claims the routing id of another gets none of its replies."""
    waiting: list[ReplyTo] = []
    voter.server.register("later", EVERYONE, lambda _asked, reply: waiting.append(reply))
    victim, thief = (sockets.request_client(reactor.context, voter.admit(f"node:{n}", "node"),
                     voter.keys.public) for n in range(2))  # fmt: skip
    got: list[sockets.Socket] = []

    def note(socket: sockets.Socket) -> None:
        socket.recv()
        got.append(socket)

    for socket in (victim, thief):
        socket.setsockopt(zmq.ROUTING_ID, b"the same")
        socket.setsockopt(zmq.IMMEDIATE, 0)
        reactor.watch(socket, partial(note, socket))
    victim.connect(voter.server.endpoint)
    victim.send(request("later"))
    assert reactor.run_until(lambda: bool(waiting), timeout_s=10)
    watching = sockets.monitor(thief)
    thief.connect(voter.server.endpoint)
    thief.send(request("later"))
    events: list[int] = []
    reactor.watch(watching, lambda: events.append(sockets.read_monitor(watching).event))  # type: ignore[union-attr]
    assert reactor.run_until(lambda: zmq.EVENT_HANDSHAKE_SUCCEEDED in events, timeout_s=10)
    assert voter.client().call("echo").voter == "v1"  # the thief's request would have come by now
    waiting[0].done("for the victim alone")
    assert reactor.run_until(lambda: bool(got), timeout_s=10)
    assert got == [victim]
    assert len(waiting) == 1
    for source in (victim, thief, watching):
        reactor.unwatch(source)
    victim.close(0)
    sockets.close_monitored(thief, watching)


def test_a_reply_nobody_waits_for_is_closed(
    voter: WireVoter, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that is not given by its deadline and some grace is closed."""
    monkeypatch.setattr("eventstore.serving.server._GRACE_S", 0.0)
    waiting: list[ReplyTo] = []
    voter.server.register("later", EVERYONE, lambda _asked, reply: waiting.append(reply))
    client = voter.async_client()
    up: list[object] = []
    client.call("echo", timeout_s=10, on_answer=up.append, on_error=unexpected)
    assert reactor.run_until(lambda: bool(up), timeout_s=10)
    errors: list[EventStoreError] = []
    client.call("later", timeout_s=1, on_answer=unexpected, on_error=errors.append)
    assert reactor.run_until(
        lambda: bool(waiting) and waiting[0].closed and bool(errors), timeout_s=20
    )
    assert len(errors) == 1


def test_a_revoked_key_is_refused_at_its_next_request(voter: WireVoter, reactor: Reactor) -> None:
    """After revocation an open connection gets access-denied, for open requests and new ones."""
    waiting: list[ReplyTo] = []
    voter.server.register("later", EVERYONE, lambda _asked, reply: waiting.append(reply))
    keys = voter.admit()
    client = voter.async_client(keys)
    errors: list[EventStoreError] = []
    client.call("later", timeout_s=60, on_answer=unexpected, on_error=errors.append)
    assert reactor.run_until(lambda: bool(waiting), timeout_s=10)
    voter.revoke(keys)
    assert reactor.run_until(lambda: bool(errors), timeout_s=10)
    client.call("echo", timeout_s=60, on_answer=unexpected, on_error=errors.append)
    assert reactor.run_until(lambda: len(errors) == 2, timeout_s=10)
    assert all(isinstance(error, AccessDenied) for error in errors)


def test_an_invited_key_may_not_read_the_log(voter: WireVoter) -> None:
    """A key with the role of a ticket is let in, but not to the log."""
    client = voter.client(voter.admit("ticket:node4", "ticket"))
    for kind in ("head", "range"):
        with pytest.raises(AccessDenied):
            client.call(kind, [1])


def test_range_is_cut_by_bytes_and_continues(voter: WireVoter) -> None:
    """Ranges fetched one after the other give the log exactly, however small the limit."""
    client = voter.client()
    for n in range(20):
        voter.replica.append(f"job/{n % 3}", data=frames.encode(b"x" * (n * 50)))
    got: list[bytes] = []
    while True:
        asked = messages.RangeRequest(len(got) + 1, max_bytes=700)
        reply = client.call("range", asked).decode(messages.RangeReply)
        got += [encoded for encoded, _ in reply.records]
        if not reply.more:
            break
    assert got == [stored.encoded for stored in voter.replica.log]


def test_range_of_a_stream_is_that_stream_alone(voter: WireVoter) -> None:
    """A range that names a stream gives its records from a version to a version."""
    client = voter.client()
    for n in range(30):
        voter.replica.append(f"job/{n % 3}")
    asked = messages.RangeRequest(3, 6, stream="job/1")
    reply = client.call("range", asked).decode(messages.RangeReply)
    records = [stored.record for stored in messages.to_stored(reply.records)]
    assert [(r.stream, r.version) for r in records] == [("job/1", v) for v in (3, 4, 5, 6)]


def test_head_is_the_last_committed_record(voter: WireVoter) -> None:
    """`head` gives cluster, seq, hash and leader."""
    client = voter.client()
    (last,) = voter.replica.append("job/1")
    head = client.call("head").decode(messages.HeadReply)
    assert (head.cluster_id, head.seq, head.hash) == (
        voter.replica.cluster_id,
        last.record.seq,
        last.hash,
    )
    assert head.leader == "v1"


def test_a_range_that_begins_nowhere_is_refused(voter: WireVoter) -> None:
    """Record 0 does not exist."""
    with pytest.raises(DecodeError):
        voter.client().call("range", messages.RangeRequest(0))


def test_an_address_in_use_is_a_clear_error(voter: WireVoter, reactor: Reactor) -> None:
    """A second server at the same address raises CannotListen, which names it and has a hint."""
    with pytest.raises(sockets.CannotListen, match="in use") as refused:
        WireVoter(reactor, voter._zap, "v2").open(voter.server.endpoint, "tcp://127.0.0.1:*")
    assert voter.server.endpoint in str(refused.value)
    assert refused.value.hint

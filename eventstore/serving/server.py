"""Requests from clients: who asks, may they, and how the answer goes back (edge).

A client's frames are the only thing here that may be hostile. Whatever they hold, the worst that
happens is an error reply to that client:

- not admitted: never gets a byte through (zap.py); revoked meanwhile: `access-denied`, each time;
- malformed, too deep, too large, another version, an unknown kind: an error reply, with the id of
  the request if that much could be read, else 0;
- far too large: ZeroMQ drops the connection before the frame is read whole;
- gone, or not reading what it asked for: its open replies are forgotten.

A handler may answer at once, later (a proposal that has to become durable), or several times (a
kind that streams). A reply that is not given by the request's deadline, with some grace, is closed:
nobody waits for it any more. What a handler raises as an EventStoreError travels to the client; any
other exception is our own bug and ends the daemon through the reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import zmq

from eventstore.access.keyring import Identity, Keyring, Keys
from eventstore.access.keys import CurveKeys
from eventstore.errors import AccessDenied, DecodeError, EventStoreError, TooLarge
from eventstore.events import ROLES
from eventstore.reactor import Callback, Reactor
from eventstore.wire import faults, frames, messages, sockets
from eventstore.wire.messages import DONE, FAILED, PART, Stamp
from eventstore.wire.zap import ZapHandler

T = TypeVar("T")

LONGEST_WAIT_S = 3600.0
_GRACE_S = 5.0  # after its deadline an open reply is kept this long, for answers under way
_SWEEP_S = 1.0
_TURN = 64  # requests taken in one turn of the loop, so that timers are not starved
_MAX_OPEN = 4096  # replies that one key may have outstanding
_log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a handler gets. `actor` and `role` come from the key of the connection."""

    kind: str
    actor: str
    role: str
    curve_key: str
    key: str | None  # idempotency key
    deadline: float  # on Reactor.now()
    body: msgspec.Raw

    def decode(self, kind: type[T]) -> T:
        """Return the body as a `kind`. Raises DecodeError, which becomes the reply if let out."""
        return frames.decode(self.body, kind)


class ReplyTo:
    """The way back to one request. Everything on it is harmless once it is `closed`."""

    __slots__ = ("_server", "closed", "curve_key", "deadline", "id", "on_closed", "peer")

    def __init__(self, server: RequestServer, peer: bytes, curve_key: str) -> None:
        self._server = server
        self.peer = peer
        self.id = 0  # of the request; 0 until it could be read
        self.curve_key = curve_key
        self.deadline = 0.0
        self.closed = False
        # Called once if the client is gone, revoked, or late before a last answer was given.
        self.on_closed: Callback | None = None

    def done(self, body: Any = None) -> None:
        """Answer, for the last time. `body` is anything msgspec encodes, or a msgspec.Raw."""
        self._send(DONE, body)

    def part(self, body: Any) -> None:
        """Answer, with more to come."""
        self._send(PART, body)

    def fail(self, error: EventStoreError) -> None:
        """Answer with an error, for the last time; the client raises the same class."""
        self._send(FAILED, faults.to_fault(error))

    def close(self) -> None:
        """Forget the client without a word."""
        if not self.closed:
            self.closed = True
            self._server.forget(self)
            if self.on_closed is not None:
                self.on_closed()

    def _send(self, status: int, body: Any) -> None:
        if self.closed:
            return
        if status != PART:
            self.closed = True
            self._server.forget(self)
        self._server.send(self, status, body)


Handler = Callable[[Request, ReplyTo], None]


@dataclass(frozen=True, slots=True)
class _Kind:
    roles: frozenset[str]
    handler: Handler


class RequestServer:
    """The ROUTER of a voter.

    `stamp` says, whenever a reply is sent, in which epoch and as of which seq. `endpoint` may name
    port `*`; the attribute of that name holds the real one. Raises CannotListen.
    """

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        *,
        keys: CurveKeys,
        keyring: Keyring,
        zap: ZapHandler,
        stamp: Callable[[], Stamp],
        domain: str = "cairn.requests",
    ) -> None:
        self._reactor = reactor
        self._keyring = keyring
        self._stamp = stamp
        self._kinds: dict[str, _Kind] = {}
        self._open: dict[str, set[ReplyTo]] = {}  # unanswered, by the key of the client
        zap.serve(domain, lambda key: keyring.get(key) is not None)
        self._socket = sockets.request_server(reactor.context, keys, domain)
        self.endpoint = sockets.listen(self._socket, endpoint)
        self._watching = sockets.monitor(self._socket)
        reactor.watch(self._socket, self._on_readable)
        reactor.watch(self._watching, self._on_monitor)
        self._stop_sweeping = reactor.call_every(_SWEEP_S, self._sweep)
        keyring.on_revoked(self._on_revoked)
        reactor.on_close(self.close)

    @property
    def waiting(self) -> bool:
        """Whether requests have come that were not read yet."""
        return not self._socket.closed and bool(self._socket.poll(0))

    def register(self, kind: str, roles: Collection[str], handler: Handler) -> None:
        """Let clients of these roles make requests of `kind`, answered by `handler`."""
        assert kind not in self._kinds, kind
        assert set(roles) <= set(ROLES), roles
        self._kinds[kind] = _Kind(frozenset(roles), handler)

    def close(self) -> None:
        """Stop serving; clients see the connection end."""
        if self._socket.closed:
            return
        self._stop_sweeping()
        for source in (self._socket, self._watching):
            self._reactor.unwatch(source)
        sockets.close_monitored(self._socket, self._watching)

    # What follows is between the server and its replies.

    def send(self, reply: ReplyTo, status: int, body: Any) -> None:
        """Send one reply, or forget the client if it is gone or does not read."""
        if self._socket.closed:
            return  # a proposal became committed while the daemon ends; the client asks elsewhere
        frame = self._frame(reply.id, status, body)
        if len(frame) > frames.MAX_REPLY_BYTES:
            too_large = TooLarge(f"the answer has {len(frame)} bytes", hint="ask for less at once")
            frame = self._frame(reply.id, FAILED, faults.to_fault(too_large))
        try:
            self._socket.send(reply.peer, zmq.SNDMORE | zmq.NOBLOCK)
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.ZMQError as failed:
            if failed.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            _log.info("a client of key %s is gone before its answer", reply.curve_key)
            reply.close()

    def forget(self, reply: ReplyTo) -> None:
        """The reply is closed: it is not waited for any more."""
        waiting = self._open.get(reply.curve_key)
        if waiting is not None:
            waiting.discard(reply)
            if not waiting:
                del self._open[reply.curve_key]

    def _frame(self, request_id: int, status: int, body: Any) -> bytes:
        (gen, term), leads, as_of = self._stamp()
        # An array of Reply's fields; a tuple spares encoding the body twice.
        return frames.encode((messages.VERSION, request_id, status, gen, term, leads, as_of, body))

    def _on_readable(self) -> None:
        for _ in range(_TURN):
            try:
                peer = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            if extra := frame.more:
                self._drop_rest()
            key = str(frame.get("User-Id"))
            reply = ReplyTo(self, peer, key)
            try:
                if extra:
                    raise DecodeError("a request is one frame")
                self._take(reply, frame.bytes)
            except EventStoreError as refused:
                reply.fail(refused)

    def _drop_rest(self) -> None:
        """Read and drop further frames of this message."""
        while self._socket.recv(zmq.NOBLOCK, copy=False).more:
            pass

    def _take(self, reply: ReplyTo, frame: bytes) -> None:
        frames.check_size(frame, frames.MAX_REQUEST_BYTES, "the request")
        asked = self._understand(reply, frame)
        frames.check_depth(frame)
        holder = self._keyring.get(reply.curve_key)
        if holder is None:
            raise AccessDenied("this key was revoked", hint="ask for a new key to be admitted")
        handler = self._permitted(holder, asked.kind)
        if len(self._open.get(reply.curve_key, ())) >= _MAX_OPEN:
            raise faults.RemoteError(
                "busy", f"{_MAX_OPEN} requests of this key are open", hint="wait for some of them"
            )
        reply.deadline = self._reactor.now() + min(asked.timeout_ms / 1000, LONGEST_WAIT_S)
        key, deadline = reply.curve_key, reply.deadline
        handler(
            Request(asked.kind, holder.name, holder.role, key, asked.key, deadline, asked.body),
            reply,
        )
        if not reply.closed:
            self._open.setdefault(key, set()).add(reply)

    def _understand(self, reply: ReplyTo, frame: bytes) -> messages.Request:
        try:
            asked = frames.decode(frame, messages.Request)
        except DecodeError:
            # Another version may look otherwise behind its first two fields, which stay for ever.
            start = frames.decode(frame, messages.Start)
            reply.id = start.id
            _check_version(start.v)
            raise
        reply.id = asked.id
        _check_version(asked.v)
        return asked

    def _permitted(self, holder: Identity, name: str) -> Handler:
        kind = self._kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise faults.RemoteError(
                "unknown-request", f"no request is called {name!r}", hint=f"known are: {known}"
            )
        if holder.role not in kind.roles:
            roles = ", ".join(sorted(kind.roles))
            raise AccessDenied(
                f"{holder.name} ({holder.role}) may not ask for {name}",
                hint=f"it takes a key of the role {roles}",
            )
        return kind.handler

    def _sweep(self) -> None:
        late = self._reactor.now() - _GRACE_S
        for waiting in list(self._open.values()):
            for reply in [reply for reply in waiting if reply.deadline < late]:
                reply.close()

    def _on_revoked(self, keys: Keys) -> None:
        denied = AccessDenied("this key was revoked", hint="ask for a new key to be admitted")
        for key in keys:
            for reply in list(self._open.get(key, ())):
                reply.fail(denied)
                if reply.on_closed is not None:
                    reply.on_closed()

    def _on_monitor(self) -> None:
        while (happened := sockets.read_monitor(self._watching)) is not None:
            if happened.event in _REFUSALS:
                _log.warning("a handshake failed: %s %d", _REFUSALS[happened.event], happened.value)


def _check_version(version: int) -> None:
    if version != messages.VERSION:
        raise DecodeError(
            f"version {version} of the protocol is unknown here",
            hint=f"this voter speaks version {messages.VERSION}",
        )


_REFUSALS = {
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "key refused, status",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "protocol error",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "no detail, errno",
}

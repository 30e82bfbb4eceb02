"""Links between voters: one ROUTER here, one DEALER to each other voter (edge).

Messages go one way on a link, so each voter dials each; an answer goes by the answerer's own link.
Whoever dials must hold the key of a voter's place (places.py): the ZAP handler asks, and each
message must be of the voter whose key its connection bears. There is no queue beyond ZeroMQ's own
and no repeating: what cannot be sent is lost, which the protocol above takes in its stride.

What can go wrong:

- a message that is no message, or speaks for another voter: dropped, and said in the daemon's log;
- a voter that moved, or has a new key: its link is dialled anew at the next message to it;
- a voter that refused this one's key, which it did not know yet, or no more: ZeroMQ never tries
  such a link again, and says nothing. So a link that takes nothing for a while is dialled anew;
- a message that waited long in a queue: it bears its epoch, and an old one changes nothing.

The same link carries bulk on a second pair of sockets (segments), so that it never delays a
heartbeat.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from eventstore.access.keys import CurveKeys
from eventstore.access.places import Places
from eventstore.errors import DecodeError
from eventstore.events import VoterPlaced
from eventstore.raft import messages
from eventstore.raft.messages import MAX_MESSAGE_BYTES, Message
from eventstore.reactor import Reactor
from eventstore.wire import sockets
from eventstore.wire.zap import ZapHandler

_TURN = 64  # messages taken in one turn of the loop, so that timers are not starved
_REDIAL_S = 5.0  # without a message taken; a handshake on a slow network is done sooner
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Link:
    """A link that was dialled. `wanted`: address and key of the place that it leads to."""

    wanted: tuple[str, str]
    socket: sockets.Socket
    alive_s: float  # when a message was taken last, or it was dialled


class VoterLinks:
    """The links of one voter to all others. Raises CannotListen."""

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        *,
        keys: CurveKeys,
        zap: ZapHandler,
        places: Places,
        on_message: Callable[[Message], None],
        address_of: Callable[[VoterPlaced], str] = lambda place: place.replication,
        domain: str = "cairn.voters",
        redial_s: float = _REDIAL_S,
    ) -> None:
        """`endpoint` may name port `*`; the attribute of that name holds the real one."""
        self._reactor, self._keys, self._places = reactor, keys, places
        self._on_message, self._address_of = on_message, address_of
        self._redial_s = redial_s
        self._dialled: dict[str, _Link] = {}
        zap.serve(domain, lambda key: places.holder_of(key) is not None)
        self._socket = sockets.voter_server(reactor.context, keys, domain, MAX_MESSAGE_BYTES)
        self.endpoint = sockets.listen(self._socket, endpoint)
        reactor.watch(self._socket, self._on_readable)
        reactor.on_close(self.close)

    def send(self, to: str, message: Message) -> None:
        """Send to a voter, or lose it: never blocks."""
        link = self._dial(to)
        if link is None:
            return
        try:
            link.socket.send(messages.encode(message), zmq.NOBLOCK)
            link.alive_s = self._reactor.now()
        except zmq.Again:  # not connected, or it does not take what it was sent
            if self._reactor.now() - link.alive_s >= self._redial_s:
                self._dialled.pop(to).socket.close(0)

    def close(self) -> None:
        """Drop all links."""
        if self._socket.closed:
            return
        self._reactor.unwatch(self._socket)
        self._socket.close(0)
        for link in self._dialled.values():
            link.socket.close(0)
        self._dialled.clear()

    def _dial(self, to: str) -> _Link | None:
        """Return the link to a voter as it is placed now, None if its place is not known."""
        place = self._places.get(to)
        wanted = (self._address_of(place), place.curve_key) if place else None
        known = self._dialled.get(to)
        if known is not None and known.wanted == wanted:
            return known
        if known is not None:
            self._dialled.pop(to).socket.close(0)
        if wanted is None or self._socket.closed:
            return None
        socket = sockets.voter_client(self._reactor.context, self._keys, wanted[1])
        socket.connect(wanted[0])
        link = self._dialled[to] = _Link(wanted, socket, self._reactor.now())
        return link

    def _on_readable(self) -> None:
        for _ in range(_TURN):
            if self._socket.closed:
                return
            try:
                self._socket.recv(zmq.NOBLOCK)  # the routing id: nothing is sent back
            except zmq.Again:
                return
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            while frame.more:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            self._take(str(frame.get("User-Id")), frame.bytes)

    def _take(self, key: str, encoded: bytes) -> None:
        holder = self._places.holder_of(key)
        try:
            message = messages.decode(encoded)
            if message.sender != holder:
                raise DecodeError(f"it speaks for {message.sender}")
            self._on_message(message)
        except DecodeError as error:
            _log.warning("a message of voter %s is dropped: %s", holder, error)

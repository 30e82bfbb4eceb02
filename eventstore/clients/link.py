"""One connection to one voter, and whether it is up (edge).

    closed --open--> connecting --handshake--> up --lost--> connecting --> ...
                         \\---key refused---> closed

A refused key does not become good by itself, so the link does not try again until it is opened
again. ZeroMQ reconnects a lost one by itself.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import zmq

from eventstore.access.keys import CurveKeys
from eventstore.reactor import Reactor
from eventstore.wire import sockets

_TURN = 256  # frames taken in one turn of the loop


class Voter(msgspec.Struct, frozen=True, kw_only=True):
    """Where a voter listens and the key by which it proves to be that voter."""

    name: str
    requests_endpoint: str
    publish_endpoint: str
    curve_key: str  # public, Z85


class LinkOwner(Protocol):
    """Who hears what happens on a link."""

    def on_frame(self, link: Link, frame: bytes) -> None:
        """The voter sent this."""

    def on_up(self, link: Link) -> None:
        """The handshake succeeded: `send` works."""

    def on_lost(self, link: Link) -> None:
        """The connection ended; what was sent may or may not have arrived."""

    def on_refused(self, link: Link) -> None:
        """Nobody listens there now; ZeroMQ goes on trying."""

    def on_denied(self, link: Link) -> None:
        """The voter does not admit our key; the link is closed."""


class Link:
    """A DEALER to one voter, opened when first needed."""

    def __init__(self, reactor: Reactor, keys: CurveKeys, voter: Voter, owner: LinkOwner) -> None:
        self.voter = voter
        self.up = False
        self.garbled = False  # a handshake failed otherwise than by a refusal
        self._reactor = reactor
        self._keys = keys
        self._owner = owner
        self._socket: sockets.Socket | None = None
        self._watching: sockets.Socket | None = None

    @property
    def name(self) -> str:
        """The voter's name."""
        return self.voter.name

    def open(self) -> None:
        """Connect, unless that is under way or done."""
        if self._socket is not None:
            return
        self.garbled = False
        voter, context = self.voter, self._reactor.context
        self._socket = sockets.request_client(context, self._keys, voter.curve_key)
        self._watching = sockets.monitor(self._socket)
        self._reactor.watch(self._socket, self._on_readable)
        self._reactor.watch(self._watching, self._on_monitor)
        self._socket.connect(voter.requests_endpoint)

    def close(self) -> None:
        """Disconnect; what was not sent is dropped."""
        if self._socket is None or self._watching is None:
            return
        self._reactor.unwatch(self._socket)
        self._reactor.unwatch(self._watching)
        sockets.close_monitored(self._socket, self._watching)
        self._socket = self._watching = None
        self.up = False

    def send(self, frame: bytes) -> bool:
        """Send if the connection takes it now; False means that nothing was sent."""
        if self._socket is None or not self.up:
            return False
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _on_readable(self) -> None:
        for _ in range(_TURN):
            if self._socket is None:  # closed by what the last frame led to
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._owner.on_frame(self, frames[0])

    def _on_monitor(self) -> None:
        while self._watching is not None:
            happened = sockets.read_monitor(self._watching)
            if happened is None:
                return
            match happened.event:
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self.up, self.garbled = True, False
                    self._owner.on_up(self)
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    self.close()
                    self._owner.on_denied(self)
                case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                    self.garbled = True
                case zmq.EVENT_CONNECT_RETRIED if not self.up:
                    self._owner.on_refused(self)
                case zmq.EVENT_DISCONNECTED if self.up:
                    self.up = False
                    self._owner.on_lost(self)

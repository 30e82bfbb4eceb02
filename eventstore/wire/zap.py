"""Who is let in: the ZAP handler (edge). RFC 27 (ZAP 1.0), mechanism CURVE (RFC 26).

ZeroMQ asks `inproc://zeromq.zap.01` about each new connection and waits for the answer before it
lets a byte through. There is one such endpoint in a process; servers are told apart by the domain.
The answer's user id is the client's public key: each message of the connection bears it, and the
server looks the key up again for every request. (A name would not do: one person may hold two
keys, and only one of them may be revoked.)

What can go wrong: a handler that is not there, or is asked too late. Therefore ZAP_ENFORCE_DOMAIN
(sockets.py), and a self-test in which a key that nobody admitted must be turned away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils import z85

from eventstore.access.keys import new_curve_keys
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor
from eventstore.wire import sockets

ENDPOINT: Final = "inproc://zeromq.zap.01"
_SELF_TEST_S = 5.0
_log = logging.getLogger(__name__)

Admits = Callable[[str], bool]  # is this CURVE public key (Z85) let in?


class InsecureServer(EventStoreError):
    """The self-test failed: a key that nobody admitted was not turned away."""


class ZapHandler:
    """Answers ZeroMQ's question on the reactor. Make it before any socket that serves."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._domains: dict[str, Admits] = {}
        self._socket: sockets.Socket = reactor.context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        reactor.watch(self._socket, self._on_readable)
        reactor.on_close(self.close)

    def serve(self, domain: str, admits: Admits) -> None:
        """From now on `admits` decides about connections to sockets of `domain`."""
        assert domain, "an empty domain is not enforced"
        self._domains[domain] = admits

    def close(self) -> None:
        """Admit nobody any more."""
        if not self._socket.closed:
            self._reactor.unwatch(self._socket)
            self._socket.close(0)

    def self_test(self, domain: str) -> None:
        """Connect with a key drawn for this moment; raises InsecureServer unless it is refused.

        Turns the reactor until the answer is there, some milliseconds as a rule.
        """
        context, server_keys = self._reactor.context, new_curve_keys()
        server = sockets.request_server(context, server_keys, domain)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client = sockets.request_client(context, new_curve_keys(), server_keys.public)
        watching = sockets.monitor(client)
        seen: list[int] = []

        def note() -> None:
            while (happened := sockets.read_monitor(watching)) is not None:
                seen.append(happened.event)

        self._reactor.watch(watching, note)
        client.connect(f"tcp://127.0.0.1:{port}")
        verdicts = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_SUCCEEDED}
        self._reactor.run_until(lambda: bool(verdicts & set(seen)), timeout_s=_SELF_TEST_S)
        self._reactor.unwatch(watching)
        sockets.close_monitored(client, watching)
        server.close(0)
        if zmq.EVENT_HANDSHAKE_FAILED_AUTH not in seen:
            raise InsecureServer(
                "a key that nobody admitted was not turned away",
                hint="this build of libzmq does not ask the ZAP handler; do not run it",
            )

    def _on_readable(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send_multipart(self._answer(frames))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        match frames:
            case [b"1.0", request, domain, address, _identity, b"CURVE", raw] if len(raw) == 32:
                key = z85.encode(raw).decode()
                admits = self._domains.get(domain.decode(errors="replace"))
                if admits is not None and admits(key):
                    return [b"1.0", request, b"200", b"", key.encode(), b""]
                _log.warning("refused key %s from %s", key, address.decode(errors="replace"))
                return [b"1.0", request, b"400", b"unknown key", b"", b""]
        request = frames[1] if len(frames) > 1 else b""
        return [b"1.0", request, b"400", b"only CURVE is served", b"", b""]

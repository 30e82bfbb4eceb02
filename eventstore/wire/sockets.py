"""Every option of every socket, with its reason (edge). All are CURVE, on TCP as on IPC.

What ZeroMQ does when nothing is said is not safe: without ZAP_ENFORCE_DOMAIN a CURVE server whose
ZAP handler is missing lets in whoever knows its public key; high-water marks count messages, not
bytes; a dead TCP peer is noticed after hours.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import zmq

from eventstore.access.keys import CurveKeys
from eventstore.errors import EventStoreError
from eventstore.wire import frames

Socket = zmq.Socket[Any]

_CURVE_OVERHEAD = 128  # of the encrypted frame over the plain one, generously
# Beyond this ZeroMQ drops the connection; up to it the server can still say what was wrong.
_HARD_LIMIT = 2 * frames.MAX_REQUEST_BYTES

_PUBLISH_HWM = 256  # messages of at most 64 kB as a rule: 16 MB for each slow subscriber
_FAN_HWM = 2048  # between the publisher and its fan: a burst of one turn of the loop
_REQUEST_HWM = 1000
_HANDSHAKE_MS = 10_000
# ZMTP PING. Who dials pings each second: a dead link is dropped after 3 seconds, on both ends (the
# ping says how long it counts). A server of thousands pings those who do not, seldom: with each
# second it would spend most of an idle master's time.
_PING_MS, _SILENT_MS = 1000, 3000
_SERVER_PING_MS, _SERVER_SILENT_MS = 10_000, 30_000

MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)


class CannotListen(EventStoreError):
    """The address cannot be bound; `hint` says what may be wrong with it."""


class Happened(NamedTuple):
    """What a monitor saw: one of zmq.EVENT_*, and its value (the status of a refusal)."""

    event: int
    value: int


def request_server(context: zmq.Context[Any], keys: CurveKeys, domain: str) -> Socket:
    """Return a ROUTER that tells when a peer is gone.

    ROUTER_HANDOVER stays off: with it, whoever was admitted, in any role, could claim the routing
    id of another connection and be sent its replies. Our clients leave the id to the ROUTER, which
    draws one for each connection, so none of them is ever mistaken for its dead self.
    """
    socket = _serving(context, zmq.ROUTER, keys, domain)
    _ping(socket, _SERVER_PING_MS, _SERVER_SILENT_MS)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a reply to a gone peer is an error, not silence
    socket.setsockopt(zmq.MAXMSGSIZE, _HARD_LIMIT)
    socket.setsockopt(zmq.SNDHWM, _REQUEST_HWM)
    socket.setsockopt(zmq.RCVHWM, _REQUEST_HWM)
    return socket


def request_client(context: zmq.Context[Any], keys: CurveKeys, server_key: str) -> Socket:
    """Return a DEALER that queues nothing for a voter that it is not connected to.

    What would wait in a queue is delivered minutes later, to another reign.
    """
    socket = _connecting(context, zmq.DEALER, keys, server_key)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, frames.MAX_REPLY_BYTES + _CURVE_OVERHEAD)
    socket.setsockopt(zmq.SNDHWM, _REQUEST_HWM)
    socket.setsockopt(zmq.RCVHWM, _REQUEST_HWM)
    return socket


def publisher(context: zmq.Context[Any], keys: CurveKeys, domain: str) -> Socket:
    """Return an XPUB that says when a topic gets its first subscriber and loses its last."""
    socket = _serving(context, zmq.XPUB, keys, domain)
    _ping(socket, _SERVER_PING_MS, _SERVER_SILENT_MS)
    socket.setsockopt(zmq.SNDHWM, _PUBLISH_HWM)
    socket.setsockopt(zmq.MAXMSGSIZE, 4096)  # only subscriptions come in: names of topics
    return socket


def feeding(context: zmq.Context[Any], name: str) -> Socket:
    """Return the XPUB that feeds `fed`, inside this process."""
    socket: Socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, _FAN_HWM)
    socket.bind(name)
    return socket


def fed(context: zmq.Context[Any], name: str) -> Socket:
    """Return the XSUB that is fed by `feeding`."""
    socket: Socket = context.socket(zmq.XSUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, _FAN_HWM)
    socket.connect(name)
    return socket


def pair(context: zmq.Context[Any], name: str, *, bind: bool) -> Socket:
    """Return one end of a pair inside this process; the one that binds comes first."""
    socket: Socket = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.LINGER, 0)
    if bind:
        socket.bind(name)
    else:
        socket.connect(name)
    return socket


def subscriber(context: zmq.Context[Any], keys: CurveKeys, server_key: str) -> Socket:
    """Return a SUB; what it loses, its owner finds by counting.

    Heartbeats come each second, so its owner hears a silence by itself: it pings as a server does.
    """
    socket = _connecting(context, zmq.SUB, keys, server_key)
    _ping(socket, _SERVER_PING_MS, _SERVER_SILENT_MS)
    socket.setsockopt(zmq.RCVHWM, _PUBLISH_HWM)
    socket.setsockopt(zmq.MAXMSGSIZE, frames.MAX_PUBLISHED_BYTES + _CURVE_OVERHEAD)
    return socket


def voter_server(context: zmq.Context[Any], keys: CurveKeys, domain: str, max_bytes: int) -> Socket:
    """Return a ROUTER on which other voters speak. It never answers: each voter dials each."""
    socket = _serving(context, zmq.ROUTER, keys, domain)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes + _CURVE_OVERHEAD)
    socket.setsockopt(zmq.RCVHWM, _REQUEST_HWM)
    return socket


def voter_client(context: zmq.Context[Any], keys: CurveKeys, server_key: str) -> Socket:
    """Return a DEALER to another voter. What cannot be sent now is lost; the protocol repeats."""
    socket = _connecting(context, zmq.DEALER, keys, server_key)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDHWM, _REQUEST_HWM)
    return socket


def listen(socket: Socket, endpoint: str) -> str:
    """Bind, and return the endpoint with its real port. Raises CannotListen, with it closed."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as failed:
        socket.close(0)
        raise cannot_listen(endpoint, failed) from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def cannot_listen(endpoint: str, failed: zmq.ZMQError) -> CannotListen:
    """Return the error for an address that could not be bound."""
    hint = "is another daemon running here? else look at the address in the configuration"
    return CannotListen(f"{endpoint}: {failed.strerror}", hint=hint)


def monitor(socket: Socket) -> Socket:
    """Return a socket that yields what happens to the connections of `socket`."""
    watching: Socket = socket.get_monitor_socket(MONITORED)
    return watching


def read_monitor(watching: Socket) -> Happened | None:
    """Return the next event, None if there is none now."""
    try:
        message = watching.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
    return Happened(*struct.unpack("=Hi", message[0]))


def close_monitored(socket: Socket, watching: Socket) -> None:
    """Close both."""
    socket.disable_monitor()
    watching.close(0)
    socket.close(0)


def _plain(context: zmq.Context[Any], kind: int) -> Socket:
    socket: Socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    _ping(socket, _PING_MS, _SILENT_MS)
    return socket


def _ping(socket: Socket, every_ms: int, silent_ms: int) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, every_ms)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, silent_ms)
    socket.setsockopt(zmq.HEARTBEAT_TTL, silent_ms)


def _serving(context: zmq.Context[Any], kind: int, keys: CurveKeys, domain: str) -> Socket:
    socket = _plain(context, kind)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # no handler: nobody gets in, instead of all
    socket.setsockopt(zmq.BACKLOG, 1024)
    return socket


def _connecting(context: zmq.Context[Any], kind: int, keys: CurveKeys, server_key: str) -> Socket:
    socket = _plain(context, kind)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key.encode())
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    return socket

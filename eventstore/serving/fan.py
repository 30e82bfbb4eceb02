"""The thread that hands what is published to each subscriber (edge).

    publisher --XPUB, inproc--> XSUB --[thread]--> XPUB, TCP --> a thousand subscribers

An XPUB keeps the subscriptions of its peers in one tree and walks through all of it when a peer
goes, in the thread that next uses the socket. With a thousand agents, each with a stream of its
own, that is milliseconds for each: when a switch drops them all, the daemon's loop stood still for
seconds (2.7 s measured), longer than an election waits. So the socket that faces the network
belongs to a thread that does nothing else; it runs in libzmq (`zmq_proxy_steerable`), without the
interpreter's lock. What the publisher sees is an XPUB with one peer: the first subscription to each
topic, and the end of the last one.

What is lost between the two is lost as anywhere on the way: subscribers count.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import zmq

from eventstore.access.keys import CurveKeys
from eventstore.wire import sockets

_numbers = itertools.count(1)


class Fan:
    """An XPUB on the network and `inner`, which feeds it. Not for use before `start`."""

    def __init__(self, context: zmq.Context[Any], keys: CurveKeys, domain: str) -> None:
        name = f"inproc://fan-{next(_numbers)}"
        self._outer = sockets.publisher(context, keys, domain)
        self.inner = sockets.feeding(context, name)
        self._fed = sockets.fed(context, name)
        self._orders = sockets.pair(context, f"{name}-orders", bind=True)
        self._ordered = sockets.pair(context, f"{name}-orders", bind=False)
        self._thread: threading.Thread | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self.inner.closed)

    def listen(self, endpoint: str) -> str:
        """Bind; return the endpoint with its real port. Raises zmq.ZMQError; may be repeated."""
        self._outer.bind(endpoint)
        return self._outer.getsockopt_string(zmq.LAST_ENDPOINT)

    def start(self) -> None:
        """Begin to hand on. The socket on the network belongs to the thread from here on."""
        self._thread = threading.Thread(target=self._run, name="fan", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; when this returns, the address is free or about to be."""
        if self.closed:
            return
        if self._thread is not None:
            self._orders.send(b"TERMINATE")
            self._thread.join()
        else:
            self._release()
        self.inner.close(0)
        self._orders.close(0)

    def _run(self) -> None:
        zmq.proxy_steerable(self._fed, self._outer, None, self._ordered)
        self._release()

    def _release(self) -> None:
        for socket in (self._outer, self._fed, self._ordered):
            socket.close(0)

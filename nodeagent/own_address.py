"""The address by which this node reaches its voters, and so is reached by others (edge)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit


def own_address(endpoints: Iterable[str]) -> str:
    """Return the local address towards the first of these endpoints (tcp://host:port) in reach.

    Nothing is sent: connecting a datagram socket only asks the kernel for a route, see connect(2).
    Empty if there is no route to any of them.
    """
    for endpoint in endpoints:
        place = urlsplit(endpoint)
        try:
            found = socket.getaddrinfo(place.hostname, place.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            with socket.socket(family, kind, protocol) as route:
                route.connect(address)
                return str(route.getsockname()[0])
        except OSError:
            continue
    return ""

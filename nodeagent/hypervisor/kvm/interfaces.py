"""Interfaces of the node as QEMU needs them: the address of one by its name (edge)."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

from nodeagent.errors import Missing

_SIOCGIFADDR = 0x8915  # netdevice(7)
_LINK_LOCAL = "20"  # the scope, in /proc/net/if_inet6


def address_of(interface: str, version: int) -> str:
    """Return an address of an interface, of IP version 4 or 6. Raises Missing."""
    found = _ipv6(interface) if version == 6 else _ipv4(interface)
    if found is None:
        raise Missing(
            f"the interface {interface} has no address of IPv{version} on this node",
            hint="give it one, or name an address",
        )
    return found


def exists(interface: str) -> bool:
    """Whether there is an interface of this name."""
    return interface in (name for _, name in socket.if_nameindex())


def _ipv4(interface: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _ipv6(interface: str) -> str | None:
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        digits, _, _, scope, _, name = line.split()
        if name == interface and scope != _LINK_LOCAL:
            return str(ipaddress.IPv6Address(int(digits, 16)))
    return None

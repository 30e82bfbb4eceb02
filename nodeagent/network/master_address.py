"""The master's address on a real interface (edge).

An address is put on the interface in the running kernel only: after a restart it is gone, and
whoever is master then asks for it anew. Before it is taken, the neighbours are asked who has it;
it is taken whatever they say, because a node that was cut off must not keep the cluster without
one, but what they say is told. After it was taken they are told where it is now, so that nobody
waits for a neighbour table to expire.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from nodeagent.errors import BadCall, Missing, NodeAgentError
from nodeagent.network.neighbours import ARP, IPV6, announcements, claimed_by, probe
from nodeagent.network.netlink import ETHERNET, Address, Link, Netlink

_PROBES, _BETWEEN_S = 3, 0.2  # RFC 5227 has three, one to two seconds apart, for booting hosts
_FRAME_BYTES = 2048


class MasterAddress:
    """The master's address on this node; implements `AddressDriver`."""

    def needs(self) -> tuple[str, ...]:
        """See AddressDriver."""
        return ()

    def ensure_address(self, address: str, *, prefix: int, device: str) -> tuple[str, ...]:
        """See AddressDriver."""
        wanted = _checked(address, prefix)
        with Netlink() as net:
            link = _device(net.links(), device)
            with _ethernet(link, wanted) as wire:
                others = () if wire is None else _ask(wire, wanted, link)
                if (link.index, prefix) not in net.prefixes(wanted):
                    net.add_address(link, wanted, prefix=prefix)
                if wire is not None:
                    _tell(wire, wanted, link)
        return others

    def ensure_no_address(self, address: str, *, device: str) -> None:
        """See AddressDriver."""
        unwanted = ip_address(address)
        with Netlink() as net:
            link = net.links().get(device)
            for index, prefix in net.prefixes(unwanted) if link is not None else ():
                if link is not None and index == link.index:
                    net.remove_address(link, unwanted, prefix=prefix)

    def holds(self, address: str) -> bool:
        """See AddressDriver."""
        with Netlink() as net:
            return bool(net.prefixes(ip_address(address)))


def _checked(address: str, prefix: int) -> Address:
    try:
        found = ip_address(address)
    except ValueError as wrong:
        raise BadCall(str(wrong), hint="give an IPv4 or IPv6 address") from None
    if not 0 < prefix <= found.max_prefixlen:
        raise BadCall(
            f"a network of {prefix} bits for {address}", hint=f"1 to {found.max_prefixlen}"
        )
    return found


def _device(links: dict[str, Link], device: str) -> Link:
    found = links.get(device)
    if found is None:
        raise Missing(
            f"there is no link {device!r} on this node",
            hint=f"make it, or use one of {', '.join(sorted(links))}",
        )
    if not found.up:
        raise Missing(f"the link {device} is down", hint=f"ip link set {device} up")
    return found


@contextmanager
def _ethernet(link: Link, address: Address) -> Iterator[socket.socket | None]:
    """The wire of an interface, None where there are no neighbours to speak to (loopback, tun)."""
    if link.hardware != ETHERNET:
        yield None
        return
    kind = ARP if address.version == 4 else IPV6
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as wire:
            wire.bind((link.name, kind))
            yield wire
    except OSError as failed:
        raise NodeAgentError(f"cannot speak on {link.name}: {failed.strerror}") from failed


def _ask(wire: socket.socket, address: Address, link: Link) -> tuple[str, ...]:
    """Return the link addresses of the other machines that have the address."""
    mac = _bytes_of(link.mac)
    found: set[bytes] = set()
    for _ in range(_PROBES):
        wire.send(probe(address, mac))
        until = time.monotonic() + _BETWEEN_S
        while (left_s := until - time.monotonic()) > 0:
            if not select.select([wire], [], [], left_s)[0]:
                break
            claimant = claimed_by(wire.recv(_FRAME_BYTES), address)
            if claimant is not None:
                found.add(claimant)
    return tuple(sorted(each.hex(":") for each in found if each != mac))


def _tell(wire: socket.socket, address: Address, link: Link) -> None:
    for frame in announcements(address, _bytes_of(link.mac)):
        wire.send(frame)


def _bytes_of(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

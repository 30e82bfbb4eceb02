"""Frames by which a node asks who has an address, and says that it has it (pure).

IPv4: ARP, RFC 826; probe and announcement as in RFC 5227, sections 2.1.1 and 2.3 (the announcement
in both its forms, request and reply: some switches and hosts heed only one of them).
IPv6: neighbour discovery, RFC 4861; the probe is that of RFC 4862, section 5.4.2, the announcement
an unsolicited neighbour advertisement, RFC 4861, section 7.2.6.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

ARP, IPV6 = 0x0806, 0x86DD  # EtherTypes
_BROADCAST = b"\xff" * 6
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT, _OVERRIDE = 135, 136, 0x20000000
_TARGET_OPTION = 2  # link-layer address, RFC 4861 section 4.6.1
_ICMPV6, _HOPS = 58, 255
_ALL_NODES = IPv6Address("ff02::1")
_IPV6_HEADER = 40


def probe(address: IPv4Address | IPv6Address, mac: bytes) -> bytes:
    """Return a frame that asks who has `address`, and claims nothing."""
    if isinstance(address, IPv4Address):
        return _arp(_REQUEST, mac, sender=IPv4Address(0), target=address)
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    return _ipv6(IPv6Address(0), group, mac, body)


def announcements(address: IPv4Address | IPv6Address, mac: bytes) -> tuple[bytes, ...]:
    """Return the frames that tell every neighbour that `address` is at `mac` from now on."""
    if isinstance(address, IPv4Address):
        return tuple(_arp(kind, mac, sender=address, target=address) for kind in (_REQUEST, _REPLY))
    option = struct.pack("!BB", _TARGET_OPTION, 1) + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + option
    return (_ipv6(address, _ALL_NODES, mac, body),)


def claimed_by(frame: bytes, address: IPv4Address | IPv6Address) -> bytes | None:
    """Return the MAC of the machine that says in this frame that it has `address`, else None."""
    kind = int.from_bytes(frame[12:14], "big")
    if isinstance(address, IPv4Address):
        # In any ARP packet the sender's own address is a claim: RFC 5227, section 2.1.1.
        if kind == ARP and len(frame) >= 42 and frame[28:32] == address.packed:
            return frame[22:28]
        return None
    body = frame[14 + _IPV6_HEADER :]
    is_ours = kind == IPV6 and len(body) >= 24 and frame[20] == _ICMPV6
    if is_ours and body[0] == _ADVERTISEMENT and body[8:24] == address.packed:
        return frame[6:12]
    return None


def _arp(kind: int, mac: bytes, *, sender: IPv4Address, target: IPv4Address) -> bytes:
    ether = _BROADCAST + mac + struct.pack("!H", ARP)
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, kind)  # Ethernet, IPv4, and their lengths
    # A reply that announces must name its own card twice, or Linux does not heed it (arp_is_garp).
    asked = mac if kind == _REPLY else bytes(6)
    return ether + fixed + mac + sender.packed + asked + target.packed


def _ipv6(source: IPv6Address, group: IPv6Address, mac: bytes, body: bytes) -> bytes:
    """Return an ICMPv6 message to a multicast group; the checksum is filled in."""
    pseudo = source.packed + group.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, _HOPS)
    ether = b"\x33\x33" + group.packed[12:] + mac + struct.pack("!H", IPV6)  # RFC 2464, section 7
    return ether + header + source.packed + group.packed + body


def _checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""What a NIC may be: MAC and IP addresses, modes and VLANs (pure).

The leader refuses most of what is wrong here before it becomes a call; a driver asks again, as what
it acts on must not depend on the version of the leader.

A VLAN is written as Ganeti writes it: `10` or `.10` is an access port (untagged for the guest),
`:20:30` a trunk (the guest tags), `.10:20:30` both. See ganeti-instance(8), "vlan".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from nodeagent.calls import NicSpec
from nodeagent.errors import BadCall

BRIDGED, ROUTED, OPENVSWITCH = "bridged", "routed", "openvswitch"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_VLAN = re.compile(r"(?:\.?([0-9]{1,4}))?((?::[0-9]{1,4})*)")
_LARGEST_VLAN = 4094  # 0 and 4095 are reserved: IEEE 802.1Q, table 9-2


@dataclass(frozen=True, slots=True)
class Vlans:
    """The VLANs of a port. `access`: what the guest sends without a tag belongs to it."""

    access: int | None
    tagged: tuple[int, ...]


def vlans_of(nic: NicSpec) -> Vlans | None:
    """Return the VLANs that a NIC asks for, None for none. Raises BadCall for what is no VLAN."""
    if not nic.vlan:
        return None
    read = _VLAN.fullmatch(nic.vlan)
    numbers = [int(digits) for digits in re.findall(r"[0-9]+", nic.vlan)]
    if read is None or not all(1 <= number <= _LARGEST_VLAN for number in numbers):
        raise BadCall(
            f"NIC {nic.index}: {nic.vlan!r} is no VLAN",
            hint=f"10 or .10 (untagged), :20:30 (tagged), .10:20 (both); 1 to {_LARGEST_VLAN}",
        )
    access = int(read[1]) if read[1] else None
    return Vlans(access, tuple(int(digits) for digits in read[2].split(":")[1:]))


def check_nic(nic: NicSpec) -> None:
    """Raises BadCall, naming the NIC, for addresses or a combination that cannot be."""
    if not _MAC.fullmatch(nic.mac) or int(nic.mac[:2], 16) & 1:
        raise BadCall(
            f"NIC {nic.index}: {nic.mac!r} is not the MAC address of an interface",
            hint="six bytes in hexadecimal, the first one even",
        )
    if nic.ip:
        address_of(nic)
    if nic.mode == ROUTED and not nic.ip:
        raise BadCall(f"NIC {nic.index}: a routed NIC needs an IP address", hint="ip=192.0.2.10")
    if nic.mode != ROUTED and not nic.link:
        raise BadCall(f"NIC {nic.index}: a {nic.mode} NIC needs a link", hint="link=br0")
    if nic.mode == ROUTED and nic.vlan:
        raise BadCall(f"NIC {nic.index}: a routed NIC has no VLAN", hint="mode=bridged, or no vlan")
    vlans_of(nic)


def address_of(nic: NicSpec) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IP address of a NIC that has one. Raises BadCall."""
    try:
        return ipaddress.ip_address(nic.ip)
    except ValueError:
        raise BadCall(
            f"NIC {nic.index}: {nic.ip!r} is not an IP address", hint="192.0.2.10 or 2001:db8::10"
        ) from None

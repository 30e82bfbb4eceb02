"""The kernel's interfaces, bridges, VLANs, addresses and routes, over netlink (edge).

Source: rtnetlink(7), packet(7); spoken by pyroute2, of which only that part is imported, at the
first use: an agent is to be small. One socket serves one task, on one thread.

An error of the kernel becomes a NodeAgentError that says what was tried and what the kernel said.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nodeagent.errors import Missing, NodeAgentError

if TYPE_CHECKING:
    from pyroute2.iproute.linux import IPRoute

Address = IPv4Address | IPv6Address
_WHOLE = "pyroute2"
ETHERNET = 1  # ARPHRD_ETHER
_UP = 0x1  # IFF_UP
_TAP = 2  # IFLA_TUN_TYPE
_NO_DAD = 0x02  # IFA_F_NODAD
_MAIN = 254  # RT_TABLE_MAIN
_GONE = (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL)
_NOT_ALLOWED = (errno.EPERM, errno.EACCES)


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    index: int
    name: str
    kind: str  # bridge, tun, veth, ...; empty for hardware
    hardware: int  # ETHERNET or another ARPHRD_ of if_arp.h
    mac: str
    mtu: int
    up: bool
    master: int | None  # the index of its bridge
    alias: str
    filters_vlans: bool  # a bridge
    multi_queue: bool  # a tap


def _pyroute2() -> Any:  # the class; it has no types
    """Return what speaks rtnetlink.

    The package's own `__init__` imports all of it: a database, a file server, firewalls; 12 MiB
    instead of 6. It is passed over: nothing else in this process imports the package.
    """
    if _WHOLE not in sys.modules:
        found = importlib.util.find_spec(_WHOLE)
        assert found is not None, "pyproject.toml names it"
        sys.modules[_WHOLE] = importlib.util.module_from_spec(found)
    from pyroute2.iproute.linux import IPRoute

    return IPRoute


class Netlink:
    """One conversation with the kernel, for a `with` block."""

    def __init__(self) -> None:
        self._socket: IPRoute | None = None

    def __enter__(self) -> Self:
        self._socket = _pyroute2()()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ip.close()

    @property
    def _ip(self) -> Any:  # pyroute2's methods are made at run time: it has no types for them
        assert self._socket is not None, "only within a with block"
        return self._socket

    def links(self) -> dict[str, Link]:
        """Return every interface of this network namespace, by name."""
        with _told("list the interfaces"):
            found = [_link(message) for message in self._ip.get_links()]
        return {link.name: link for link in found}

    def add_tap(self, name: str, *, multi_queue: bool) -> Link:
        """Make a tap that stays when nobody has it open."""
        with _told(f"make the tap {name}"):
            self._ip.link(
                "add", ifname=name, kind="tun",
                tun_type=_TAP, tun_pi=0, tun_vnet_hdr=1, tun_multi_queue=int(multi_queue),
            )  # fmt: skip
        return self.links()[name]

    def remove(self, link: Link) -> None:
        """Remove an interface, with its routes and addresses; one that has gone is no error."""
        with _told(f"remove {link.name}", gone_is_fine=True):
            self._ip.link("del", index=link.index)

    def set_up(self, link: Link, *, mac: str = "", mtu: int = 0) -> None:
        """Set it up, with these, where they are given."""
        wanted: dict[str, str | int] = {"address": mac} if mac and mac != link.mac else {}
        if mtu and mtu != link.mtu:
            wanted["mtu"] = mtu
        with _told(f"set {link.name} up"):
            self._ip.link("set", index=link.index, state="up", **wanted)

    def set_alias(self, link: Link, alias: str) -> None:
        """Note something at an interface; it goes with it."""
        with _told(f"mark {link.name}"):
            self._ip.link("set", index=link.index, ifalias=alias)

    def join(self, link: Link, bridge: Link) -> None:
        """Make it a port of the bridge, with the bridge's default VLAN."""
        with _told(f"join {link.name} to the bridge {bridge.name}"):
            self._ip.link("set", index=link.index, master=bridge.index)

    def leave(self, link: Link) -> None:
        """It is a port of no bridge, and nothing is routed to it."""
        with _told(f"disconnect {link.name}", gone_is_fine=True):
            if link.master is not None:
                self._ip.link("set", index=link.index, master=0)
            self._ip.flush_routes(oif=link.index)

    def port_vlans(self, link: Link) -> tuple[int, ...]:
        """Return the VLANs of a bridge's port."""
        with _told(f"list the VLANs of {link.name}"):
            found = [
                entry["vid"]
                for message in self._ip.get_vlans(index=link.index)
                if message["index"] == link.index
                for spec in message.get_attrs("IFLA_AF_SPEC")
                for entry in spec.get_attrs("IFLA_BRIDGE_VLAN_INFO")
            ]
        return tuple(found)

    def add_vlan(self, link: Link, vlan: int, *, untagged: bool) -> None:
        """A port carries a VLAN: tagged, or as what comes and goes without a tag."""
        info: dict[str, object] = {"vid": vlan}
        if untagged:
            info["flags"] = ["pvid", "untagged"]
        with _told(f"add VLAN {vlan} to {link.name}"):
            self._ip.vlan_filter("add", index=link.index, vlan_info=info)

    def remove_vlan(self, link: Link, vlan: int) -> None:
        """A port does not carry a VLAN."""
        with _told(f"remove VLAN {vlan} from {link.name}"):
            self._ip.vlan_filter("del", index=link.index, vlan_info={"vid": vlan})

    def route(self, address: Address, link: Link, *, table: int = _MAIN) -> None:
        """What goes to `address` leaves through this interface; replaces another such route."""
        with _told(f"route {address} to {link.name}"):
            self._ip.route(
                "replace", dst=f"{address}/{address.max_prefixlen}", oif=link.index,
                proto="static", table=table,
            )  # fmt: skip

    def add_address(self, link: Link, address: Address, *, prefix: int) -> None:
        """An interface has an address, at once: an IPv6 one is not asked about first."""
        flags = {"flags": _NO_DAD} if address.version == 6 else {}
        with _told(f"add {address}/{prefix} to {link.name}"):
            self._ip.addr(
                "replace", index=link.index, address=str(address), prefixlen=prefix, **flags
            )

    def remove_address(self, link: Link, address: Address, *, prefix: int) -> None:
        """An interface has not this address; one that has gone is no error."""
        with _told(f"remove {address} from {link.name}", gone_is_fine=True):
            self._ip.addr("del", index=link.index, address=str(address), prefixlen=prefix)

    def prefixes(self, address: Address) -> tuple[tuple[int, int], ...]:
        """Return where an address is: (index of the interface, bits of its network) of each."""
        with _told("list the addresses"):
            return tuple(
                (message["index"], message["prefixlen"])
                for message in self._ip.get_addr()
                if message.get_attr("IFA_LOCAL") == str(address)
                or message.get_attr("IFA_ADDRESS") == str(address)
            )


@contextmanager
def _told(what: str, *, gone_is_fine: bool = False) -> Iterator[None]:
    """Make the kernel's errors ours."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (NetlinkError, OSError) as failed:
        number = failed.code if isinstance(failed, NetlinkError) else failed.errno or 0
        if gone_is_fine and number in _GONE:
            return
        problem = f"cannot {what}: {os.strerror(number)}"
        if number in _NOT_ALLOWED:
            raise Missing(problem, hint="the agent must run as root") from failed
        if number == errno.EOPNOTSUPP:
            raise Missing(problem, hint="this kernel was built without it") from failed
        raise NodeAgentError(problem) from failed


def _link(message: Any) -> Link:
    about = message.get_attr("IFLA_LINKINFO")
    kind = about.get_attr("IFLA_INFO_KIND") if about is not None else None
    data = about.get_attr("IFLA_INFO_DATA") if kind in ("bridge", "tun") else None
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind or "",
        hardware=message["ifi_type"],
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _UP),
        master=message.get_attr("IFLA_MASTER"),
        alias=message.get_attr("IFLA_IFALIAS") or "",
        filters_vlans=bool(data is not None and data.get_attr("IFLA_BR_VLAN_FILTERING")),
        multi_queue=bool(data is not None and data.get_attr("IFLA_TUN_MULTI_QUEUE")),
    )

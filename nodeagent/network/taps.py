"""Bridged and routed interfaces of guests: taps, joined to a bridge or given a route (edge).

An interface belongs to a NIC: its name is drawn from the NIC's uuid, and the kernel keeps a mark at
it (ip-link(8), "alias"):

    cairn <instance> <nic> <how it is connected>

The last word is written when all else is done, so an interface that an agent left half made is made
anew, and one that is connected as wanted is left alone. Nothing is kept in a file but what a site's
script is told when the interface goes.

    bridged  a port of the bridge, with its MTU; the tap's own MAC begins with fe, as a bridge takes
             on the lowest MAC of its ports and must not change its own when a guest comes or goes.
             A VLAN needs a bridge that filters VLANs: the ports then carry those that they should
             and no other. Whether a bridge does is the site's decision, it changes for all ports.
    routed   a route to the guest's address in the main table, or in the one that `link` names; the
             node answers for its other guests and the rest of the world (proxy ARP, proxy NDP).

What can go wrong: the bridge is missing or filters no VLANs, a table is unknown, a script fails.
What was made is then taken away again; the tap of a guest that runs stays, to be connected by the
next try.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nodeagent.calls import InstanceSpec, NicSpec
from nodeagent.errors import Missing, NodeAgentError, StateMismatch
from nodeagent.network.contract import NetworkCapabilities
from nodeagent.network.netlink import Link, Netlink
from nodeagent.network.routing import forward, table_number
from nodeagent.network.rules import BRIDGED, ROUTED, address_of, check_nic, vlans_of
from nodeagent.network.scripts import SiteScripts, script_environment
from nodeagent.task_scope import TaskScope

_OURS, _INCOMING = "cairn", "incoming"
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class _Mark:
    """What stands at an interface. `how` is empty while it is being connected."""

    instance: str
    nic: str
    how: str = ""

    def __str__(self) -> str:
        return " ".join((_OURS, self.instance, self.nic, self.how)).strip()


class Taps:
    """The interfaces of guests on this node; implements `NetworkDriver`.

    `told`: a directory on a file system that a restart of the machine empties.
    """

    modes = (BRIDGED, ROUTED)
    capabilities = NetworkCapabilities(vlans=True)

    def __init__(self, told: Path, scripts: SiteScripts | None = None) -> None:
        self._told = told
        self._scripts = scripts or SiteScripts()

    def needs(self) -> tuple[str, ...]:
        """See NetworkDriver."""
        if _TUN.exists():
            return ()
        return (f"network: {_TUN} is missing: modprobe tun",)

    def ensure_up(
        self, instance: InstanceSpec, nic: NicSpec, *, scope: TaskScope, incoming: bool = False
    ) -> str:
        """See NetworkDriver."""
        check_nic(nic)
        waits = incoming and nic.mode == ROUTED
        script = self._scripts.find(nic.mode, "up")
        mark = _Mark(instance.uuid, nic.uuid, _INCOMING if waits else _how(nic, script))
        name = interface_name(nic.uuid)
        with Netlink() as net:
            links = net.links()
            bridge = None if script or nic.mode != BRIDGED else _bridge(links, nic)
            found = self._usable(links.get(name), mark, instance)
            if found is not None and _is_connected(found, mark, bridge):
                return name
            tap = found or net.add_tap(name, multi_queue=_multi_queue(instance))
            try:
                before = _read(tap)
                net.set_alias(tap, str(_Mark(instance.uuid, nic.uuid)))
                if found is not None:
                    self._disconnect(net, tap, scope)
                net.set_up(tap)
                if script and not waits:
                    arrived = before is not None and before.how == _INCOMING
                    self._run_up(script, instance, nic, tap.name, arrived=arrived, scope=scope)
                elif bridge is not None:
                    _join(net, tap, bridge, nic)
                elif not waits:
                    _route(net, tap, nic)
                net.set_alias(tap, str(mark))
            except NodeAgentError:
                if found is None:
                    net.remove(tap)
                    self._note(name).unlink(missing_ok=True)
                raise
        return name

    def ensure_down(self, instance: str, *, nic: str | None = None, scope: TaskScope) -> None:
        """See NetworkDriver."""
        with Netlink() as net:
            for tap in _taps_of(net.links(), instance):
                mark = _read(tap)
                if mark is not None and nic in (None, mark.nic):
                    self._disconnect(net, tap, scope)
                    net.remove(tap)

    def bridges(self) -> tuple[str, ...]:
        """See NetworkDriver."""
        with Netlink() as net:
            return _bridges(net.links())

    def instances(self) -> tuple[str, ...]:
        """See NetworkDriver."""
        with Netlink() as net:
            marks = (_read(link) for link in net.links().values())
            return tuple(sorted({mark.instance for mark in marks if mark is not None}))

    def interfaces(self, instance: str) -> tuple[str, ...]:
        """The names of an instance's interfaces."""
        with Netlink() as net:
            return tuple(sorted(tap.name for tap in _taps_of(net.links(), instance)))

    def _usable(self, found: Link | None, mark: _Mark, instance: InstanceSpec) -> Link | None:
        if found is None:
            return None
        before = _read(found)
        if before is not None and (before.instance, before.nic) != (mark.instance, mark.nic):
            raise StateMismatch(f"{found.name} is the interface of instance {before.instance}")
        if before is None and found.alias:
            raise StateMismatch(
                f"there is an interface {found.name} already: {found.alias}",
                hint=f"ip link del {found.name}, if nobody needs it",
            )
        if found.multi_queue != _multi_queue(instance):
            raise StateMismatch(
                f"{found.name} was made for another number of queues (virtio_net_queues)",
                hint="stop the instance and start it again",
            )
        return found

    def _run_up(
        self,
        script: Path,
        instance: InstanceSpec,
        nic: NicSpec,
        name: str,
        *,
        arrived: bool,
        scope: TaskScope,
    ) -> None:
        environment = script_environment(instance, nic, name, arrived=arrived)
        self._told.mkdir(parents=True, exist_ok=True)
        self._note(name).write_bytes(msgspec.json.encode(environment))
        self._scripts.run(script, environment, scope)

    def _disconnect(self, net: Netlink, tap: Link, scope: TaskScope) -> None:
        note = self._note(tap.name)
        if note.exists():
            environment = msgspec.json.decode(note.read_bytes(), type=dict[str, str])
            self._scripts.try_down(environment["MODE"], environment, scope)
            note.unlink(missing_ok=True)
        net.leave(tap)

    def _note(self, name: str) -> Path:
        return self._told / f"{name}.json"


def interface_name(nic: str) -> str:
    """Return the name of a NIC's interface: `tap` and 12 digits, as long as a name may be."""
    return f"tap{hashlib.sha256(nic.encode()).hexdigest()[:12]}"


def _how(nic: NicSpec, script: Path | None) -> str:
    """Return a word that is another one if anything about the connection is."""
    parts = (nic.mode, nic.link, nic.vlan, nic.ip, nic.mac, str(script or ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _multi_queue(instance: InstanceSpec) -> bool:
    queues = instance.hvparams.get("virtio_net_queues")
    return isinstance(queues, int) and queues > 1


def _read(tap: Link) -> _Mark | None:
    words = tap.alias.split(" ")
    return _Mark(*words[1:4]) if words[0] == _OURS and len(words) in (3, 4) else None


def _taps_of(links: dict[str, Link], instance: str) -> list[Link]:
    marked = ((link, _read(link)) for link in links.values())
    return [link for link, mark in marked if mark is not None and mark.instance == instance]


def _is_connected(tap: Link, mark: _Mark, bridge: Link | None) -> bool:
    """Whether it is as it was left; a person may have taken it off its bridge."""
    wanted = bridge.index if bridge is not None else tap.master
    return tap.alias == str(mark) and tap.up and tap.master == wanted


def _bridges(links: dict[str, Link]) -> tuple[str, ...]:
    return tuple(sorted(link.name for link in links.values() if link.kind == "bridge"))


def _bridge(links: dict[str, Link], nic: NicSpec) -> Link:
    found = links.get(nic.link)
    if found is None or found.kind != "bridge":
        known = ", ".join(_bridges(links))
        what = "there is no bridge" if found is None else "this is no bridge:"
        raise Missing(
            f"NIC {nic.index}: {what} {nic.link!r} on this node",
            hint=f"make it, or use one of {known}" if known else "make it; this node has no bridge",
        )
    if vlans_of(nic) is not None and not found.filters_vlans:
        raise StateMismatch(
            f"NIC {nic.index}: the bridge {nic.link} does not filter VLANs",
            hint=f"ip link set {nic.link} type bridge vlan_filtering 1; it changes for all ports",
        )
    return found


def _join(net: Netlink, tap: Link, bridge: Link, nic: NicSpec) -> None:
    net.set_up(tap, mac=f"fe{nic.mac[2:].lower()}", mtu=bridge.mtu)
    net.join(tap, bridge)
    vlans = vlans_of(nic)
    if vlans is None:
        return
    for vlan in net.port_vlans(tap):
        net.remove_vlan(tap, vlan)
    for vlan in vlans.tagged:
        net.add_vlan(tap, vlan, untagged=False)
    if vlans.access is not None:
        net.add_vlan(tap, vlans.access, untagged=True)


def _route(net: Netlink, tap: Link, nic: NicSpec) -> None:
    address = address_of(nic)
    forward(tap.name, address)
    net.route(address, tap, table=table_number(nic.link))

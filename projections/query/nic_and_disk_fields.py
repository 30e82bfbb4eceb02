"""The columns of an instance's disks and network interfaces, singly and as lists (pure).

`disk.size/1` is the second disk's; an index that the instance does not have is "unavailable".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from projections import params
from projections.objects import Disk, Instance, Nic
from projections.query.table import (
    NORMAL,
    NOT_HERE,
    NUMBER,
    OTHER,
    TEXT,
    UNIT,
    Cell,
    FieldDef,
    World,
    field,
)

MAX_DISKS, MAX_NICS = 16, 8

DiskValue = Callable[[Disk], object]
NicValue = Callable[[World, Nic], object]


def nic_setting(world: World, nic: Nic, name: str) -> object:
    """Return a parameter of an interface that is in force on it."""
    return params.of_nic(world.cluster, nic).get(name)


def _bridge(world: World, nic: Nic) -> object:
    bridged = nic_setting(world, nic, "mode") == "bridged"
    return nic_setting(world, nic, "link") if bridged else None


# name of one, title, kind, name of the list ("" = none), its title, value, what it is
_DISK: tuple[tuple[str, str, str, str, str, DiskValue, str], ...] = (
    ("disk.size", "Disk", UNIT, "disk.sizes", "Disk_sizes", lambda d: d.size_mib, "size"),
    ("disk.name", "DiskName", TEXT, "disk.names", "Disk_names", lambda d: d.name or None, "name"),
    ("disk.uuid", "DiskUUID", TEXT, "disk.uuids", "Disk_UUIDs", lambda d: d.uuid, "id"),
    ("disk.spindles", "DiskSpindles", NUMBER, "disk.spindles", "Disk_spindles",
     lambda d: d.spindles, "spindles"),
)  # fmt: skip
_NIC: tuple[tuple[str, str, str, str, str, NicValue, str], ...] = (
    ("nic.mac", "NicMAC", TEXT, "nic.macs", "NIC_MACs", lambda w, n: n.mac, "MAC address"),
    ("nic.ip", "NicIP", TEXT, "nic.ips", "NIC_IPs", lambda w, n: n.ip or None, "IP address"),
    ("nic.mode", "NicMode", TEXT, "nic.modes", "NIC_modes",
     lambda w, n: nic_setting(w, n, "mode"), "mode"),
    ("nic.link", "NicLink", TEXT, "nic.links", "NIC_links",
     lambda w, n: nic_setting(w, n, "link"), "link"),
    ("nic.bridge", "NicBridge", TEXT, "nic.bridges", "NIC_bridges", _bridge, "bridge"),
    ("nic.vlan", "NicVLAN", TEXT, "nic.vlans", "NIC_VLANs",
     lambda w, n: nic_setting(w, n, "vlan") or None, "VLAN"),
    ("nic.network", "NicNetwork", TEXT, "nic.networks", "NIC_networks",
     lambda w, n: n.network or None, "network's id"),
    ("nic.network.name", "NicNetworkName", TEXT, "nic.networks.names", "NIC_networks_names",
     lambda w, n: None, "network's name"),
    ("nic.name", "NicName", TEXT, "nic.names", "NIC_Names", lambda w, n: n.name or None, "name"),
    ("nic.uuid", "NicUUID", TEXT, "nic.uuids", "NIC_UUIDs", lambda w, n: n.uuid, "id"),
)  # fmt: skip


def fields() -> Iterator[FieldDef]:
    """Yield the columns of disks and interfaces."""
    for name, title, kind, plural, plural_title, of, what in _DISK:
        for index in range(MAX_DISKS):
            yield _of_disk(f"{name}/{index}", f"{title}/{index}", kind, what, index, of)
        yield _of_disks(plural, plural_title, what, of)
    yield _of_disk("sda_size", "Disk/0", UNIT, "size", 0, _DISK[0][5])
    yield _of_disk("sdb_size", "Disk/1", UNIT, "size", 1, _DISK[0][5])
    for name, title, kind, plural, plural_title, value, what in _NIC:
        for index in range(MAX_NICS):
            yield _of_nic(f"{name}/{index}", f"{title}/{index}", kind, what, index, value)
        yield _of_nics(plural, plural_title, what, value)
    for old, name in (("mac", "mac"), ("ip", "ip"), ("bridge", "bridge"), ("nic_mode", "mode"),
                      ("nic_link", "link"), ("nic_network", "network")):  # fmt: skip
        title, value = next((row[1], row[5]) for row in _NIC if row[0] == f"nic.{name}")
        yield _of_nic(old, f"{title}/0", TEXT, name, 0, value)


def _of_disk(name: str, title: str, kind: str, what: str, index: int, of: DiskValue) -> FieldDef:
    def get(_: World, row: Instance) -> Cell:
        return _cell(of(row.disks[index])) if index < len(row.disks) else NOT_HERE

    return field(name, title, kind, f"The {what} of disk {index}", get)


def _of_disks(name: str, title: str, what: str, of: DiskValue) -> FieldDef:
    def get(_: World, row: Instance) -> Cell:
        return NORMAL, [of(disk) for disk in row.disks]

    return field(name, title, OTHER, f"The {what} of each disk", get)


def _of_nic(name: str, title: str, kind: str, what: str, index: int, of: NicValue) -> FieldDef:
    def get(world: World, row: Instance) -> Cell:
        return _cell(of(world, row.nics[index])) if index < len(row.nics) else NOT_HERE

    return field(name, title, kind, f"The {what} of interface {index}", get)


def _of_nics(name: str, title: str, what: str, of: NicValue) -> FieldDef:
    def get(world: World, row: Instance) -> Cell:
        return NORMAL, [of(world, nic) for nic in row.nics]

    return field(name, title, OTHER, f"The {what} of each interface", get)


def _cell(found: object) -> Cell:
    return NOT_HERE if found is None else (NORMAL, found)


def disks_in_detail(world: World, instance: Instance) -> list[dict[str, Any]]:
    """Return all that is known of an instance's disks, with the names of their nodes."""
    return [
        {
            "index": index,
            "uuid": disk.uuid,
            "name": disk.name,
            "size_mib": disk.size_mib,
            "template": disk.template,
            "mode": disk.mode,
            "port": disk.port,
            "spindles": disk.spindles,
            "sides": [_side(world, instance, disk, at) for at in range(len(disk.sides))],
        }
        for index, disk in enumerate(instance.disks)
    ]


def _side(world: World, instance: Instance, disk: Disk, at: int) -> dict[str, Any]:
    side = disk.sides[at]
    status = world.status_of(world.node(side.node))
    seen = next((each for each in status.disks if each.uuid == disk.uuid), None) if status else None
    return {
        "node": world.node(side.node).name,
        "role": "primary" if side.node == instance.primary else "secondary",
        "volume": side.volume,
        "meta_volume": side.meta_volume,
        "minor": side.minor,
        # what the last event said (a lasting state), and what was last seen (this moment's)
        "health": disk.health.get(side.node, "ok"),
        "seen": None if seen is None else seen.state,
        "sync_percent": None if seen is None else seen.sync_percent,
        "words": "" if seen is None else seen.words,
        "sync_eta_s": None if seen is None else seen.sync_eta_s,
    }


def nics_in_detail(world: World, instance: Instance) -> list[dict[str, Any]]:
    """Return all that is known of an instance's interfaces, with the parameters in force."""
    return [
        {
            "index": index,
            "uuid": nic.uuid,
            "name": nic.name,
            "mac": nic.mac,
            "ip": nic.ip,
            "network": nic.network,
            "params": dict(params.of_nic(world.cluster, nic)),
        }
        for index, nic in enumerate(instance.nics)
    ]

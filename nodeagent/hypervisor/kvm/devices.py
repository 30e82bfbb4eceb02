"""Disks and NICs as QEMU is told of them (pure).

The same descriptions serve the command line (`-blockdev`, `-netdev`, `-device`) and hot-plug
(`blockdev-add`, `netdev_add`, `device_add`), so what was plugged in equals what was there from the
start, and a target can build it.

Each disk is a block node and a device on it, each NIC a backend and a device. They are named by the
uuid of the disk or NIC, never by its index: an index changes when another one is removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nodeagent.calls import Device, DiskSpec, NicSpec
from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm.layout import Layout, is_q35
from nodeagent.hypervisor.kvm.parameters import Parameters, cdrom_kind

Properties = dict[str, object]

SCSI_BUS = "scsi"
_NODE_LETTERS = 24  # of a uuid; a block node's name has at most 31
_PCI_NICS = {
    "e1000": "e1000", "i82551": "i82551", "i82557b": "i82557b", "i82559er": "i82559er",
    "ne2k_isa": "ne2k_isa", "ne2k_pci": "ne2k_pci", "paravirtual": "virtio-net-pci",
    "pcnet": "pcnet", "rtl8139": "rtl8139",
}  # fmt: skip
_SCSI = {
    "scsi": "scsi-hd", "scsi-hd": "scsi-hd", "scsi-block": "scsi-block",
    "scsi-generic": "scsi-generic",
}  # fmt: skip
_ISA_IO = (0x300, 0x280, 0x320, 0x340, 0x360)  # where QEMU's own ne2000 cards were
_ISA_IRQ = (9, 10, 11, 3, 5)
# Storage that another node may write during a migration: past the host's cache, which nothing
# would tell of it.
_SHARED = ("sharedfile", "gluster", "rbd", "ext", "blockdev")


class Attached(NamedTuple):
    """A disk or NIC: its back (a block node, a network backend) and its device."""

    back: Properties
    device: Properties


def node_name(disk: str) -> str:
    """Return the name of a disk's block node."""
    return f"b-{disk.replace('-', '')[:_NODE_LETTERS]}"


def disk_id(disk: str) -> str:
    """Return the id of a disk's device."""
    return f"disk-{disk}"


def nic_id(nic: str) -> str:
    """Return the id of a NIC's device."""
    return f"nic-{nic}"


def net_id(nic: str) -> str:
    """Return the id of a NIC's backend."""
    return f"net-{nic}"


def port_id(slot: int) -> str:
    """Return the id of the root port in a slot."""
    return f"port{slot}"


def disk(
    spec: DiskSpec,
    device: Device,
    found: Parameters,
    layout: Layout,
    *,
    is_block: bool,
    boot_index: int | None = None,
) -> Attached:
    """Return a disk. `is_block`: its path is a block device, not a file."""
    cache = _cache(spec, found)
    back: Properties = {
        "node-name": node_name(spec.uuid),
        **_where(device, found, is_block=is_block),
        "discard": found.disk_discard,
        "cache": {"direct": cache == "none", "no-flush": False},
        "read-only": spec.mode != "rw",
    }
    front: Properties = {
        **_disk_driver(spec, found, layout),
        "id": disk_id(spec.uuid),
        "drive": node_name(spec.uuid),
    }
    if front["driver"] not in ("scsi-block", "scsi-generic"):
        front["write-cache"] = "off" if cache == "writethrough" else "on"
        front["serial"] = spec.uuid.replace("-", "")[:20]
    if boot_index is not None:
        front["bootindex"] = boot_index
    return Attached(back, front)


def disks_on_pci(found: Parameters) -> bool:
    """Whether each disk gets a PCI slot of its own."""
    return found.disk_type == "paravirtual"


def nics_on_pci(found: Parameters) -> bool:
    """Whether each NIC gets a PCI slot of its own."""
    return found.nic_type != "ne2k_isa"


def nic(
    spec: NicSpec,
    interface: str,
    found: Parameters,
    layout: Layout,
    *,
    boot_index: int | None = None,
) -> Attached:
    """Return a NIC on an interface (tap) of this node."""
    back: Properties = {
        "type": "tap",
        "id": net_id(spec.uuid),
        "ifname": interface,
        "script": "no",  # the network driver has connected it
        "downscript": "no",
    }
    front: Properties = {
        "driver": _PCI_NICS[found.nic_type],
        "id": nic_id(spec.uuid),
        "netdev": net_id(spec.uuid),
        "mac": spec.mac,
    }
    if found.nic_type == "paravirtual":
        back |= {"vhost": found.vhost_net, "vnet_hdr": found.vnet_hdr}
        if found.virtio_net_queues > 1:
            back["queues"] = found.virtio_net_queues
            # One vector for each direction of a queue, one for changes, one for control.
            front |= {"mq": True, "vectors": 2 * found.virtio_net_queues + 2}
    if found.nic_type == "ne2k_isa":
        place = layout.units[spec.uuid]
        if place >= len(_ISA_IO):
            raise BadCall(
                f"nic_type=ne2k_isa: there is room for {len(_ISA_IO)} NICs", hint="use another one"
            )
        front |= {"iobase": _ISA_IO[place], "irq": _ISA_IRQ[place]}
    else:
        front |= _pci_place(layout, spec.uuid)
    if boot_index is not None:
        front["bootindex"] = boot_index
    return Attached(back, front)


def flat(properties: Mapping[str, object], first: str) -> str:
    """Return properties as an option of the command line: the value of `first`, then the others."""
    return ",".join([_text(properties[first]), *_pairs(properties, first)])


def _pairs(properties: Mapping[str, object], first: str) -> Iterator[str]:
    for name, value in properties.items():
        if name != first:
            yield f"{name}={_text(value)}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")


def _cache(spec: DiskSpec, found: Parameters) -> str:
    if found.disk_cache != "default":
        return found.disk_cache
    past_the_cache = spec.template in _SHARED or found.disk_aio == "native"
    return "none" if past_the_cache else "writeback"


def _where(device: Device, found: Parameters, *, is_block: bool) -> Properties:
    if device.path:
        if found.disk_type in ("scsi-block", "scsi-generic") and not is_block:
            raise BadCall(
                f"disk_type={found.disk_type} hands commands to a real SCSI device, "
                f"which {device.path} is not",
                hint="use disk_type=scsi-hd",
            )
        driver = "host_device" if is_block else "file"
        return {"driver": driver, "filename": device.path, "aio": found.disk_aio}
    kind, _, rest = device.uri.partition(":")
    pool, _, image = rest.partition("/")
    if kind != "rbd" or not image:
        raise BadCall(
            f"a disk at {device.uri!r} cannot be given to QEMU", hint="give it a path on the node"
        )
    return {"driver": "rbd", "pool": pool, "image": image}


def _disk_driver(spec: DiskSpec, found: Parameters, layout: Layout) -> Properties:
    if found.disk_type == "ide":
        q35, place = is_q35(layout.machine), layout.units[spec.uuid]
        cdroms = sum(bool(path) for path in (found.cdrom_image_path, found.cdrom2_image_path))
        room = (6 if q35 else 4) - (cdroms if cdrom_kind(found) == "ide" else 0)
        if place >= room:
            raise BadCall(
                f"disk_type=ide: there is room for {room} disks",
                hint="use paravirtual or scsi",
            )
        bus, unit = (place, 0) if q35 else divmod(place, 2)
        return {"driver": "ide-hd", "bus": f"ide.{bus}", "unit": unit}
    if found.disk_type in _SCSI:
        return {
            "driver": _SCSI[found.disk_type], "bus": f"{SCSI_BUS}.0", "channel": 0,
            "scsi-id": layout.units[spec.uuid], "lun": 0,
        }  # fmt: skip
    return {"driver": "virtio-blk-pci", **_pci_place(layout, spec.uuid)}


def _pci_place(layout: Layout, uuid: str) -> Properties:
    slot = layout.slots[uuid]
    if is_q35(layout.machine):
        return {"bus": port_id(slot), "addr": "0"}
    return {"bus": "pci.0", "addr": hex(slot)}

"""How a guest is started: QEMU's command line, and what it is told before it runs (pure).

From what is wanted (instance, parameters), where its parts are (layout, devices, interfaces) and
what the node offers, to arguments. QEMU is started with `-nodefaults`: a guest has exactly the
devices that stand here. Source: qemu(1), and QEMU's QAPI reference for what goes over QMP.

A guest that shuts itself down stays as a paused process (`-no-shutdown`) until the driver has taken
note, so that its end can be told from a crash even if no agent was there to see it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nodeagent.calls import Device, DiskSpec, InstanceSpec, NicSpec
from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm import devices, display, machine
from nodeagent.hypervisor.kvm.devices import SCSI_BUS, Attached, flat
from nodeagent.hypervisor.kvm.layout import Layout, is_q35, slots_of
from nodeagent.hypervisor.kvm.migration_settings import MigrationSettings, migration_settings
from nodeagent.hypervisor.kvm.parameters import Parameters, cdrom_kind, cpu_masks

_SCSI_CONTROLLERS = {
    "lsi": "lsi53c895a", "megasas": "megasas", "virtio-scsi-pci": "virtio-scsi-pci",
}  # fmt: skip
_BOOT_CDROM, _BOOT_FLOPPY, _BOOT_DISK, _BOOT_NETWORK = "cdrom", "floppy", "disk", "network"


@dataclass(frozen=True, slots=True)
class Node:
    """What the node adds to it."""

    directory: Path  # of this guest, for its sockets
    accelerator: str
    blocks: frozenset[str]  # paths of disks that are block devices
    user: str = ""  # of the pool
    spice_tls_directory: str = ""
    firmware: tuple[str, str] | None = None  # code and variables, for UEFI


@dataclass(frozen=True, slots=True)
class Launch:
    """What makes a guest."""

    argv: tuple[str, ...]
    passwords: Mapping[str, str]  # protocol -> the file that holds it; set before the guest runs
    pins: tuple[frozenset[int], ...]  # host CPUs: of the whole guest, or of each vCPU
    migration: MigrationSettings
    tells_user_down: bool


def launch(
    instance: InstanceSpec,
    found: Parameters,
    layout: Layout,
    *,
    disks: tuple[Device, ...],
    interfaces: tuple[str, ...],
    node: Node,
    incoming: bool = False,
) -> Launch:
    """Return how the guest is started, or made ready to be received. Raises BadCall."""
    argv = [found.kvm_path]
    argv += _identity(instance, node)
    argv += machine.arguments(instance, found, layout, node.accelerator, node.firmware)
    argv += _sockets(found, node)
    argv += _buses(found, layout)
    argv += _disks(instance, disks, found, layout, node)
    argv += _removable(found, layout)
    argv += _nics(instance, interfaces, found, layout)
    argv += display.arguments(instance, found, node.spice_tls_directory)
    argv += _security(found, node)
    # The guest waits for what it is told over QMP; one that is received runs when its source says.
    argv += ["-incoming", "defer"] if incoming else ["-S"]
    argv += shlex.split(found.kvm_extra)
    passwords = {"vnc": found.vnc_password_file, "spice": found.spice_password_file}
    return Launch(
        argv=tuple(argv),
        passwords={protocol: path for protocol, path in passwords.items() if path},
        pins=cpu_masks(found.cpu_mask),
        migration=migration_settings(found),
        tells_user_down=found.user_shutdown,
    )


def boot_index(found: Parameters, what: str, place: int) -> int | None:
    """Return in which turn the firmware tries a device; None: never.

    What `boot_order` names comes first, disks are tried in any case, as in Ganeti.
    """
    if found.kernel_path or place:
        return None
    if what == found.boot_order:
        return 1
    return 2 if what == _BOOT_DISK else None


def disk(spec: DiskSpec, device: Device, found: Parameters, layout: Layout, node: Node) -> Attached:
    """Return a disk of the guest."""
    return devices.disk(
        spec, device, found, layout,
        is_block=device.path in node.blocks,
        boot_index=boot_index(found, _BOOT_DISK, spec.index),
    )  # fmt: skip


def nic(spec: NicSpec, interface: str, found: Parameters, layout: Layout) -> Attached:
    """Return a NIC of the guest."""
    turn = boot_index(found, _BOOT_NETWORK, spec.index)
    return devices.nic(spec, interface, found, layout, boot_index=turn)


def _identity(instance: InstanceSpec, node: Node) -> Iterator[str]:
    yield from ("-name", f"guest={instance.name.replace(',', ',,')},debug-threads=on")
    yield from ("-uuid", instance.uuid)
    yield from ("-nodefaults", "-no-user-config", "-no-shutdown", "-daemonize")
    yield from ("-pidfile", str(node.directory / "pid"))


def _sockets(found: Parameters, node: Node) -> Iterator[str]:
    yield from ("-chardev", _socket("qmp", node))
    yield from ("-mon", "chardev=qmp,mode=control")
    if found.serial_console:
        yield from ("-chardev", _socket("serial", node))
        yield from ("-device", "isa-serial,chardev=serial")
    if found.use_guest_agent:
        yield from ("-chardev", _socket("agent", node))


def _socket(name: str, node: Node) -> str:
    path = str(node.directory / name).replace(",", ",,")
    return f"socket,id={name},path={path},server=on,wait=off"


def _buses(found: Parameters, layout: Layout) -> Iterator[str]:
    if is_q35(layout.machine):
        for slot in slots_of(layout.machine, found.kvm_pci_reservations):
            port = f"pcie-root-port,id={devices.port_id(slot)},bus=pcie.0,addr={slot:#x}"
            yield from ("-device", f"{port},chassis={slot},slot={slot}")
    if found.disk_type.startswith("scsi") or found.cdrom_disk_type.startswith("scsi"):
        yield from ("-device", f"{_SCSI_CONTROLLERS[found.scsi_controller_type]},id={SCSI_BUS}")
    yield from ("-device", "virtio-balloon-pci,id=balloon")
    vdagent = found.spice_bind != "" and found.spice_use_vdagent
    if found.use_guest_agent or vdagent:
        yield from ("-device", "virtio-serial-pci,id=ports")
    if found.use_guest_agent:
        yield from (
            "-device",
            "virtserialport,bus=ports.0,chardev=agent,name=org.qemu.guest_agent.0",
        )
    if vdagent:
        yield from ("-chardev", "spicevmc,id=vdagent,name=vdagent")
        yield from ("-device", "virtserialport,bus=ports.0,chardev=vdagent,name=com.redhat.spice.0")


def _disks(
    instance: InstanceSpec,
    where: tuple[Device, ...],
    found: Parameters,
    layout: Layout,
    node: Node,
) -> Iterator[str]:
    for spec, device in zip(instance.disks, where, strict=True):
        yield from _arguments(disk(spec, device, found, layout, node))


def _nics(
    instance: InstanceSpec, interfaces: tuple[str, ...], found: Parameters, layout: Layout
) -> Iterator[str]:
    for spec, interface in zip(instance.nics, interfaces, strict=True):
        attached = nic(spec, interface, found, layout)
        yield from ("-netdev", flat(attached.back, "type"))
        yield from ("-device", flat(attached.device, "driver"))


def _arguments(attached: Attached) -> Iterator[str]:
    yield from ("-blockdev", json.dumps(attached.back))
    yield from ("-device", flat(attached.device, "driver"))


def _removable(found: Parameters, layout: Layout) -> Iterator[str]:
    """CD-ROMs and a floppy. Their images are opened read-only."""
    paths = (found.cdrom_image_path, found.cdrom2_image_path)
    for place, path in enumerate(path for path in paths if path):
        yield from ("-blockdev", json.dumps({"node-name": f"cdrom{place}", **_image(path)}))
        device = {
            **_cdrom(found, layout, place), "id": f"cdrom-{place}", "drive": f"cdrom{place}",
        }  # fmt: skip
        yield from ("-device", _with_turn(device, boot_index(found, _BOOT_CDROM, place)))
    if found.floppy_image_path:
        yield from ("-blockdev", json.dumps({"node-name": "fd", **_image(found.floppy_image_path)}))
        if is_q35(layout.machine):
            yield from ("-device", "isa-fdc,id=fdc")
        yield from ("-device", "floppy,drive=fd")
        if (turn := boot_index(found, _BOOT_FLOPPY, 0)) is not None:
            yield from ("-global", f"isa-fdc.bootindexA={turn}")  # the drive itself has no turn


def _image(path: str) -> devices.Properties:
    kind, separator, _ = path.partition("://")
    where = {"driver": kind, "url": path} if separator else {"driver": "file", "filename": path}
    return {**where, "read-only": True}


def _cdrom(found: Parameters, layout: Layout, place: int) -> devices.Properties:
    kind = cdrom_kind(found)
    if kind == "paravirtual":
        return {"driver": "virtio-blk-pci"}
    if kind == "ide":
        # Behind the disks' places: on the last buses of the controller.
        bus = (5 - place) if is_q35(layout.machine) else 1
        return {
            "driver": "ide-cd",
            "bus": f"ide.{bus}",
            "unit": 0 if is_q35(layout.machine) else place,
        }
    return {"driver": "scsi-cd", "bus": f"{SCSI_BUS}.0"}


def _with_turn(device: devices.Properties, turn: int | None) -> str:
    return flat(device if turn is None else {**device, "bootindex": turn}, "driver")


def _security(found: Parameters, node: Node) -> Iterator[str]:
    if found.security_model != "none":
        user = node.user if found.security_model == "pool" else found.security_domain
        if not user:
            raise BadCall(
                "security_model=pool: no user is free",
                hint="gnt-cluster modify --add-uids=FIRST-LAST, or kvm.users in agent.json",
            )
        yield from ("-runas", user)
    if found.use_chroot:
        yield from ("-chroot", str(node.directory / "root"))

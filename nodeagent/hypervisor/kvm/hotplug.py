"""Disks, NICs and processors that come and go while the guest runs (edge).

To plug in is QEMU's alone. To unplug needs the guest: it is asked, and lets go when its system has
put the device to rest (DEVICE_DELETED). A guest whose system does not know hot-plug never does.

What was plugged in is kept in the guest's record only after QEMU has it, and a repeated call looks
at QEMU first; so an agent that died in between makes it true, and does it once. A QEMU that runs as
another user, or locked in, cannot open anything: it is handed the open file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import cast

import msgspec

from nodeagent.calls import Device, DiskSpec, NicSpec, Value
from nodeagent.errors import BadCall, Missing, NoRoom, StateMismatch
from nodeagent.hypervisor.kvm import devices
from nodeagent.hypervisor.kvm.devices import Attached, Properties
from nodeagent.hypervisor.kvm.errors import MonitorFailed
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.here import on_this_node
from nodeagent.hypervisor.kvm.layout import with_device, without_device
from nodeagent.hypervisor.kvm.parameters import Parameters, parameters
from nodeagent.hypervisor.kvm.tap import open_tap
from nodeagent.task_scope import TaskScope

UNPLUG_S = 30.0  # that a guest may take to let go of a device


def plug_disk(guest: Guest, spec: DiskSpec, device: Device, *, is_block: bool) -> None:
    """The guest has this disk. Raises BadCall, NoRoom, MonitorFailed."""
    record, found = guest.record, _parameters(guest)
    if any(disk.uuid == spec.uuid for disk in record.instance.disks):
        return
    if found.disk_type == "ide":
        raise BadCall("disk_type=ide: IDE disks cannot be plugged in", hint="restart the instance")
    layout = with_device(
        record.layout,
        spec.uuid,
        on_pci=devices.disks_on_pci(found),
        reserved=found.kvm_pci_reservations,
    )
    attached = devices.disk(spec, device, found, layout, is_block=is_block)
    if not _has(guest, devices.disk_id(spec.uuid)):
        with _handed_over(guest, found, attached.back, device) as back:
            _add_node(guest, back)
        _add_device(guest, attached.device)
    instance = msgspec.structs.replace(record.instance, disks=(*record.instance.disks, spec))
    guest.keep(layout=layout, instance=instance, devices=(*record.devices, device))


def unplug_disk(guest: Guest, disk: str, scope: TaskScope) -> None:
    """The guest does not have this disk (uuid). Raises StateMismatch if it does not let go."""
    record = guest.record
    places = [at for at, spec in enumerate(record.instance.disks) if spec.uuid != disk]
    _remove_device(guest, devices.disk_id(disk), scope)
    with _absent():
        guest.ask("blockdev-del", {"node-name": devices.node_name(disk)})
    instance = msgspec.structs.replace(
        record.instance, disks=tuple(record.instance.disks[at] for at in places)
    )
    guest.keep(
        layout=without_device(record.layout, disk),
        instance=instance,
        devices=tuple(record.devices[at] for at in places),
    )


def plug_nic(guest: Guest, spec: NicSpec, interface: str) -> None:
    """The guest has this NIC, on an interface of this node. Raises as `plug_disk`."""
    record, found = guest.record, _parameters(guest)
    if any(nic.uuid == spec.uuid for nic in record.instance.nics):
        return
    if not devices.nics_on_pci(found):
        raise BadCall(
            f"nic_type={found.nic_type}: such a NIC cannot be plugged in",
            hint="restart the instance",
        )
    layout = with_device(record.layout, spec.uuid, on_pci=True, reserved=found.kvm_pci_reservations)
    attached = devices.nic(spec, interface, found, layout)
    if not _has(guest, devices.nic_id(spec.uuid)):
        _add_netdev(guest, found, attached, interface)
        _add_device(guest, attached.device)
    instance = msgspec.structs.replace(record.instance, nics=(*record.instance.nics, spec))
    guest.keep(layout=layout, instance=instance, interfaces=(*record.interfaces, interface))


def unplug_nic(guest: Guest, nic: str, scope: TaskScope) -> None:
    """The guest does not have this NIC (uuid). Raises StateMismatch if it does not let go."""
    record = guest.record
    places = [at for at, spec in enumerate(record.instance.nics) if spec.uuid != nic]
    _remove_device(guest, devices.nic_id(nic), scope)
    with _absent():
        guest.ask("netdev_del", {"id": devices.net_id(nic)})
    instance = msgspec.structs.replace(
        record.instance, nics=tuple(record.instance.nics[at] for at in places)
    )
    guest.keep(
        layout=without_device(record.layout, nic),
        instance=instance,
        interfaces=tuple(record.interfaces[at] for at in places),
    )


def set_vcpus(guest: Guest, vcpus: int, scope: TaskScope) -> None:
    """The guest has so many vCPUs. Raises NoRoom, StateMismatch, BadCall."""
    layout, name = guest.record.layout, guest.record.instance.name
    if vcpus < layout.vcpus:
        raise BadCall(
            f"{name} was started with {layout.vcpus} vCPUs, which stay while it runs",
            hint="restart it to give it fewer",
        )
    if vcpus > layout.max_vcpus:
        raise NoRoom(
            f"{name} can get up to {layout.max_vcpus} vCPUs while it runs",
            hint="change the number and restart it",
        )
    plugged = list(layout.plugged_vcpus)
    while layout.vcpus + len(plugged) > vcpus:
        _remove_device(guest, str(plugged.pop()["id"]), scope)
        guest.keep(layout=msgspec.structs.replace(layout, plugged_vcpus=tuple(plugged)))
    while layout.vcpus + len(plugged) < vcpus:
        vcpu = _free_vcpu(guest, len(plugged))
        _add_device(guest, vcpu)
        plugged.append(vcpu)
        guest.keep(layout=msgspec.structs.replace(layout, plugged_vcpus=tuple(plugged)))


def _free_vcpu(guest: Guest, number: int) -> dict[str, Value]:
    """Return the next free place for a processor, in the order in which QEMU fills them."""
    slots = cast(list[dict[str, object]], guest.monitor.execute("query-hotpluggable-cpus"))
    for slot in reversed(slots):  # QEMU lists the last one first
        if "qom-path" not in slot:
            props = cast(dict[str, Value], slot["props"])
            return {"driver": cast(str, slot["type"]), "id": f"vcpu-{number}", **props}
    raise NoRoom(f"{guest.record.instance.name} has no place for another vCPU", hint="restart it")


def _add_node(guest: Guest, back: Properties) -> None:
    nodes = cast(list[dict[str, object]], guest.monitor.execute("query-named-block-nodes"))
    if all(node["node-name"] != back["node-name"] for node in nodes):
        guest.ask("blockdev-add", back)


def _add_netdev(guest: Guest, found: Parameters, attached: Attached, interface: str) -> None:
    back = attached.back
    with _absent():
        guest.ask("netdev_del", {"id": back["id"]})  # left by an agent that died here
    if not _locked_in(found):
        guest.ask("netdev_add", back)
        return
    queues = found.virtio_net_queues if found.nic_type == "paravirtual" else 1
    with contextlib.ExitStack() as stack:
        names = []
        for number in range(queues):
            handle = open_tap(interface, several=queues > 1, header=bool(back.get("vnet_hdr")))
            stack.callback(os.close, handle)
            name = f"{back['id']}-{number}"
            guest.monitor.send_handle(handle, "getfd", {"fdname": name})
            names.append(name)
        # Without vhost, whose device such a QEMU may not open either.
        guest.ask("netdev_add", {"type": "tap", "id": back["id"], "fds": ":".join(names)})


@contextlib.contextmanager
def _handed_over(
    guest: Guest, found: Parameters, back: Properties, device: Device
) -> Iterator[Properties]:
    """Yield how QEMU opens the disk: by its path, or as a file that it is handed."""
    if not device.path or not _locked_in(found):
        yield back
        return
    flags = os.O_RDONLY if back["read-only"] else os.O_RDWR
    try:
        handle = os.open(device.path, flags | os.O_CLOEXEC)
    except OSError as failed:
        raise Missing(
            f"{device.path}: {failed.strerror}", hint="gnt-instance activate-disks"
        ) from None
    try:
        answer = guest.monitor.send_handle(handle, "add-fd", {"opaque": device.path})
        number = cast(dict[str, int], answer)["fdset-id"]
        yield {**back, "filename": f"/dev/fdset/{number}"}
    finally:
        os.close(handle)


def _locked_in(found: Parameters) -> bool:
    return found.use_chroot or found.security_model != "none"


def _add_device(guest: Guest, device: Properties | dict[str, Value]) -> None:
    guest.deleted.discard(str(device["id"]))
    guest.ask("device_add", device)


def _remove_device(guest: Guest, device: str, scope: TaskScope) -> None:
    if not _has(guest, device):
        return
    guest.ask("device_del", {"id": device})
    if not guest.wait(
        lambda: guest.dead or device in guest.deleted, timeout_s=UNPLUG_S, scope=scope
    ):
        scope.check(left=f"{device} may still go, when the guest lets it")
        raise StateMismatch(
            f"{guest.record.instance.name} does not let go of {device}",
            hint="does its system know hot-plug? A restart removes it",
        )


def _has(guest: Guest, device: str) -> bool:
    found = guest.monitor.execute("qom-list", {"path": "/machine/peripheral"})
    return any(each["name"] == device for each in cast(list[dict[str, str]], found))


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    """What is to be gone may be gone already."""
    try:
        yield
    except MonitorFailed as refused:
        if "not found" not in refused.description and "Failed to find" not in refused.description:
            raise


def _parameters(guest: Guest) -> Parameters:
    return on_this_node(parameters(guest.record.layout.hvparams))

"""The target's side of a migration (edge).

    prepare   a QEMU like the source's, which waits (`-incoming defer`), is told what both sides
              must be told alike, and then listens
    (sent)    it runs as soon as the source has stopped and all is here
    finish    it is looked whether it has come

If a migration fails on its way, this QEMU ends: it holds half a guest, of no use to anybody.
"""

from __future__ import annotations

import msgspec

from nodeagent.calls import Device, InstanceSpec, MigrationTarget
from nodeagent.errors import BadCall, NodeAgentError, StateMismatch
from nodeagent.hypervisor.kvm.capabilities import set_up
from nodeagent.hypervisor.kvm.errors import MonitorFailed
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.layout import Layout, decode, encode
from nodeagent.hypervisor.kvm.migration_settings import settings_of
from nodeagent.hypervisor.kvm.records import GuestRecord
from nodeagent.task_scope import TaskScope

_PORT_AGAIN_S = 0.5  # between two tries at a port that another migration has


def description(guest: Guest) -> bytes:
    """Return what a target must build alike, in the driver's own words."""
    return encode(guest.record.layout)


def layout(running: bytes) -> Layout:
    """Return the layout that the source described. Raises BadCall."""
    try:
        return decode(running)
    except msgspec.MsgspecError as wrong:
        raise BadCall(
            f"the source's description of the guest cannot be read: {wrong}",
            hint="upgrade the older of both agents",
        ) from None


def expected(
    instance: InstanceSpec,
    layout: Layout,
    devices: tuple[Device, ...],
    interfaces: tuple[str, ...],
) -> GuestRecord:
    """Return the record of a guest that is to come, with what it has where it runs.

    What was added to its configuration and not plugged in stays away; what was taken from it and
    not unplugged cannot be built here. Raises StateMismatch.
    """
    has = {*layout.slots, *layout.units}
    lacks = has - {disk.uuid for disk in instance.disks} - {nic.uuid for nic in instance.nics}
    if lacks:
        raise StateMismatch(
            f"{instance.name} still has what was taken from its configuration: "
            f"{', '.join(sorted(lacks))}",
            hint=f"gnt-instance reboot {instance.name}",
        )
    disks = [pair for pair in zip(instance.disks, devices, strict=True) if pair[0].uuid in has]
    nics = [pair for pair in zip(instance.nics, interfaces, strict=True) if pair[0].uuid in has]
    return GuestRecord(
        instance=msgspec.structs.replace(
            instance, disks=tuple(disk for disk, _ in disks), nics=tuple(nic for nic, _ in nics)
        ),
        layout=layout,
        devices=tuple(device for _, device in disks),
        interfaces=tuple(interface for _, interface in nics),
        incoming=True,
    )


def listen(guest: Guest, address: str, scope: TaskScope) -> MigrationTarget:
    """Let the QEMU wait for the guest at `address`.

    Another migration to this node may have the port: it is waited for. Raises Stopped.
    """
    settings = settings_of(guest.record.instance)
    set_up(guest, settings)
    uri = f"tcp:{f'[{address}]' if ':' in address else address}:{settings.port}"
    said = False
    while True:
        try:
            guest.monitor.execute("migrate-incoming", {"uri": uri})
            return target(guest, address)
        except MonitorFailed as refused:
            if "in use" not in refused.description:
                raise StateMismatch(
                    f"this node cannot receive at {uri}: {refused.description}",
                    hint="is that an address of this node?",
                ) from None
        if not said:
            said = True
            scope.feedback(f"port {settings.port} is in use, by another migration: waiting")
        scope.wait(_PORT_AGAIN_S, left="nothing was sent")


def target(guest: Guest, address: str) -> MigrationTarget:
    """Return where the guest is waited for."""
    settings = settings_of(guest.record.instance)
    return MigrationTarget(address=address, port=settings.port)


def has_come(guest: Guest, generation: int) -> bool:
    """Whether the guest is here, under this generation.

    Asks QEMU: a guest that was paused where it came from arrives paused, of which nothing tells.
    """
    if guest.record.incoming and not guest.dead:
        try:
            guest.look()
        except NodeAgentError:
            return False
    known = not guest.record.incoming and guest.record.instance.generation == generation
    return known and guest.alive

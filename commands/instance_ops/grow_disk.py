"""OP_INSTANCE_GROW_DISK: a disk of an instance is larger, on every node that holds it (pure).

    volume/node3/0, volume/node1/0    the volumes first: a mirror grows only once both have room
    mirror/node1/0, mirror/node3/0    then the mirror, its follower first
    wipe/node3/0                      (if the cluster wants it) the new part is emptied
    grown                             the disk has the new size
    synced/0                          (wait_for_sync) the new part is copied

What can go wrong: there is no undo, and none is needed. A volume that is too large does no harm,
shrinking one loses data; if the opcode fails half-way, growing again goes on from there. The disks
of an instance that is down are active for the time of the growth.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import allocation, ipolicy, looking
from commands.adoption import MUST_ADOPT
from commands.disks import (
    ACTIVATION_S,
    MIRRORED,
    call,
    deactivate,
    known_disks,
    nodes_of,
    of_disk,
    wait_synced,
)
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, own_nodes, subject
from commands.looking import acted, look
from commands.nodes import require_reachable
from commands.specs import disk_spec, side_on, volumes
from commands.wiping import wipe
from nodeagent.calls import EnsureInactive, EnsureReplicated, EnsureVolume
from projections.cluster import Cluster
from projections.events.configuration import DiskGrown
from projections.objects import Disk, Instance
from projections.plans import Call, Plan, Record, Reservation, Reservations, Step, fact, names


class InstanceGrowDisk(InstanceOpcode, frozen=True, kw_only=True):
    """Enlarge one disk of an instance. A disk never shrinks."""

    NAME: ClassVar[str] = "OP_INSTANCE_GROW_DISK"

    disk: Annotated[int, Meta(ge=0, description="Index of the disk")]
    amount: Annotated[
        int, Meta(ge=0, description="By how much, or to what size", extra={"unit": "MiB"})
    ]
    absolute: Annotated[bool, Meta(description="`amount` is the new size")] = False
    wait_for_sync: Annotated[bool, Meta(description="Wait until the new part is copied")] = True
    ignore_ipolicy: Annotated[bool, Meta(description="Go beyond the policy of its group, too")] = (
        False
    )


def decide(op: InstanceGrowDisk, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the growth."""
    if acted(so_far):
        return Done()
    instance = subject(op, cluster)
    disk, size_mib = _new_size(op, instance)
    nodes = tuple(require_reachable(cluster.nodes[node]) for node in nodes_of(instance))
    seen = looking.seen(given, so_far)
    unseen = [node for node in nodes if node.uuid not in seen]
    if unseen and not so_far:
        return look(unseen)
    _require_policy(op, cluster, instance, size_mib)
    more_mib = size_mib - disk.size_mib
    for node in nodes:
        allocation.require_room(cluster, seen, node, template=instance.template, disk_mib=more_mib)
    return Plan(
        steps=_steps(op, cluster, instance, size_mib),
        reserves=Reservations(
            nodes=tuple(Reservation(node=node.uuid, disk_mib=more_mib) for node in nodes)
        ),
    )


def _require_policy(
    op: InstanceGrowDisk, cluster: Cluster, instance: Instance, size_mib: int
) -> None:
    extent = ipolicy.extent_of(cluster, instance)
    sizes = (*extent.disks_mib[: op.disk], size_mib, *extent.disks_mib[op.disk + 1 :])
    group = cluster.groups[cluster.nodes[instance.primary].group]
    grown = msgspec.structs.replace(extent, disks_mib=sizes)
    ipolicy.require(cluster, group, instance.name, grown, ignore=op.ignore_ipolicy)


def _new_size(op: InstanceGrowDisk, instance: Instance) -> tuple[Disk, int]:
    if instance.template in MUST_ADOPT:
        raise Refused(
            WRONG_STATE,
            f"disks of {instance.name} are block devices, which are never grown here",
            hint="grow the device itself, while the instance is down",
        )
    if op.disk >= len(instance.disks):
        raise Refused(
            WRONG_INPUT,
            f"{instance.name} has no disk {op.disk}",
            hint=known_disks(instance),
        )
    disk = instance.disks[op.disk]
    size_mib = op.amount if op.absolute else disk.size_mib + op.amount
    if size_mib <= disk.size_mib:
        raise Refused(
            WRONG_INPUT,
            f"disk {op.disk} of {instance.name} has {disk.size_mib} MiB already",
            hint="give a larger size; to shrink, copy to a smaller disk",
        )
    return disk, size_mib


def _steps(
    op: InstanceGrowDisk, cluster: Cluster, instance: Instance, size_mib: int
) -> tuple[Step, ...]:
    disk = msgspec.structs.replace(instance.disks[op.disk], size_mib=size_mib)
    disks = list(instance.disks)
    disks[op.disk] = disk
    after = msgspec.structs.replace(instance, disks=tuple(disks))
    steps: list[Step] = [*_grow_volumes(cluster, after, op.disk)]
    if instance.template in MIRRORED:
        steps += _grow_mirror(cluster, after, op.disk, names(steps))
    asleep = not instance.disks_active
    wiped = wipe(
        cluster, after, (op.disk,), names(steps),
        from_mib=instance.disks[op.disk].size_mib, wake=asleep,
    )  # fmt: skip
    steps += wiped
    grown = DiskGrown(instance=instance.uuid, disk=op.disk, size_mib=size_mib)
    steps.append(
        Record(id="grown", facts=(fact(f"instance/{instance.uuid}", grown),), after=names(steps))
    )
    if op.wait_for_sync and instance.template in MIRRORED and instance.disks_active:
        steps += wait_synced(cluster, after, ("grown",), indices=(op.disk,))
    if asleep and (wiped or instance.template in MIRRORED):
        steps += deactivate(cluster, after, ("grown",), undo=False)
    return tuple(steps)


def _grow_volumes(cluster: Cluster, instance: Instance, index: int) -> tuple[Call, ...]:
    disk = instance.disks[index]
    steps = []
    for node in nodes_of(instance):
        data, _ = volumes(cluster, instance, disk, side_on(disk, node))
        steps.append(
            call(
                f"volume/{cluster.nodes[node].name}/{index}",
                node,
                EnsureVolume(volume=data, owner=disk.uuid),
                resource=of_disk(disk),
            )
        )
    return tuple(steps)


def _grow_mirror(
    cluster: Cluster, instance: Instance, index: int, after: tuple[str, ...]
) -> tuple[Call, ...]:
    steps: list[Call] = []
    for node in reversed(nodes_of(instance)):
        spec = disk_spec(cluster, instance, index, node)
        steps.append(
            call(
                f"mirror/{cluster.nodes[node].name}/{index}",
                node,
                EnsureReplicated(disk=spec),
                resource=of_disk(instance.disks[index]),
                after=(*after, *names(steps)),
                undo=None if instance.disks_active else EnsureInactive(disk=spec),
                timeout_s=ACTIVATION_S,
            )
        )
    return tuple(steps)


HANDLER = Handler(opcode=InstanceGrowDisk, decide=decide, locks=instance_locks, looks_at=own_nodes)

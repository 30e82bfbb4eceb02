"""OP_INSTANCE_ACTIVATE_DISKS: the disks of an instance can be used on its primary node (pure).

The result is Ganeti's: per disk the node, the disk (`disk/0`) and the path of its device.

What can go wrong: a failure shuts them down again, unless they were active before.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands.disks import MIRRORED, activate, all_of, wait_synced
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, subject
from commands.nodes import require_reachable
from commands.unsupported import refuse_unsupported
from nodeagent.calls import Device
from projections.cluster import Cluster
from projections.events.configuration import InstanceDisksActive
from projections.objects import Instance
from projections.plans import Plan, Record, Step, fact, names

NOT_YET = {"ignore_size": "sizes are those of the log, and never less"}


class InstanceActivateDisks(InstanceOpcode, frozen=True, kw_only=True):
    """Make an instance's disks usable on its primary node."""

    NAME: ClassVar[str] = "OP_INSTANCE_ACTIVATE_DISKS"

    ignore_size: bool = False
    wait_for_sync: Annotated[bool, Meta(description="Wait until mirrors are in order")] = False


def decide(
    op: InstanceActivateDisks, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Plan it; then tell the devices."""
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    if so_far:
        return Done(_devices(cluster, instance, so_far))
    require_reachable(cluster.nodes[instance.primary])
    return Plan(steps=activation(cluster, instance, wait=op.wait_for_sync))


def activation(cluster: Cluster, instance: Instance, *, wait: bool = False) -> tuple[Step, ...]:
    """Return the steps that make the disks active, and record that they are meant to be."""
    active = activate(cluster, instance, undo=not instance.disks_active)
    recorded = record_active(instance, active=True, after=names(active))
    steps: tuple[Step, ...] = (*active, recorded)
    if wait and instance.template in MIRRORED:
        steps += wait_synced(cluster, instance, (recorded.id,), indices=all_of(instance))
    return steps


def record_active(instance: Instance, *, active: bool, after: tuple[str, ...]) -> Record:
    """Return the step that records whether the disks are meant to be active."""
    stream = f"instance/{instance.uuid}"
    was = InstanceDisksActive(instance=instance.uuid, active=instance.disks_active)
    return Record(
        id="recorded",
        facts=(fact(stream, InstanceDisksActive(instance=instance.uuid, active=active)),),
        after=after,
        undo=(fact(stream, was),),
    )


def _devices(
    cluster: Cluster, instance: Instance, so_far: Outcomes
) -> list[tuple[str, str, str | None]]:
    node = cluster.nodes[instance.primary].name
    found = []
    for index in all_of(instance):
        result = so_far[0].results.get(f"active/{node}/{index}")
        device = None if result is None else msgspec.msgpack.decode(result, type=Device | None)
        found.append((node, f"disk/{index}", device.path or device.uri if device else None))
    return found


HANDLER = Handler(opcode=InstanceActivateDisks, decide=decide, locks=instance_locks)

"""OP_INSTANCE_RENAME: an instance that is down has another name, and its guest knows it (pure).

    active/node1/0    the disks can be used
    os                the OS definition's `rename` runs
    inactive/node1/0  the disks are shut down again, if they were
    renamed           the instance has the new name, and the old one is free

What can go wrong: a script that fails puts the old name back into the guest, and the instance keeps
it. Volumes are not named for the instance, so nothing moves.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import parse
from commands.disks import activate, call, deactivate
from commands.errors import ALREADY_EXISTS, WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, locks, subject
from commands.nodes import require_reachable
from commands.runs import resource_of
from commands.specs import instance_spec
from commands.unsupported import refuse_unsupported
from nodeagent.calls import RenameOs
from projections.cluster import Cluster
from projections.events.configuration import InstanceRenamed
from projections.events.jobs import Lock
from projections.objects import ADMIN_UP, Instance
from projections.plans import Plan, Record, Reservations, Step, fact, names

SCRIPT_S = 3600.0
NOT_YET = {"name_check": "names are not resolved", "ip_check": "addresses are not probed"}


class InstanceRename(InstanceOpcode, frozen=True, kw_only=True):
    """Give a stopped instance another name."""

    NAME: ClassVar[str] = "OP_INSTANCE_RENAME"

    new_name: Annotated[str, Meta(description="The new name")]
    name_check: bool = False
    ip_check: bool = False


def lock(op: InstanceRename, cluster: Cluster) -> tuple[Lock, ...]:
    """As every opcode about an instance; both names alone."""
    own = instance_locks(op, cluster)
    shared = tuple(each.name for each in own if each.name.startswith("node/"))
    alone = [each.name for each in own if each.name not in shared]
    return locks(exclusive=(*alone, f"name/{op.new_name.strip().lower()}"), shared=shared)


def decide(op: InstanceRename, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the renaming; the result is the new name."""
    name = parse.host_name(op.new_name, "an instance")
    if so_far:
        return Done(name)
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    _check(cluster, instance, name)
    steps = _steps(cluster, instance, name)
    return Plan(steps=steps, reserves=Reservations(names=(f"instance/{name}",)))


def _check(cluster: Cluster, instance: Instance, name: str) -> None:
    if name == instance.name:
        raise Refused(WRONG_INPUT, f"{name} has that name already", hint="give another name")
    if f"instance/{name}" in cluster.names:
        raise Refused(
            ALREADY_EXISTS, f"there is an instance {name} already", hint="give another name"
        )
    if instance.admin_state == ADMIN_UP:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is meant to run",
            hint=f"gnt-instance shutdown {instance.name}",
        )


def _steps(cluster: Cluster, instance: Instance, name: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    if instance.disks and instance.os:
        require_reachable(cluster.nodes[instance.primary])
        steps += activate(cluster, instance, undo=not instance.disks_active)
        steps.append(_script(cluster, instance, name, names(steps)))
        if not instance.disks_active:
            steps += deactivate(cluster, instance, ("os",))
    stream = f"instance/{instance.uuid}"
    renamed = InstanceRenamed(instance=instance.uuid, old_name=instance.name, new_name=name)
    back = InstanceRenamed(instance=instance.uuid, old_name=name, new_name=instance.name)
    steps.append(
        Record(
            id="renamed",
            facts=(fact(stream, renamed),),
            after=names(steps),
            undo=(fact(stream, back),),
        )
    )
    return tuple(steps)


def _script(cluster: Cluster, instance: Instance, name: str, after: tuple[str, ...]) -> Step:
    new = msgspec.structs.replace(instance, name=name)
    return call(
        "os",
        instance.primary,
        RenameOs(instance=instance_spec(cluster, new, instance.primary), old_name=instance.name),
        resource=resource_of(instance),
        after=after,
        undo=RenameOs(instance=instance_spec(cluster, instance, instance.primary), old_name=name),
        timeout_s=SCRIPT_S,
    )


HANDLER = Handler(opcode=InstanceRename, decide=decide, locks=lock)

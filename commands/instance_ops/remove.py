"""OP_INSTANCE_REMOVE: the instance is gone, with its disks (pure).

    stop                  the guest is asked, and forced when `shutdown_timeout` is over
    inactive/node3/0      its disks are shut down
    unmirror/node3/0      mirrors are taken down, on both nodes at once
    remove/node3/0/data   the volumes are destroyed: from the first of these on, only forward
    removed               the instance is no more; its name is free

What can go wrong: before the first `remove/...` everything is put back. After it, what fails is
tried again, and then parks the opcode: the instance is still named, and `gnt-job resolve --retry`
goes on when the node is well. A node that is offline, or lost with `ignore_failures`, is passed
over: its volumes stay there, bear their disk's uuid, and are found by OP_CLUSTER_VERIFY.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.disks import all_of, deactivate, nodes_of, remove_volumes, unmirror
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, locks, subject
from commands.nodes import why_unreachable
from commands.runs import stop
from projections.cluster import Cluster
from projections.events.configuration import InstanceRemoved
from projections.events.jobs import Lock
from projections.objects import ADMIN_UP, Instance
from projections.plans import Plan, Record, Step, fact, names


class InstanceRemove(InstanceOpcode, frozen=True, kw_only=True):
    """Stop an instance and destroy it, with its disks."""

    NAME: ClassVar[str] = "OP_INSTANCE_REMOVE"

    shutdown_timeout: Annotated[
        int, Meta(ge=0, description="How long the guest may take", extra={"unit": "s"})
    ] = 120
    ignore_failures: Annotated[
        bool, Meta(description="Go on where it cannot be stopped, or a node is lost")
    ] = False


def lock(op: InstanceRemove, cluster: Cluster) -> tuple[Lock, ...]:
    """As every opcode about an instance; its name alone, since it becomes free."""
    own = instance_locks(op, cluster)
    return locks(
        exclusive=(each.name for each in own if not each.name.startswith("node/")),
        shared=(each.name for each in own if each.name.startswith("node/")),
    )


def decide(op: InstanceRemove, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the removal."""
    if so_far:
        return Done()
    instance = subject(op, cluster)
    reached = _reached(op, cluster, instance)
    steps: list[Step] = []
    if instance.primary in reached:
        steps.append(
            stop(
                cluster,
                instance,
                grace_s=op.shutdown_timeout,
                undo=instance.admin_state == ADMIN_UP,
                tolerate=op.ignore_failures,
            )
        )
    steps += deactivate(cluster, instance, names(steps), undo=instance.disks_active)
    disks = [node for node in nodes_of(instance) if node in reached]
    steps += unmirror(cluster, instance, all_of(instance), disks, names(steps))
    steps += remove_volumes(cluster, instance, all_of(instance), disks, names(steps))
    gone = InstanceRemoved(instance=instance.uuid, name=instance.name)
    steps.append(
        Record(
            id="removed",
            facts=(fact(f"instance/{instance.uuid}", gone),),
            after=names(steps),
            final=True,
        )
    )
    left = [cluster.nodes[node].name for node in nodes_of(instance) if node not in reached]
    return Plan(
        steps=tuple(steps),
        explanation=tuple(f"its volumes on {name} stay there: out of reach" for name in left),
    )


def _reached(op: InstanceRemove, cluster: Cluster, instance: Instance) -> set[str]:
    """Return the nodes that can be asked. Refuses where one is missing that should not be."""
    reached = set()
    for uuid in instance.nodes:
        node = cluster.nodes[uuid]
        problem = why_unreachable(node)
        if not problem:
            reached.add(uuid)
        elif not node.offline and not op.ignore_failures:
            raise Refused(
                WRONG_STATE,
                f"node {node.name} of {instance.name} {problem}",
                hint=f"wait for it; or gnt-node modify --offline=yes {node.name} if its machine is "
                "off; or --ignore-failures, which leaves its volumes there",
            )
    return reached


HANDLER = Handler(opcode=InstanceRemove, decide=decide, locks=lock)

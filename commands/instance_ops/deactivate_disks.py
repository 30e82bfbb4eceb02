"""OP_INSTANCE_DEACTIVATE_DISKS: the disks of an instance that does not run are shut down (pure).

What can go wrong: a running instance is refused (`force` leaves it to the node to refuse). A
failure makes them active again, if they were.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands import looking
from commands.capacity import seen_running
from commands.disks import deactivate
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, own_nodes, subject
from commands.instance_ops.activate_disks import record_active
from commands.looking import acted, look
from commands.nodes import require_reachable
from projections.cluster import Cluster
from projections.plans import Plan, names


class InstanceDeactivateDisks(InstanceOpcode, frozen=True, kw_only=True):
    """Shut the disks of a stopped instance down."""

    NAME: ClassVar[str] = "OP_INSTANCE_DEACTIVATE_DISKS"

    force: Annotated[bool, Meta(description="Do not look whether it runs")] = False


def decide(
    op: InstanceDeactivateDisks, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Look whether it runs; then plan it."""
    if acted(so_far):
        return Done()
    instance = subject(op, cluster)
    primary = require_reachable(cluster.nodes[instance.primary])
    seen = looking.seen(given, so_far)
    if not op.force:
        if not so_far and primary.uuid not in seen:
            return look((primary,))
        if seen_running(seen, instance):
            raise Refused(
                WRONG_STATE,
                f"{instance.name} runs on {primary.name}",
                hint=f"gnt-instance shutdown {instance.name}",
            )
    inactive = deactivate(cluster, instance, undo=instance.disks_active)
    return Plan(steps=(*inactive, record_active(instance, active=False, after=names(inactive))))


HANDLER = Handler(
    opcode=InstanceDeactivateDisks, decide=decide, locks=instance_locks, looks_at=own_nodes
)

"""OP_INSTANCE_SHUTDOWN: the instance is wanted down, and does not run (pure).

    wanted              it is meant to be down (not with no_remember)
    stop                the guest is asked, and forced when `timeout` is over
    inactive/node3/0    its disks are shut down, the primary's first

What can go wrong: the guest or the node does not stop -> everything is put back, and the instance
is wanted up as before. With the primary offline and `ignore_offline_nodes` only the wish is
recorded: what runs there is not under control.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.disks import deactivate
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, subject
from commands.instance_ops.startup import wish
from commands.nodes import require_reachable
from commands.runs import stop
from commands.unsupported import refuse_unsupported
from projections.cluster import Cluster
from projections.objects import ADMIN_OFFLINE, ADMIN_UP
from projections.plans import Plan, Step, names

NOT_YET = {"admin_state_source": "what the guest did is told by its node"}


class InstanceShutdown(InstanceOpcode, frozen=True, kw_only=True):
    """Stop an instance."""

    NAME: ClassVar[str] = "OP_INSTANCE_SHUTDOWN"

    force: Annotated[bool, Meta(description="Stop it even if it is offline")] = False
    ignore_offline_nodes: Annotated[
        bool, Meta(description="Record the wish even if the primary is offline")
    ] = False
    timeout: Annotated[
        int, Meta(ge=0, description="How long the guest may take", extra={"unit": "s"})
    ] = 120
    no_remember: Annotated[bool, Meta(description="Do not record that it is wanted down")] = False
    admin_state_source: str | None = None


def decide(op: InstanceShutdown, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the stop."""
    if so_far:
        return Done()
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    if instance.admin_state == ADMIN_OFFLINE and not op.force:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is offline",
            hint="it is not managed now; --force stops it all the same",
        )
    primary = cluster.nodes[instance.primary]
    wanted = wish(instance, up=False)
    if primary.offline and op.ignore_offline_nodes:
        if op.no_remember:
            raise Refused(
                WRONG_INPUT,
                f"{primary.name} is offline and nothing is to be recorded: nothing is left to do",
                hint="leave --no-remember out",
            )
        return Plan(steps=(wanted,), explanation=(f"{primary.name} is offline: only the wish",))
    require_reachable(primary)
    before: tuple[Step, ...] = () if op.no_remember else (wanted,)
    was_up = instance.admin_state == ADMIN_UP
    stopped = stop(cluster, instance, names(before), grace_s=op.timeout, undo=was_up)
    disks: tuple[Step, ...] = ()
    if not op.no_remember:
        disks = deactivate(cluster, instance, ("stop",), undo=instance.disks_active)
    return Plan(steps=(*before, stopped, *disks))


HANDLER = Handler(opcode=InstanceShutdown, decide=decide, locks=instance_locks)

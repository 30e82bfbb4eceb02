"""OP_INSTANCE_REBOOT: the instance was down for a moment (pure).

`soft` and `hard` are one call. `full` stops it, shuts its disks down and starts it anew, with what
was changed on it since; so does any kind where it was not seen to run, as in Ganeti.

What can go wrong: a full reboot that cannot start again leaves it stopped and wanted up: there is
nothing to go back to but starting, and that is what failed. The opcode says so.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands import looking, parse
from commands.capacity import seen_running
from commands.disks import activate, call, deactivate
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, own_nodes, subject
from commands.looking import acted, look
from commands.nodes import require_reachable
from commands.runs import START_S, not_started, resource_of, start, stop
from commands.specs import instance_spec
from nodeagent.calls import Reboot
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Instance
from projections.plans import Plan, names

SOFT, HARD, FULL = "soft", "hard", "full"


WITHOUT_EFFECT = {
    "ignore_secondaries": "a secondary that cannot follow never stops a reboot",
}


class InstanceReboot(InstanceOpcode, frozen=True, kw_only=True):
    """Reboot an instance."""

    NAME: ClassVar[str] = "OP_INSTANCE_REBOOT"

    reboot_type: Annotated[
        str,
        Meta(description="By guest, hypervisor, or anew", extra={"choices": (SOFT, HARD, FULL)}),
    ]
    shutdown_timeout: Annotated[
        int, Meta(ge=0, description="How long the guest may take", extra={"unit": "s"})
    ] = 120
    ignore_secondaries: bool = False


def decide(op: InstanceReboot, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the reboot."""
    instance = subject(op, cluster)
    if outcomes := acted(so_far):
        return Done(None, not_started(instance, outcomes[-1], "was stopped"))
    parse.choice(op.reboot_type, (SOFT, HARD, FULL), "kind of reboot")
    if instance.admin_state != ADMIN_UP:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is not meant to run",
            hint=f"gnt-instance startup {instance.name}",
        )
    primary = require_reachable(cluster.nodes[instance.primary])
    seen = looking.seen(given, so_far)
    if not so_far and primary.uuid not in seen:
        return look((primary,))
    if op.reboot_type == FULL or not seen_running(seen, instance):
        return _anew(op, cluster, instance)
    order = Reboot(
        instance=instance_spec(cluster, instance, instance.primary),
        how=op.reboot_type,
        incarnation=given.uuid("incarnation"),
    )
    # No undo: there is no way to take a reboot back, and none is needed.
    return Plan(
        steps=(
            call(
                "reboot",
                instance.primary,
                order,
                resource=resource_of(instance),
                timeout_s=op.shutdown_timeout + START_S,
                final=True,
            ),
        )
    )


def _anew(op: InstanceReboot, cluster: Cluster, instance: Instance) -> Plan:
    stopped = stop(cluster, instance, grace_s=op.shutdown_timeout)
    inactive = deactivate(cluster, instance, ("stop",))
    active = activate(cluster, instance, names((stopped, *inactive)), undo=False)
    started = start(cluster, instance, names((stopped, *active)), undo=False, tolerate=True)
    return Plan(steps=(stopped, *inactive, *active, started))


HANDLER = Handler(opcode=InstanceReboot, decide=decide, locks=instance_locks, looks_at=own_nodes)

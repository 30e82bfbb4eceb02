"""OP_INSTANCE_FAILOVER: the instance is stopped here and started on its other node (pure).

    stop                the guest is asked, and forced when `shutdown_timeout` is over
    follow/node3/0      the old primary's side follows
    lead/node1/0        the new primary can use the disks
    moved               node1 is the primary, a generation later: from here on only forward
    start

An instance that is down moves by `moved` alone. A primary that is **offline** is not asked: an
operator has said that its machine is off. One that is only lost is refused: it may still run the
instance, and two of it on one disk destroy it; `ignore_consistency` does not change that, since it
speaks of the disks.

What can go wrong: before `moved` all is put back, and the instance runs where it ran. A start that
fails on the new node leaves it there, wanted up, and the opcode fails saying so. A side that was
not whole would lose data: refused, unless `ignore_consistency` accepts the loss.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands import allocation, looking, relocation
from commands.capacity import memory_need_mib
from commands.disks import MIRRORED, WayBack, call, follow, lead, of_disk
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import subject
from commands.looking import acted, look
from commands.nodes import why_unreachable
from commands.relocation import RelocationOpcode, check_consistent, moved, moves, target
from commands.runs import not_started, start, stop
from commands.specs import disk_spec
from commands.unsupported import refuse_unsupported
from nodeagent.calls import EnsureActive, EnsureInactive
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Instance, Node
from projections.plans import Call, Plan, Reservation, Reservations, Step, names

NOT_YET = {"cleanup": "what a migration left is put in order by the migration"}


class InstanceFailover(RelocationOpcode, frozen=True, kw_only=True):
    """Stop an instance and start it on its other node."""

    NAME: ClassVar[str] = "OP_INSTANCE_FAILOVER"

    shutdown_timeout: Annotated[
        int, Meta(ge=0, description="How long the guest may take", extra={"unit": "s"})
    ] = 120
    ignore_consistency: Annotated[
        bool, Meta(description="Accept that the disks there may lack the last writes")
    ] = False
    cleanup: bool = False


def decide(op: InstanceFailover, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the failover."""
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    if outcomes := acted(so_far):
        return Done(None, not_started(instance, outcomes[-1], "was failed over"))
    primary = cluster.nodes[instance.primary]
    _check_primary(instance, primary)
    runs = instance.admin_state == ADMIN_UP
    seen = looking.seen(given, so_far)
    if not so_far and runs:
        possible = relocation.possible(op, cluster, instance)
        unseen = [n for n in possible if n.uuid not in seen and not why_unreachable(n)]
        if unseen:
            return look(unseen)
    if (question := relocation.ask(op, cluster, instance, seen, so_far)) is not None:
        return question
    node, choice = target(op, cluster, instance, seen, runs=runs, so_far=so_far)
    if not op.ignore_consistency:
        check_consistent(instance, node, alone=primary.offline)
    plan = failover(cluster, instance, node, grace_s=op.shutdown_timeout)
    return allocation.with_reasons(plan, choice)


def _check_primary(instance: Instance, primary: Node) -> None:
    problem = why_unreachable(primary)
    if problem and not primary.offline:
        raise Refused(
            WRONG_STATE,
            f"the primary node {primary.name} {problem}: {instance.name} may still run there",
            hint=f"switch its machine off, then: gnt-node modify --offline=yes {primary.name}",
        )


def failover(cluster: Cluster, instance: Instance, to: Node, *, grace_s: int) -> Plan:
    """Return the plan that takes the instance to node `to`."""
    after = moved(instance, to.uuid)
    runs = instance.admin_state == ADMIN_UP
    steps: list[Step] = []
    if runs and not cluster.nodes[instance.primary].offline:
        steps.append(stop(cluster, instance, grace_s=grace_s))
    if instance.disks_active:
        steps += _change_sides(cluster, instance, after, names(steps))
    steps.append(moves(instance, names(steps), to=to.uuid, how="failover"))
    if runs:
        steps.append(start(cluster, after, ("moved",), undo=False, tolerate=True))
    memory_mib = memory_need_mib(cluster, instance) if runs else 0
    return Plan(
        steps=tuple(steps),
        reserves=Reservations(
            nodes=(Reservation(node=to.uuid, memory_mib=memory_mib),) if runs else ()
        ),
    )


def _change_sides(
    cluster: Cluster, instance: Instance, after: Instance, before: tuple[str, ...]
) -> tuple[Step, ...]:
    """Return the calls that let the old primary's disks go, and give them to the new one."""
    if instance.template in MIRRORED:
        released = follow(
            cluster,
            instance,
            instance.primary,
            before,
            undo=EnsureActive,
            prefix="follow",
            tolerate=False,
        )
        way_back: WayBack = EnsureActive
    else:
        released = _let_go(cluster, instance, before)
        way_back = EnsureInactive
    led = lead(
        cluster,
        after,
        after.primary,
        (*before, *names(released)),
        undo=way_back,
        prefix="lead",
    )
    return (*released, *led)


def _let_go(cluster: Cluster, instance: Instance, before: tuple[str, ...]) -> tuple[Call, ...]:
    node = cluster.nodes[instance.primary]
    if why_unreachable(node):
        return ()
    steps = []
    for index, disk in enumerate(instance.disks):
        spec = disk_spec(cluster, instance, index, node.uuid)
        steps.append(
            call(
                f"release/{node.name}/{index}",
                node.uuid,
                EnsureInactive(disk=spec),
                resource=of_disk(disk),
                after=before,
                undo=EnsureActive(disk=spec, primary=True),
            )
        )
    return tuple(steps)


HANDLER = Handler(
    opcode=InstanceFailover, decide=decide, locks=relocation.lock, looks_at=relocation.looks_at
)

"""OP_INSTANCE_MIGRATE: the running instance goes to its other node without being stopped (pure).

First plan:

    follow/node1/0      the mirror on the target is up
    dual/node3/0 ...    for this time both sides may be written (mirrors only)
    describe            how the guest is put together, which the target must build alike

Second plan:

    prepare             the target waits for it, with its disks open
    migrate             the point of no return: what becomes of it is decided by what came of it

Third plan, if it came through:               if it did not:

    moved         node1 is the primary            abort/node1, abort/node3   both put in order
    finish/node1, finish/node3                    single/node1/0             the target follows
    single/node3/0    the old primary follows     single/node3/0

The last is decided from the result of `migrate`, not undone: a guest that runs on the target must
not be torn down because somebody cancels a moment later. A migration that failed and was put in
order ends the opcode as failed, with the instance where it was.

If the target was lost meanwhile, and the source says that it did not get rid of it, only the source
is put in order, once it has said that the guest is at work there (`still`): of the target nothing
can be asked, and what was begun there is gone with its power, or shows in OP_CLUSTER_VERIFY.

What can go wrong: before `migrate` all is put back. If the source is lost while it sends, nobody
knows on which side the guest runs; then the opcode is parked for a person. An instance that does
not run is refused, or failed over with `allow_failover`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import allocation, looking, parse, relocation
from commands.capacity import memory_need_mib, seen_running
from commands.disks import ACTIVATION_S, MIRRORED, all_of, call, follow, of_disk
from commands.errors import ENVIRONMENT_ERROR, WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes, PlanOutcome
from commands.instance_opcode import subject
from commands.instance_ops.failover import failover
from commands.looking import acted, look
from commands.nodes import require_reachable, why_unreachable
from commands.relocation import RelocationOpcode, check_consistent, moved, moves, target
from commands.runs import not_started, resource_of
from commands.specs import disk_spec, instance_spec, whole
from commands.unsupported import refuse_unsupported
from nodeagent.calls import (
    DescribeRunning,
    EnsureActive,
    EnsureInactive,
    FinishMigration,
    Migrate,
    PrepareMigration,
    RunningGuest,
)
from projections import params
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Instance, Node
from projections.plans import Call, Plan, Reservation, Reservations, Step, names

LIVE, NON_LIVE = "live", "non-live"
DESCRIBE = "describe"
MIGRATE = "migrate"
GRACE_S = 600.0
NOT_YET = {
    "cleanup": "what a migration left is put in order by the migration itself",
}


WITHOUT_EFFECT = {
    "allow_runtime_changes": "the memory of a guest never changes for a migration",
    "ignore_hvversions": "versions of hypervisors are not compared",
}


class InstanceMigrate(RelocationOpcode, frozen=True, kw_only=True):
    """Move a running instance to its other node."""

    NAME: ClassVar[str] = "OP_INSTANCE_MIGRATE"

    mode: Annotated[
        str | None, Meta(description="While it runs or not", extra={"choices": (LIVE, NON_LIVE)})
    ] = None
    live: Annotated[bool | None, Meta(description="Ganeti's old word for mode live")] = None
    allow_failover: Annotated[
        bool, Meta(description="Fail it over where it cannot be migrated")
    ] = False
    allow_runtime_changes: bool = True
    cleanup: bool = False
    ignore_hvversions: bool = False  # granted anyway: versions of hypervisors are not compared


def decide(op: InstanceMigrate, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Prepare and migrate; then settle what came of it; then say it."""
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    outcomes = acted(so_far)
    if not outcomes:
        return _first(op, cluster, given, so_far, instance)
    last = outcomes[-1]
    if DESCRIBE in names(last.plan.steps):
        return _send(op, cluster, instance, last)
    if MIGRATE in names(last.plan.steps):
        return _settle(cluster, instance, last)
    sent = next((outcome for outcome in outcomes if MIGRATE in names(outcome.plan.steps)), None)
    if sent is None:
        return Done(None, not_started(instance, last, "was failed over"))
    return Done(None, _failed(instance, sent))


def _first(
    op: InstanceMigrate, cluster: Cluster, given: Given, so_far: Outcomes, instance: Instance
) -> Plan:
    _mode(op, cluster, instance)
    seen = looking.seen(given, so_far)
    if not so_far:
        nodes = (cluster.nodes[instance.primary], *relocation.possible(op, cluster, instance))
        unseen = [n for n in nodes if n.uuid not in seen and not why_unreachable(n)]
        if unseen:
            return look(unseen)
    runs = instance.admin_state == ADMIN_UP and seen_running(seen, instance)
    if (question := relocation.ask(op, cluster, instance, seen, so_far)) is not None:
        return question
    node, choice = target(op, cluster, instance, seen, runs=runs, so_far=so_far)
    if not runs or params.of_instance(cluster, instance)["always_failover"]:
        if op.allow_failover:
            check_consistent(instance, node, alone=cluster.nodes[instance.primary].offline)
            return allocation.with_reasons(failover(cluster, instance, node, grace_s=120), choice)
        raise Refused(
            WRONG_STATE,
            f"{instance.name} does not run"
            if not runs
            else f"{instance.name} is always failed over, as its always_failover says",
            hint=f"gnt-instance failover {instance.name}; or --allow-failover",
        )
    require_reachable(cluster.nodes[instance.primary])
    check_consistent(instance, node, alone=False)
    return allocation.with_reasons(_open(cluster, instance, node), choice)


def _mode(op: InstanceMigrate, cluster: Cluster, instance: Instance) -> str:
    if op.mode is not None and op.live is not None:
        raise Refused(WRONG_INPUT, "mode and live say the same thing", hint="give one of them")
    if op.live is not None:
        return LIVE if op.live else NON_LIVE
    inherited = params.of_hypervisor(cluster, instance).get("migration_mode") or LIVE
    return parse.choice(op.mode or str(inherited), (LIVE, NON_LIVE), "mode")


def _open(cluster: Cluster, instance: Instance, to: Node) -> Plan:
    after = moved(instance, to.uuid)
    mirrored = instance.template in MIRRORED
    steps: list[Step] = []
    if mirrored:
        steps += follow(cluster, instance, to.uuid, undo=None, prefix="follow", tolerate=False)
    steps += _open_both(cluster, instance, after, mirrored=mirrored, after_steps=names(steps))
    steps.append(
        call(
            DESCRIBE,
            instance.primary,
            DescribeRunning(instance=instance_spec(cluster, instance, instance.primary)),
            resource=resource_of(instance),
        )
    )
    return Plan(
        steps=tuple(steps),
        reserves=_room(cluster, instance, to.uuid),
    )


def _send(op: InstanceMigrate, cluster: Cluster, instance: Instance, opened: PlanOutcome) -> Plan:
    (reservation,) = opened.plan.reserves.nodes
    to = cluster.nodes[reservation.node]
    after = moved(instance, to.uuid)
    there = instance_spec(cluster, after, to.uuid)
    address = to.secondary_ip or to.primary_ip
    running = msgspec.msgpack.decode(opened.results[DESCRIBE], type=RunningGuest)
    limit_s = memory_need_mib(cluster, instance) / _bandwidth_mib_s(cluster, instance)
    prepare = call(
        "prepare",
        to.uuid,
        PrepareMigration(instance=there, address=address, running=running.description),
        resource=resource_of(instance),
        undo=_finish(cluster, instance, after, on=to.uuid, succeeded=False),
    )
    migrate = call(
        MIGRATE,
        instance.primary,
        Migrate(
            instance=there,
            target=to.uuid,
            target_address=address,
            live=_mode(op, cluster, instance) == LIVE,
        ),
        resource=resource_of(instance),
        after=("prepare",),
        timeout_s=GRACE_S + limit_s,
        final=True,
        tolerate=True,
    )
    return Plan(steps=(prepare, migrate), reserves=_room(cluster, instance, to.uuid))


def _room(cluster: Cluster, instance: Instance, to: str) -> Reservations:
    memory_mib = memory_need_mib(cluster, instance)
    return Reservations(nodes=(Reservation(node=to, memory_mib=memory_mib),))


def _bandwidth_mib_s(cluster: Cluster, instance: Instance) -> int:
    """Return a rate at which any migration comes through: a quarter of what it is limited to."""
    filled = params.of_hypervisor(cluster, instance)
    return max(
        1, whole(filled, "migration_bandwidth") // 4 if "migration_bandwidth" in filled else 8
    )


def _open_both(
    cluster: Cluster,
    instance: Instance,
    after: Instance,
    *,
    mirrored: bool,
    after_steps: tuple[str, ...],
) -> tuple[Call, ...]:
    """Return the calls by which both nodes may use the disks, for the time of the migration.

    Shared storage needs it on the target alone.
    """
    steps = []
    for node in (instance.primary, after.primary) if mirrored else (after.primary,):
        for index in all_of(instance):
            spec = disk_spec(cluster, instance, index, node)
            before = EnsureActive(disk=spec, primary=node == instance.primary)
            steps.append(
                call(
                    f"dual/{cluster.nodes[node].name}/{index}",
                    node,
                    EnsureActive(disk=spec, primary=True, dual=mirrored),
                    resource=of_disk(instance.disks[index]),
                    after=after_steps,
                    undo=before if mirrored else EnsureInactive(disk=spec),
                    timeout_s=ACTIVATION_S,
                )
            )
    return tuple(steps)


# --- what came of it --------------------------------------------------------------------------


def _settle(cluster: Cluster, instance: Instance, first: PlanOutcome) -> Plan:
    (to,) = (
        step.node for step in first.plan.steps if isinstance(step, Call) and step.id == "prepare"
    )
    after = moved(instance, to)
    if MIGRATE in first.results:
        steps: list[Step] = [moves(instance, (), to=to, how="migrate")]
        steps += _finish_both(cluster, instance, after, succeeded=True, after_steps=("moved",))
        steps += _single(cluster, after, leaves=instance.primary, after_steps=names(steps))
        return Plan(steps=tuple(steps))
    if why_unreachable(cluster.nodes[instance.primary]):
        raise Refused(
            WRONG_STATE,
            f"{instance.name} was on its way when {cluster.nodes[instance.primary].name} was lost: "
            "it is not known on which node it runs",
            hint="look at both nodes; then gnt-job resolve",
        )
    if why_unreachable(cluster.nodes[to]):
        return _settle_alone(cluster, instance, after)
    finished = _finish_both(cluster, instance, after, succeeded=False, after_steps=())
    single = _single(cluster, instance, leaves=to, after_steps=names(finished))
    return Plan(steps=(*finished, *single))


def _settle_alone(cluster: Cluster, instance: Instance, after: Instance) -> Plan:
    """The target is lost: the guest is at work on the source, or nobody knows where it is."""
    (abort,) = _finish_on(
        cluster, instance, after, (instance.primary,), succeeded=False, after_steps=()
    )
    still = call(
        "still",
        instance.primary,
        DescribeRunning(instance=instance_spec(cluster, instance, instance.primary)),
        resource=resource_of(instance),
        after=(abort.id,),
        final=True,
    )
    single = _single(cluster, instance, leaves=None, after_steps=(still.id,))
    return Plan(steps=(abort, still, *single))


def _finish(
    cluster: Cluster, instance: Instance, after: Instance, *, on: str, succeeded: bool
) -> FinishMigration:
    keeps = after if succeeded else instance
    return FinishMigration(
        instance=instance_spec(cluster, keeps, on),
        source=instance.primary,
        target=after.primary,
        succeeded=succeeded,
    )


def _finish_both(
    cluster: Cluster,
    instance: Instance,
    after: Instance,
    *,
    succeeded: bool,
    after_steps: Iterable[str],
) -> tuple[Call, ...]:
    both = (after.primary, instance.primary)
    return _finish_on(cluster, instance, after, both, succeeded=succeeded, after_steps=after_steps)


def _finish_on(
    cluster: Cluster,
    instance: Instance,
    after: Instance,
    nodes: Iterable[str],
    *,
    succeeded: bool,
    after_steps: Iterable[str],
) -> tuple[Call, ...]:
    word = "finish" if succeeded else "abort"
    return tuple(
        call(
            f"{word}/{cluster.nodes[node].name}",
            node,
            _finish(cluster, instance, after, on=node, succeeded=succeeded),
            resource=resource_of(instance),
            after=after_steps,
            attempts=3,
            final=True,
        )
        for node in nodes
    )


def _single(
    cluster: Cluster, instance: Instance, *, leaves: str | None, after_steps: tuple[str, ...]
) -> tuple[Call, ...]:
    """Return the calls by which only the primary of `instance` uses the disks again. `leaves`: the
    node that did for a time, None if it is out of reach."""
    mirrored = instance.template in MIRRORED
    left = () if leaves is None else (leaves,)
    steps: list[Call] = []
    for node in (*left, instance.primary) if mirrored else left:
        before = (*after_steps, *names(steps[: len(instance.disks)] if node != leaves else ()))
        for index in all_of(instance):
            spec = disk_spec(cluster, instance, index, node)
            alone = EnsureActive(disk=spec, primary=node == instance.primary)
            steps.append(
                call(
                    f"single/{cluster.nodes[node].name}/{index}",
                    node,
                    alone if mirrored else EnsureInactive(disk=spec),
                    resource=of_disk(instance.disks[index]),
                    after=before,
                    attempts=3,
                    final=True,
                    timeout_s=ACTIVATION_S,
                )
            )
    return tuple(steps)


def _failed(instance: Instance, first: PlanOutcome) -> Refused | None:
    failure = first.failures.get(MIGRATE)
    if failure is None:
        return None
    return Refused(
        failure[0] or ENVIRONMENT_ERROR,
        f"{instance.name} was not migrated and runs where it ran: {failure[1]}",
        hint="put that right and migrate again; or gnt-instance failover",
    )


HANDLER = Handler(
    opcode=InstanceMigrate, decide=decide, locks=relocation.lock, looks_at=relocation.looks_at
)

"""Taking instances away from nodes and groups: what the opcodes that do so have in common (pure).

They move nothing themselves. The first plan has no steps: it records which instance goes where, and
why (with an allocator of the operator's own it is the call to that program). Then the opcode ends
with one job for each instance, as in Ganeti; its result names them, and whoever asked follows them.

What can go wrong: an instance that fits nowhere stays, with the reason in the result; if none can
go, the opcode is refused. Each job decides anew with what is then true; if something has changed
meanwhile, it is refused for itself, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from commands import allocation, allocator_call, looking
from commands.api import JobSpec
from commands.errors import INSUFFICIENT_RESOURCES, Refused
from commands.given import Given
from commands.handler import Done, Outcomes
from commands.instance_ops.failover import InstanceFailover
from commands.instance_ops.migrate import InstanceMigrate
from commands.instance_ops.replace_disks import NEW_SECONDARY, InstanceReplaceDisks
from commands.looking import look
from commands.nodes import why_not_for_instances, why_unreachable
from commands.opcode import Opcode, pack
from commands.placement import departures, request
from commands.placement.departures import CHANGE_GROUP, Departure, Going
from commands.placement.from_cluster import figures
from projections.cluster import Cluster
from projections.job_state import NIL
from projections.objects import ADMIN_UP, Instance
from projections.plans import Plan

Jobs = tuple[tuple[Opcode, ...], ...]
ENDED = ("success", "error", "canceled")


@dataclass(frozen=True, slots=True)
class Question:
    """Who should go, and how. `origin`: the opcode, for the reason that stands with the jobs."""

    origin: str
    kind: str
    names: tuple[str, ...]
    mode: str = "all"
    node: str = ""  # name of the one that is emptied
    groups: tuple[str, ...] = ()  # uuids
    allocator: str | None = None
    ignore_soft_errors: bool = False
    early_release: bool = False
    sequential: bool = False  # each job waits for the one before
    force_failover: bool = False  # nothing migrates


def decide(question: Question, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the departure; then end with its jobs. Raises Refused if no instance can go."""
    if not question.names:
        return Done({"jobs": [], "moved": [], "failed": []})
    seen = looking.seen(given, so_far)
    if not so_far:
        unseen = [
            node
            for node in cluster.nodes.values()
            if node.uuid not in seen and not why_not_for_instances(node)
        ]
        if unseen:
            return look(sorted(unseen, key=lambda node: node.name))
    options = allocation.hail_options(cluster)
    asked = Departure(
        kind=question.kind,
        names=question.names,
        figures=figures(cluster, seen),
        mode=question.mode,
        node=question.node,
        groups=question.groups,
        ignore_soft_errors=question.ignore_soft_errors or "ignore-soft-errors" in options,
    )
    allocator = allocator_call.external(cluster, question.allocator)
    if allocator is not None:
        return _external(question, allocator, cluster, given, so_far, asked)
    bases = [outcome.plan.basis for outcome in so_far if outcome.plan.basis != NIL]
    if not bases:
        found = departures.decide(cluster, asked)
        if not found.going:
            raise _nobody_goes(found)
        basis = msgspec.Raw(msgspec.msgpack.encode(found))
        return Plan(steps=(), explanation=tuple(_why(found)), basis=basis)
    found = msgspec.msgpack.decode(bases[-1], type=Departure)
    jobs = tuple(tuple(_orders(cluster, going)) for going in found.going)
    moved = [(going.name, going.group, going.nodes) for going in found.going]
    return done(question, given, jobs, moved=moved, failed=found.staying)


def _external(
    question: Question,
    allocator: str,
    cluster: Cluster,
    given: Given,
    so_far: Outcomes,
    asked: Departure,
) -> Plan | Done:
    answer = allocator_call.answer(so_far)
    if answer is None:
        if asked.kind == CHANGE_GROUP:
            wanted = request.change_group(asked.names, asked.groups)
        else:
            wanted = request.evacuate(asked.names, asked.mode)
        options = ("--ignore-soft-errors",) if asked.ignore_soft_errors else ()
        return allocator_call.ask(cluster, allocator, asked.figures, wanted, options)
    told, jobs = allocator_call.departed(cluster, answer)
    return done(question, given, jobs, moved=told.moved, failed=told.failed)


def done(question: Question, given: Given, jobs: Jobs, *, moved: object, failed: object) -> Done:
    """End with these jobs, done in the way that was asked for."""
    source = f"gnt:opcode:{question.origin.removeprefix('OP_').lower()}"
    reason = ((source, "", given.now_ms * 1_000_000),)
    wait = (((-1, ENDED),),) if question.sequential else ()
    specs = tuple(
        JobSpec(
            ops=tuple(pack(_in_its_way(op, question)) for op in ops),
            depends=wait if number else (),
            reason=reason,
        )
        for number, ops in enumerate(jobs)
    )
    return Done({"jobs": [], "moved": moved, "failed": failed}, jobs=specs)


def _in_its_way(op: Opcode, question: Question) -> Opcode:
    if isinstance(op, InstanceReplaceDisks):
        return msgspec.structs.replace(op, early_release=question.early_release)
    if isinstance(op, InstanceMigrate) and question.force_failover:
        return InstanceFailover(instance_name=op.instance_name, target_node=op.target_node)
    return op


# --- the orders of one instance ---------------------------------------------------------------


def _orders(cluster: Cluster, going: Going) -> Iterable[Opcode]:
    instance = cluster.instance(going.name)
    for kind, target in going.moves:
        yield from orders_of(cluster, instance, kind, target)


def orders_of(cluster: Cluster, instance: Instance, kind: str, target: str) -> list[Opcode]:
    """Return the opcodes of one move (commands/placement/moves.py has the table)."""
    replace = replace_secondary(instance, target)
    over = _over(cluster, instance, None)
    return {
        "FAILOVER": [over],
        "FAILOVER_TO_ANY": [_over(cluster, instance, target)],
        "REPLACE_SECONDARY": [replace],
        "REPLACE_AND_FAILOVER": [replace, over],
        "REPLACE_PRIMARY": [over, replace, over],
        "FAILOVER_AND_REPLACE": [over, replace],
    }[kind]


def replace_secondary(instance: Instance, target: str) -> Opcode:
    """Return the order that takes the mirror of an instance to another node."""
    return InstanceReplaceDisks(instance_name=instance.name, mode=NEW_SECONDARY, remote_node=target)


def _over(cluster: Cluster, instance: Instance, target: str | None) -> Opcode:
    """Migrate what runs; what does not, or whose node is off, is failed over."""
    if instance.admin_state == ADMIN_UP and not why_unreachable(cluster.nodes[instance.primary]):
        return InstanceMigrate(instance_name=instance.name, target_node=target, allow_failover=True)
    return InstanceFailover(instance_name=instance.name, target_node=target)


# --- words ------------------------------------------------------------------------------------


def _why(found: Departure) -> Iterable[str]:
    for going in found.going[: allocation.MOST_LINES]:
        steps = ", ".join(
            f"{kind.lower().replace('_', ' ')} {target}".rstrip() for kind, target in going.moves
        )
        yield f"{going.name} goes to {':'.join(going.nodes)} ({going.group}): {steps}"
    if (more := len(found.going) - allocation.MOST_LINES) > 0:
        yield f"and {more} more go"
    for name, reason in found.staying[: allocation.MOST_LINES]:
        yield f"{name} stays: {reason}"
    yield f"score {found.score_before:.8f} before, {found.score_after:.8f} after; lower is better"


def _nobody_goes(found: Departure) -> Refused:
    reasons = "; ".join(f"{name}: {why}" for name, why in found.staying[: allocation.MOST_NAMES])
    return Refused(
        INSUFFICIENT_RESOURCES,
        f"no instance can be taken elsewhere: {reasons}",
        hint="make room on other nodes, or add one; what has plain or file disks cannot move",
        basis=msgspec.msgpack.encode(found),
    )

"""OP_INSTANCE_MULTI_ALLOC: nodes for many new instances, chosen one after the other (pure).

Each is placed on what the ones before it leave. The first plan has no steps: it records who goes
where, and why not. Then the opcode ends with one creation for each instance that has a place; they
run side by side, each with its nodes named. The result is Ganeti's: the jobs, the names that have a
place, and those that have none with the reason.

What can go wrong: between the choice and a creation something else takes the room. That creation is
refused for itself; it reserves nothing before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from commands import allocator_call, looking
from commands.api import JobSpec
from commands.errors import INSUFFICIENT_RESOURCES, WRONG_INPUT, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_ops import create
from commands.instance_ops.create import InstanceCreate
from commands.looking import look
from commands.nodes import why_not_for_instances
from commands.opcode import Opcode, pack
from commands.placement import request
from commands.placement.from_cluster import figures
from projections.cluster import Cluster
from projections.job_state import NIL
from projections.plans import Plan, Reservation, Reservations

MOST = 100  # instances at a time; each is looked at with all nodes


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """What was decided of one instance: its nodes (names), or why there are none."""

    name: str
    nodes: tuple[str, ...] = ()
    reason: str = ""


WITHOUT_EFFECT = {"opportunistic_locking": "creations run side by side without it"}


class InstanceMultiAlloc(Opcode, frozen=True, kw_only=True):
    """Choose nodes for many new instances, and create them."""

    NAME: ClassVar[str] = "OP_INSTANCE_MULTI_ALLOC"

    instances: Annotated[
        tuple[dict[str, Any], ...],  # Any: fields of OP_INSTANCE_CREATE, decoded as such below
        Meta(description="One creation each, without nodes"),
    ] = ()
    iallocator: Annotated[str | None, Meta(description="Have the nodes chosen by it")] = None
    opportunistic_locking: bool = False


def looks_at(op: InstanceMultiAlloc, cluster: Cluster) -> Iterable[str]:
    """All nodes: instances may go to any of them."""
    return tuple(cluster.nodes)


def decide(op: InstanceMultiAlloc, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Decide where each instance goes; then submit the creations."""
    creations = _creations(op)
    seen = looking.seen(given, so_far)
    if not so_far:
        unseen = [
            node
            for node in cluster.nodes.values()
            if node.uuid not in seen and not why_not_for_instances(node)
        ]
        if unseen:
            return look(sorted(unseen, key=lambda node: node.name))
    bases = [outcome.plan.basis for outcome in so_far if outcome.plan.basis != NIL]
    if bases:
        return _done(creations, msgspec.msgpack.decode(bases[-1], type=tuple[Placed, ...]))
    allocator = allocator_call.external(cluster, op.iallocator)
    if allocator is None:
        placed = tuple(_placed(creations, cluster, given, so_far))
    elif (answer := allocator_call.answer(so_far)) is not None:
        placed = tuple(_answered(creations, cluster, given, answer))
    else:
        asked = [_question(each, cluster, given) for each in creations]
        several = request.multi_allocate(each for each in asked if not isinstance(each, Refused))
        return allocator_call.ask(cluster, allocator, figures(cluster, seen), several)
    if not any(one.nodes for one in placed):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in placed[:3])
        raise Refused(
            INSUFFICIENT_RESOURCES,
            f"none of the instances has a place: {reasons}",
            hint="make them smaller, or make room",
        )
    return Plan(
        steps=(),
        explanation=tuple(_told(one) for one in placed),
        basis=msgspec.Raw(msgspec.msgpack.encode(placed)),
    )


def _creations(op: InstanceMultiAlloc) -> tuple[InstanceCreate, ...]:
    if not 0 < len(op.instances) <= MOST:
        raise Refused(
            WRONG_INPUT, f"{len(op.instances)} instances at once", hint=f"from 1 to {MOST}"
        )
    found = tuple(_creation(fields) for fields in op.instances)
    for each in found:
        if create.is_named(each):
            raise Refused(
                WRONG_INPUT,
                f"{each.instance_name} names its nodes",
                hint="leave nodes out of all of them, or the allocator",
            )
    return found


def _creation(fields: dict[str, Any]) -> InstanceCreate:
    try:
        wanted = {key: value for key, value in fields.items() if key != "OP_ID"}
        return msgspec.convert(wanted, type=InstanceCreate)
    except msgspec.ValidationError as wrong:
        raise Refused(
            WRONG_INPUT, f"one of the instances: {wrong}", hint="fields of OP_INSTANCE_CREATE"
        ) from None


def _placed(
    creations: tuple[InstanceCreate, ...], cluster: Cluster, given: Given, so_far: Outcomes
) -> Iterable[Placed]:
    """Choose for one after the other; what is chosen is reserved for the choice of the next."""
    seen = looking.seen(given, so_far)
    for number, each in enumerate(creations):
        try:
            choice, wish = create.choose_nodes(each, cluster, seen)
        except Refused as refused:
            yield Placed(each.instance_name, (), refused.message)
            continue
        held = Reservations(
            nodes=tuple(
                Reservation(
                    node=node,
                    memory_mib=wish.memory if create.starts(each) and not at else 0,
                    disk_mib=wish.disk,
                    vcpus=0 if at else wish.vcpus,
                )
                for at, node in enumerate(choice.nodes)
            ),
            names=(f"instance/{wish.name}",),
        )
        cluster = cluster.reserve((0, number), held)
        yield Placed(each.instance_name, tuple(cluster.nodes[node].name for node in choice.nodes))


def _question(each: InstanceCreate, cluster: Cluster, given: Given) -> request.Json | Refused:
    """Return what is asked about one instance, or why it cannot be created wherever it goes."""
    try:
        return create.question(each, cluster, given)
    except Refused as refused:
        return refused


def _answered(
    creations: tuple[InstanceCreate, ...],
    cluster: Cluster,
    given: Given,
    answer: allocator_call.Answer,
) -> Iterable[Placed]:
    """Read what the operator's own allocator says; each creation checks its nodes once more."""
    choices, reasons = allocator_call.placed(cluster, answer)
    for each in creations:
        name, asked = each.instance_name, _question(each, cluster, given)
        if isinstance(asked, Refused):
            yield Placed(name, (), asked.message)
        elif name in choices:
            nodes = tuple(cluster.nodes[node].name for node in choices[name].nodes)
            yield Placed(name, nodes)
        else:
            yield Placed(name, (), reasons.get(name, "the allocator says nothing of it"))


def _told(one: Placed) -> str:
    return f"{one.name} goes to {':'.join(one.nodes)}" if one.nodes else f"{one.name}: {one.reason}"


def _done(creations: tuple[InstanceCreate, ...], placed: tuple[Placed, ...]) -> Done:
    jobs = []
    for each, one in zip(creations, placed, strict=True):
        if one.nodes:
            primary, *others = one.nodes
            named = msgspec.structs.replace(
                each, pnode=primary, snode=others[0] if others else None, iallocator=None
            )
            jobs.append(JobSpec(ops=(pack(msgspec.structs.replace(named, group_name=None)),)))
    result = {
        "jobs": [],
        "allocatable": [one.name for one in placed if one.nodes],
        "failed": [(one.name, one.reason) for one in placed if not one.nodes],
    }
    return Done(result, jobs=tuple(jobs))


HANDLER = Handler(opcode=InstanceMultiAlloc, decide=decide, looks_at=looks_at)

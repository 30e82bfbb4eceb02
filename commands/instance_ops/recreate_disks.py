"""OP_INSTANCE_RECREATE_DISKS: disks that are lost are there again, empty (pure).

For an instance that is down, on its own nodes or on others (then all of its disks):

    unmirror/node3/0      what is left of the old mirrors goes
    volume/node2/0/data   new volumes
    mirror/node2/0        new mirrors, both sides equal
    inactive/node2/0      and shut down, as the disks of an instance that is down are
    replaced              the disks lie there, and the instance with them, a generation later
    old/node3/0/data      what is left of the old volumes is removed, where a node can be asked

What can go wrong: before `replaced` everything is put back; the old volumes are touched only after
it. Old nodes are asked where they answer, and their failures tolerated: this opcode is for disks
that are gone. The new disks are empty: an OS has to be installed, or a backup restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import allocation, allocator_call, looking
from commands.adoption import MUST_ADOPT
from commands.allocation import Choice
from commands.capacity import disk_need_mib
from commands.disks import (
    ACTIVATION_S,
    MIRRORED,
    SHARED,
    call,
    create_mirrors,
    create_volumes,
    deactivate,
    known_disks,
    nodes_of,
    of_disk,
    remove_volumes,
)
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, locks, subject, subject_or_none
from commands.looking import acted, look
from commands.new_disks import Numbers, drbd_volumes
from commands.nodes import require_for_instances, require_reachable, why_unreachable
from commands.placement import request
from commands.placement.from_cluster import figures
from commands.specs import disk_spec
from commands.wiping import wipe
from nodeagent.calls import EnsureInactive, NodeStatus, RemoveReplicated
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import DiskReplaced, InstancePrimaryChanged
from projections.events.jobs import Lock
from projections.objects import ADMIN_UP, Disk, Instance, Node, Side, Value
from projections.plans import Call, Plan, Record, Reservation, Reservations, fact, names

CHOSEN_BEFORE = Choice((), ())
Which = int | tuple[int, dict[str, Value]]


class InstanceRecreateDisks(InstanceOpcode, frozen=True, kw_only=True):
    """Make the lost disks of a stopped instance anew, empty."""

    NAME: ClassVar[str] = "OP_INSTANCE_RECREATE_DISKS"

    disks: Annotated[tuple[Which, ...], Meta(description="Indices; all if none")] = ()
    nodes: Annotated[
        tuple[str, ...], Meta(description="Other nodes, the primary first", extra={"names": "node"})
    ] = ()
    node_uuids: tuple[str, ...] | None = None
    iallocator: Annotated[str | None, Meta(description="Have other nodes chosen")] = None


@dataclass(frozen=True, slots=True)
class Target:
    """Which disks are made anew, and on which nodes, the primary first."""

    indices: tuple[int, ...]
    nodes: tuple[str, ...]
    choice: Choice = CHOSEN_BEFORE


def lock(op: InstanceRecreateDisks, cluster: Cluster) -> tuple[Lock, ...]:
    """The instance, alone; its nodes, and those that may be taken, shared."""
    own = instance_locks(op, cluster)
    more = (f"node/{node.uuid}" for node in _possible(op, cluster))
    return locks(
        exclusive=(each.name for each in own if not each.shared),
        shared=(*(each.name for each in own if each.shared), *more),
    )


def looks_at(op: InstanceRecreateDisks, cluster: Cluster) -> Iterable[str]:
    """Every node that may hold the new disks."""
    return tuple(node.uuid for node in _possible(op, cluster))


def decide(
    op: InstanceRecreateDisks, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Plan it."""
    if acted(so_far):
        return Done()
    instance = subject(op, cluster)
    indices = _indices(op, instance)
    seen = looking.seen(given, so_far)
    if not so_far:
        unseen = [
            node
            for node in _possible(op, cluster)
            if node.uuid not in seen and not why_unreachable(node)
        ]
        if unseen:
            return look(unseen)
    answer = allocator_call.answer(so_far)
    allocator = allocator_call.external(cluster, op.iallocator) if op.iallocator else None
    if allocator is not None and answer is None and not (op.node_uuids or op.nodes):
        _require_all(instance, indices)
        return _ask(cluster, seen, instance, allocator)
    target = _target(op, cluster, seen, instance, indices, answer)
    return _plan(cluster, given, instance, target)


def _possible(op: InstanceRecreateDisks, cluster: Cluster) -> tuple[Node, ...]:
    """Return the nodes that may hold the new disks; unknown names give none."""
    instance = subject_or_none(op, cluster)
    if instance is None:
        return ()
    if op.iallocator is not None:
        group = cluster.groups[cluster.nodes[instance.primary].group]
        return allocation.candidates(cluster, group)
    try:
        named = tuple(cluster.node(each) for each in op.node_uuids or op.nodes)
    except NoSuchObject:
        return ()
    return named or tuple(cluster.nodes[node] for node in instance.nodes)


def _indices(op: InstanceRecreateDisks, instance: Instance) -> tuple[int, ...]:
    if instance.admin_state == ADMIN_UP:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is meant to run",
            hint=f"gnt-instance shutdown {instance.name}",
        )
    if not instance.disks:
        raise Refused(WRONG_STATE, f"{instance.name} has no disks", hint="nothing is to be done")
    if instance.template in MUST_ADOPT:
        raise Refused(
            WRONG_STATE,
            f"disks of {instance.name} are block devices, which are never made",
            hint="connect them again",
        )
    for each in op.disks:
        if isinstance(each, tuple) and each[1]:
            raise Refused(WRONG_INPUT, "a disk is made anew as it was", hint="give its index alone")
    asked = {each[0] if isinstance(each, tuple) else each for each in op.disks}
    for index in asked:
        if not 0 <= index < len(instance.disks):
            raise Refused(
                WRONG_INPUT,
                f"{instance.name} has no disk {index}",
                hint=known_disks(instance),
            )
    return tuple(sorted(asked)) or tuple(range(len(instance.disks)))


def _target(
    op: InstanceRecreateDisks,
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    instance: Instance,
    indices: tuple[int, ...],
    answer: allocator_call.Answer | None,
) -> Target:
    sizes = [instance.disks[index].size_mib for index in indices]
    need_mib = disk_need_mib(instance.template, sizes)
    mirrored = instance.template in MIRRORED
    named = op.node_uuids or op.nodes
    if not named and op.iallocator is None:
        for uuid in instance.nodes:
            node = require_reachable(cluster.nodes[uuid])
            allocation.require_room(
                cluster, seen, node, template=instance.template, disk_mib=need_mib
            )
        return Target(indices, instance.nodes)
    _require_all(instance, indices)
    count = 2 if mirrored else 1
    if not named:
        group = cluster.groups[cluster.nodes[instance.primary].group]
        if answer is not None:
            told = allocator_call.chosen(cluster, answer, count=count, group=group.uuid)
            for uuid in told.nodes:
                allocation.require_room(
                    cluster,
                    seen,
                    cluster.nodes[uuid],
                    template=instance.template,
                    disk_mib=need_mib,
                )
            return Target(indices, told.nodes, told)
        wish = allocation.wish_for(cluster, instance)
        chosen = allocation.choose(cluster, seen, wish, group)
        return Target(indices, chosen.nodes, chosen)
    nodes = tuple(require_for_instances(cluster.node(each)) for each in named)
    if len({node.uuid for node in nodes}) != count or len(nodes) != count:
        raise Refused(
            WRONG_INPUT,
            f"{instance.template} needs {count} node{'s' if count > 1 else ''}",
            hint="-n PRIMARY:SECONDARY" if mirrored else "-n NODE",
        )
    for node in nodes:
        allocation.require_room(cluster, seen, node, template=instance.template, disk_mib=need_mib)
    return Target(indices, tuple(node.uuid for node in nodes))


def _require_all(instance: Instance, indices: tuple[int, ...]) -> None:
    if len(indices) != len(instance.disks):
        raise Refused(
            WRONG_INPUT, "all disks of an instance are on the same nodes", hint="leave --disk out"
        )


def _ask(
    cluster: Cluster, seen: Mapping[str, NodeStatus], instance: Instance, allocator: str
) -> Plan:
    """Return the plan that asks the operator's own allocator, as for a new instance like it."""
    question = request.allocate(
        cluster,
        allocation.wish_for(cluster, instance),
        os=instance.os,
        nics=instance.nics,
        hypervisor=instance.hypervisor,
        group=cluster.groups[cluster.nodes[instance.primary].group].name,
    )
    return allocator_call.ask(cluster, allocator, figures(cluster, seen), question)


# --- the plan ---------------------------------------------------------------------------------


def _plan(cluster: Cluster, given: Given, instance: Instance, target: Target) -> Plan:
    numbers = Numbers(cluster, target.nodes)
    after = _recreated(cluster, given, instance, target, numbers)
    reached = [node for node in nodes_of(instance) if not why_unreachable(cluster.nodes[node])]
    old = _unmirror(cluster, instance, target.indices, reached)
    holders = after.nodes if instance.template not in SHARED else after.nodes[:1]
    volumes = create_volumes(cluster, after, target.indices, holders, names(old))
    mirrors = create_mirrors(cluster, after, target.indices, names(volumes))
    made = (*volumes, *mirrors)
    made += wipe(cluster, after, target.indices, names(made), wake=True)
    if len(made) > len(volumes):
        made += deactivate(cluster, after, names(made), undo=False)
    replaced = _replaced(instance, after, target, names(made))
    gone = remove_volumes(
        cluster, instance, target.indices, reached, ("replaced",), prefix="old", tolerate=True
    )
    sizes = [instance.disks[index].size_mib for index in target.indices]
    return Plan(
        steps=(*old, *made, replaced, *gone),
        reserves=Reservations(
            nodes=tuple(
                Reservation(
                    node=node,
                    disk_mib=disk_need_mib(instance.template, sizes),
                    minors=tuple(numbers.minors_taken.get(node, ())),
                )
                for node in target.nodes
            ),
            ports=numbers.ports_taken,
        ),
        explanation=target.choice.explanation,
        basis=msgspec.Raw(target.choice.basis),
    )


def _recreated(
    cluster: Cluster, given: Given, instance: Instance, target: Target, numbers: Numbers
) -> Instance:
    """Return the instance with new sides of these disks, led from the first of the nodes."""
    disks = list(instance.disks)
    for index in target.indices:
        disks[index] = _new_sides(cluster, given, index, disks[index], target.nodes, numbers)
    moved = target.nodes[0] != instance.primary
    return msgspec.structs.replace(
        instance,
        disks=tuple(disks),
        primary=target.nodes[0],
        generation=instance.generation + (1 if moved else 0),
    )


def _new_sides(
    cluster: Cluster,
    given: Given,
    index: int,
    disk: Disk,
    nodes: tuple[str, ...],
    numbers: Numbers,
) -> Disk:
    name = given.uuid(f"volume/{index}")
    old = {side.node: side for side in disk.sides}
    if disk.template not in MIRRORED:
        place = disk.sides[0].volume.rpartition("/")[0]
        kind = "" if disk.template == "plain" else f".{disk.template}"
        side = Side(node=nodes[0], volume=f"{place}/{name}{kind}.disk{index}")
        return msgspec.structs.replace(disk, sides=(side,), health={})
    metavg = str(disk.params.get("metavg") or "")
    group = cluster.nodes[nodes[0]].group
    data, meta = drbd_volumes(cluster, name, index, vg=disk.vg, metavg=metavg, group=group)
    sides = tuple(
        Side(
            node=node,
            volume=data,
            meta_volume=meta,
            minor=old[node].minor if node in old else numbers.take_minor(node),
            node_id=number,
        )
        for number, node in enumerate(nodes)
    )
    stays = set(nodes) == set(old)
    port = disk.port if stays else numbers.take_port()
    return msgspec.structs.replace(disk, sides=sides, port=port, health={})


def _unmirror(
    cluster: Cluster, instance: Instance, indices: tuple[int, ...], reached: Iterable[str]
) -> tuple[Call, ...]:
    if instance.template not in MIRRORED:
        return ()
    steps = []
    for node in reached:
        for index in indices:
            spec = disk_spec(cluster, instance, index, node)
            steps.append(
                call(
                    f"unmirror/{cluster.nodes[node].name}/{index}",
                    node,
                    RemoveReplicated(disk=spec),
                    resource=of_disk(instance.disks[index]),
                    undo=EnsureInactive(disk=spec),
                    timeout_s=ACTIVATION_S,
                    tolerate=True,
                )
            )
    return tuple(steps)


def _replaced(
    instance: Instance, after: Instance, target: Target, before: tuple[str, ...]
) -> Record:
    stream = f"instance/{instance.uuid}"
    facts = [
        fact(stream, DiskReplaced(instance=instance.uuid, disk=index, new=after.disks[index]))
        for index in target.indices
    ]
    if after.primary != instance.primary:
        moved = InstancePrimaryChanged(
            instance=instance.uuid,
            primary=after.primary,
            generation=after.generation,
            how="move",
        )
        facts.append(fact(stream, moved))
    return Record(id="replaced", facts=tuple(facts), after=before, final=True)


HANDLER = Handler(opcode=InstanceRecreateDisks, decide=decide, locks=lock, looks_at=looks_at)

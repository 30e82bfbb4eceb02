"""OP_INSTANCE_REPLACE_DISKS: a mirror's side is made anew, here or on another node (pure).

On the same node (`replace_on_secondary`, here for node1; `replace_on_primary` is the same with the
sides swapped), for each disk:

    volume/node1/0/data ...   new volumes beside the old ones
    mirror/node1/0            the mirror there moves to the new volumes, which are empty
    source/node3/0            the other side gives them its data
    replaced                  the disk lies on the new volumes; their side is `syncing`
    synced/0                  wait until both sides are in order
    old/node1/0/data ...      the old volumes go: from here on there is no way back

To another node (`replace_new_secondary`, here node2 instead of node1) the same, with a new minor on
node2, and `leave/node1/0`: the mirror there is taken down before the primary turns to its new peer.
`replace_auto` asks both nodes first, and repairs the side that is faulty, on its own node; of a
node that does not answer, the log's last word counts (`Disk.health`).

What can go wrong: before `old/...` everything is put back. A side whose volume was faulty before
cannot be: then its mirror is left down, and the disk is as degraded as it was. Old volumes that
cannot be removed (their node is gone) are left there and named in the result; they bear their
disk's uuid, and OP_CLUSTER_VERIFY finds them. The other side must be in order, since it is the only
source of the data: if it is not, the opcode is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import allocation, allocator_call, looking, parse
from commands.allocation import Choice
from commands.capacity import disk_need_mib
from commands.disks import (
    ACTIVATION_S,
    MIRRORED,
    call,
    create_volumes,
    known_disks,
    of_disk,
    remove_volumes,
    wait_synced,
)
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes, PlanOutcome
from commands.instance_opcode import InstanceOpcode, instance_locks, locks, subject, subject_or_none
from commands.looking import acted, look
from commands.new_disks import Numbers, drbd_volumes
from commands.nodes import require_for_instances, require_reachable, why_unreachable
from commands.placement import request
from commands.placement.from_cluster import figures
from commands.specs import disk_spec, side_on
from nodeagent.calls import EnsureReplicated, NodeStatus, RemoveReplicated
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import DiskReplaced
from projections.events.jobs import Lock
from projections.objects import Instance, Node, Side
from projections.plans import Fact, Plan, Record, Reservation, Reservations, Step, fact, names

ON_PRIMARY, ON_SECONDARY = "replace_on_primary", "replace_on_secondary"
NEW_SECONDARY, AUTO = "replace_new_secondary", "replace_auto"
MODES = (ON_PRIMARY, ON_SECONDARY, NEW_SECONDARY, AUTO)
FAULTY, SYNCING = "faulty", "syncing"  # in Disk.health


class InstanceReplaceDisks(InstanceOpcode, frozen=True, kw_only=True):
    """Make one side of the mirrored disks of an instance anew."""

    NAME: ClassVar[str] = "OP_INSTANCE_REPLACE_DISKS"

    mode: Annotated[str, Meta(description="Which side", extra={"choices": MODES})]
    disks: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...], Meta(description="Indices; all if none")
    ] = ()
    remote_node: Annotated[
        str | None, Meta(description="The new secondary node", extra={"names": "node"})
    ] = None
    remote_node_uuid: str | None = None
    iallocator: Annotated[str | None, Meta(description="Have the node chosen")] = None
    early_release: Annotated[
        bool, Meta(description="Remove the old volumes before the copy is through")
    ] = False
    ignore_ipolicy: Annotated[
        bool, Meta(description="Choose nodes against the policy of their group, too")
    ] = False


@dataclass(frozen=True, slots=True)
class Move:
    """One side of some disks, and where it goes. `onto` is `off` for new volumes in place."""

    off: str  # uuid of the node whose side is made anew
    onto: str
    indices: tuple[int, ...]
    why: tuple[str, ...]
    broken: bool = False  # the old volumes cannot be read, as their node said
    basis: bytes = allocation.NOTHING  # of the choice of `onto`, for programs


def lock(op: InstanceReplaceDisks, cluster: Cluster) -> tuple[Lock, ...]:
    """The instance, alone; its nodes and the new one, or all that may be chosen, shared."""
    others = (f"node/{node.uuid}" for node in _possible(op, cluster))
    own = instance_locks(op, cluster)
    return locks(
        exclusive=(each.name for each in own if not each.shared),
        shared=(*(each.name for each in own if each.shared), *others),
    )


def looks_at(op: InstanceReplaceDisks, cluster: Cluster) -> Iterable[str]:
    """Every node that may take a side: its free disk."""
    instance = subject_or_none(op, cluster)
    own = () if instance is None else instance.nodes
    return (*own, *(node.uuid for node in _possible(op, cluster)))


def decide(
    op: InstanceReplaceDisks, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Plan it; then say what was done and which old volumes are left."""
    if outcomes := acted(so_far):
        return Done(_result(outcomes[-1]))
    instance = subject(op, cluster)
    _check(op, instance)
    seen = looking.seen(given, so_far)
    if not so_far:
        # What is broken must be true now, not when the node last reported.
        fresh = op.mode == AUTO
        takers = _takers(op, cluster, instance)
        ask = [node for node in takers if fresh or node.uuid not in seen]
        if ask:
            return look(ask)
    answer = allocator_call.answer(so_far)
    allocator = _allocator(op, cluster)
    if answer is None and allocator is not None:
        question = request.relocate(cluster, instance)
        return allocator_call.ask(cluster, allocator, figures(cluster, seen), question)
    move = _move(op, cluster, seen, instance, answer)
    if move is None:
        return Done({"replaced": [], "left": []})
    _check_source(cluster, instance, move)
    return _plan(cluster, given, seen, instance, move, early_release=op.early_release)


# --- which side -------------------------------------------------------------------------------


def _check(op: InstanceReplaceDisks, instance: Instance) -> None:
    parse.choice(op.mode, MODES, "mode")
    if instance.template not in MIRRORED or instance.secondary is None:
        raise Refused(
            WRONG_INPUT,
            f"{instance.name} has no mirrored disks: its template is {instance.template}",
            hint="only drbd disks have a side that can be replaced",
        )
    wanted = any((op.remote_node, op.remote_node_uuid, op.iallocator))
    if wanted and op.mode != NEW_SECONDARY:
        raise Refused(
            WRONG_INPUT, f"mode {op.mode} takes no other node", hint="-n NODE or -I . alone"
        )
    if op.disks and op.mode == AUTO:
        raise Refused(
            WRONG_INPUT, "--auto finds the disks by itself", hint="leave --disks out, or take -s"
        )
    for index in op.disks:
        if index >= len(instance.disks):
            raise Refused(
                WRONG_INPUT,
                f"{instance.name} has no disk {index}",
                hint=known_disks(instance),
            )


def _allocator(op: InstanceReplaceDisks, cluster: Cluster) -> str | None:
    """Return the program that is to choose the new secondary, None if none is."""
    if op.mode != NEW_SECONDARY or op.remote_node or op.remote_node_uuid:
        return None
    return allocator_call.external(cluster, op.iallocator)


def _move(
    op: InstanceReplaceDisks,
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    instance: Instance,
    answer: allocator_call.Answer | None,
) -> Move | None:
    indices = tuple(sorted(set(op.disks))) or tuple(range(len(instance.disks)))
    secondary = instance.secondary
    assert secondary is not None
    match op.mode:
        case "replace_on_primary":
            return Move(instance.primary, instance.primary, indices, ())
        case "replace_on_secondary":
            return Move(secondary, secondary, indices, ())
        case "replace_auto":
            return _faulty(cluster, seen, instance)
    if len(indices) != len(instance.disks):
        raise Refused(
            WRONG_INPUT,
            "all disks of an instance have the same secondary node",
            hint="leave --disks out",
        )
    node, chosen = _new_secondary(op, cluster, seen, instance, answer)
    return Move(secondary, node.uuid, indices, chosen.explanation, basis=chosen.basis)


def _faulty(cluster: Cluster, seen: Mapping[str, NodeStatus], instance: Instance) -> Move | None:
    """Return the side that its node, or failing that the log, says is faulty; None if none is."""
    faulty: dict[str, list[int]] = {}
    for index, disk in enumerate(instance.disks):
        for node in instance.nodes:
            state = _state_on(seen.get(node), disk.uuid) or disk.health.get(node, "")
            if state == FAULTY:
                faulty.setdefault(node, []).append(index)
    if not faulty:
        return None
    if len(faulty) > 1:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} has faulty disks on both nodes",
            hint="replace each side by itself, with -p or -s and --disks; then look at the data",
        )
    ((node, indices),) = faulty.items()
    listed = ", ".join(map(str, indices))
    why = f"disk {listed} of {instance.name} is faulty on {cluster.nodes[node].name}"
    return Move(node, node, tuple(indices), (why,), broken=True)


def _state_on(status: NodeStatus | None, disk: str) -> str:
    """Return what a node said of its side of a disk, "" if it said nothing."""
    disks = () if status is None else status.disks
    return next((each.state for each in disks if each.uuid == disk), "")


def _new_secondary(
    op: InstanceReplaceDisks,
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    instance: Instance,
    answer: allocator_call.Answer | None,
) -> tuple[Node, Choice]:
    named = op.remote_node_uuid or op.remote_node
    told: tuple[str, ...] = ("the new secondary was named",)
    if answer is not None:
        group = cluster.nodes[instance.primary].group
        choice = allocator_call.chosen(cluster, answer, count=1, group=group)
        named, told = choice.nodes[0], choice.explanation
    if named is None:
        chosen = allocation.choose_other(cluster, seen, instance, ignore_policy=op.ignore_ipolicy)
        return cluster.nodes[chosen.nodes[-1]], chosen
    node = require_for_instances(cluster.node(named))
    if node.uuid in instance.nodes:
        role = "primary" if node.uuid == instance.primary else "secondary"
        raise Refused(
            WRONG_INPUT,
            f"{node.name} is the {role} node of {instance.name} already",
            hint="name another node; -s makes new volumes on the same one",
        )
    return node, Choice((node.uuid,), told)


def _need_mib(instance: Instance, indices: Iterable[int]) -> int:
    sizes = (instance.disks[index].size_mib for index in indices)
    return disk_need_mib(instance.template, sizes)


def _possible(op: InstanceReplaceDisks, cluster: Cluster) -> tuple[Node, ...]:
    """Return the nodes that may become the new secondary."""
    instance = subject_or_none(op, cluster)
    if instance is None or op.mode != NEW_SECONDARY:
        return ()
    named = op.remote_node_uuid or op.remote_node
    try:
        if named is not None:
            return (cluster.node(named),)
    except NoSuchObject:
        return ()
    group = cluster.groups[cluster.nodes[instance.primary].group]
    return allocation.candidates(cluster, group)


def _takers(op: InstanceReplaceDisks, cluster: Cluster, instance: Instance) -> tuple[Node, ...]:
    """Return the nodes whose room counts: those that can be asked for it."""
    if op.mode == NEW_SECONDARY:
        nodes = _possible(op, cluster)
    else:
        nodes = tuple(cluster.nodes[node] for node in instance.nodes)
    return tuple(node for node in nodes if not why_unreachable(node))


def _check_source(cluster: Cluster, instance: Instance, move: Move) -> None:
    """Refuse unless the side that stays can give the data, and the one that is made can be."""
    (source,) = (node for node in instance.nodes if node != move.off)
    require_reachable(cluster.nodes[source])
    require_reachable(cluster.nodes[move.onto])
    for index in move.indices:
        state = instance.disks[index].health.get(source, "")
        if state in (FAULTY, SYNCING):
            raise Refused(
                WRONG_STATE,
                f"disk {index} of {instance.name} is {state} on {cluster.nodes[source].name}, "
                "which would be the only source of its data",
                hint="wait for the copy to end" if state == SYNCING else "replace that side first",
            )


# --- the plan ---------------------------------------------------------------------------------


def _plan(
    cluster: Cluster,
    given: Given,
    seen: Mapping[str, NodeStatus],
    instance: Instance,
    move: Move,
    *,
    early_release: bool,
) -> Plan:
    need_mib = _need_mib(instance, move.indices)
    allocation.require_room(
        cluster,
        seen,
        cluster.nodes[move.onto],
        template=instance.template,
        disk_mib=need_mib,
    )
    partners = (node for node in instance.nodes if node != move.off)
    numbers = Numbers(cluster, (move.onto,), partners=partners)
    changed = _changed(cluster, given, instance, move, numbers)
    volumes = create_volumes(cluster, changed, move.indices, (move.onto,))
    rebuilt = _rebuild(cluster, instance, changed, move, names(volumes))
    replaced = Record(
        id="replaced",
        facts=_facts(changed, move.indices),
        after=names((*volumes, *rebuilt)),
        undo=_facts(instance, move.indices),
    )
    synced = wait_synced(cluster, changed, ("replaced",), indices=move.indices)
    before_old = ("replaced",) if early_release else names(synced)
    gone = bool(why_unreachable(cluster.nodes[move.off]))
    old = remove_volumes(
        cluster, instance, move.indices, () if gone else (move.off,), before_old,
        prefix="old", tolerate=True,
    )  # fmt: skip
    left = _volumes(cluster, instance, move) if gone else []
    steps: tuple[Step, ...] = (*volumes, *rebuilt, replaced, *synced, *old)
    return Plan(
        steps=steps,
        reserves=Reservations(
            nodes=(
                Reservation(
                    node=move.onto,
                    disk_mib=need_mib,
                    minors=tuple(numbers.minors_taken.get(move.onto, ())),
                ),
            ),
            ports=numbers.ports_taken,
        ),
        explanation=(*move.why, *(f"left behind: {volume}" for volume in left)),
        basis=msgspec.Raw(move.basis),
    )


def _changed(
    cluster: Cluster, given: Given, instance: Instance, move: Move, numbers: Numbers
) -> Instance:
    """Return the instance as it will be: the side of `move` on new volumes."""
    disks = list(instance.disks)
    for index in move.indices:
        disk = disks[index]
        old = side_on(disk, move.off)
        data, meta = drbd_volumes(
            cluster,
            given.uuid(f"volume/{index}"),
            index,
            vg=disk.vg,
            metavg=str(disk.params.get("metavg") or ""),
            group=cluster.nodes[instance.primary].group,
        )
        in_place = move.onto == move.off
        new = Side(
            node=move.onto,
            volume=data,
            meta_volume=meta,
            minor=old.minor if in_place else numbers.take_minor(move.onto),
            node_id=old.node_id,
        )
        kept = {node: state for node, state in disk.health.items() if node != move.off}
        disks[index] = msgspec.structs.replace(
            disk,
            sides=tuple(new if side is old else side for side in disk.sides),
            port=disk.port if in_place else numbers.keep_port(disk.port),
            # the fold keeps this until the agent reports that the copy is through
            health={**kept, move.onto: SYNCING},
        )
    return msgspec.structs.replace(instance, disks=tuple(disks))


def _rebuild(
    cluster: Cluster, instance: Instance, changed: Instance, move: Move, after: tuple[str, ...]
) -> tuple[Step, ...]:
    """Return the calls that put the mirrors on their new side, and the other side to work."""
    (source,) = (node for node in instance.nodes if node != move.off)
    steps: list[Step] = []
    for index in move.indices:
        resource = of_disk(changed.disks[index])
        name_of = {node: cluster.nodes[node].name for node in (move.off, move.onto, source)}
        new = disk_spec(cluster, changed, index, move.onto)
        if move.onto != move.off:
            undo: EnsureReplicated | RemoveReplicated = RemoveReplicated(disk=new)
        else:
            undo = _put_back(cluster, instance, index, move)
        mirror = call(
            f"mirror/{name_of[move.onto]}/{index}",
            move.onto,
            EnsureReplicated(disk=new),
            resource=resource,
            after=after,
            undo=undo,
            timeout_s=ACTIVATION_S,
        )
        steps.append(mirror)
        if move.onto != move.off and not why_unreachable(cluster.nodes[move.off]):
            steps.append(
                call(
                    f"leave/{name_of[move.off]}/{index}",
                    move.off,
                    RemoveReplicated(disk=disk_spec(cluster, instance, index, move.off)),
                    resource=resource,
                    after=(mirror.id,),
                    undo=_put_back(cluster, instance, index, move),
                    timeout_s=ACTIVATION_S,
                    tolerate=True,
                )
            )
        steps.append(
            call(
                f"source/{name_of[source]}/{index}",
                source,
                EnsureReplicated(disk=disk_spec(cluster, changed, index, source), source=True),
                resource=resource,
                after=(steps[-1].id,),
                undo=EnsureReplicated(
                    disk=disk_spec(cluster, instance, index, source), source=True
                ),
                timeout_s=ACTIVATION_S,
            )
        )
    return tuple(steps)


def _put_back(
    cluster: Cluster, instance: Instance, index: int, move: Move
) -> EnsureReplicated | RemoveReplicated:
    """Return the call that puts a mirror back on its old volumes, or down if those are broken."""
    spec = disk_spec(cluster, instance, index, move.off)
    if move.broken or instance.disks[index].health.get(move.off) == FAULTY:
        return RemoveReplicated(disk=spec)
    return EnsureReplicated(disk=spec)


def _facts(instance: Instance, indices: Iterable[int]) -> tuple[Fact, ...]:
    return tuple(
        fact(
            f"instance/{instance.uuid}",
            DiskReplaced(instance=instance.uuid, disk=index, new=instance.disks[index]),
        )
        for index in indices
    )


def _volumes(cluster: Cluster, instance: Instance, move: Move) -> list[str]:
    node = cluster.nodes[move.off].name
    sides = (side_on(instance.disks[index], move.off) for index in move.indices)
    return [f"{volume} on {node}" for side in sides for volume in (side.volume, side.meta_volume)]


def _result(outcome: PlanOutcome) -> Mapping[str, list[str]]:
    """Return which steps replaced a side, and what is left behind of old ones."""
    plan, failures = outcome.plan, outcome.failures
    left = [f"{step}: {message}" for step, (_, message) in failures.items()]
    left += [
        line.removeprefix("left behind: ")
        for line in plan.explanation
        if line.startswith("left behind: ")
    ]
    done = [step.removeprefix("mirror/") for step in names(plan.steps) if step[:7] == "mirror/"]
    return {"replaced": done, "left": left}


HANDLER = Handler(opcode=InstanceReplaceDisks, decide=decide, locks=lock, looks_at=looks_at)

"""Which nodes an instance gets: the question put to the placement engine, and its answer (pure).

The rule is hail's (`commands/placement`); here are its inputs, which nodes it may choose from, and
what a person is told: why these nodes, why not the others, or why there is no place and what would
fit. What the choice rests on is recorded with it (`commands/placement/basis.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from commands.capacity import FILE, Room, room_on
from commands.errors import (
    INSUFFICIENT_RESOURCES,
    TEMPORARILY_INSUFFICIENT,
    WRONG_STATE,
    Refused,
)
from commands.nodes import why_not_for_instances
from commands.placement import basis
from commands.placement.basis import Basis, Verdict
from commands.placement.from_cluster import STATUS_OF, figures, new_instance
from commands.placement.model import UNALLOCABLE
from commands.placement.model import Instance as Wish
from nodeagent.calls import NodeStatus
from projections import params
from projections.cluster import Cluster
from projections.objects import Group, Instance, Node
from projections.plans import Plan

MOST_LINES, MOST_NAMES = 10, 5  # of an explanation or a refusal
NO_REASONS: Mapping[str, str] = MappingProxyType({})
NOTHING = b"\xc0"  # the basis of what was named, not chosen


@dataclass(frozen=True, slots=True)
class Choice:
    """The nodes (uuids, primary first), why just these, and what that rests on (a `Basis`)."""

    nodes: tuple[str, ...]
    explanation: tuple[str, ...]
    basis: bytes = NOTHING


def candidates(cluster: Cluster, group: Group | None) -> tuple[Node, ...]:
    """Return the nodes that may be chosen from, by name, whatever room they have."""
    return tuple(
        sorted(
            (
                node
                for node in cluster.nodes.values()
                if not why_not_for_instances(node) and _eligible(cluster, node, group)
            ),
            key=lambda node: node.name,
        )
    )


def wish_for(cluster: Cluster, instance: Instance) -> Wish:
    """Return what an existing instance asks of its nodes."""
    return new_instance(
        name=instance.name,
        backend=params.of_instance(cluster, instance),
        template=instance.template,
        disks=((disk.size_mib, disk.spindles) for disk in instance.disks),
        tags=instance.tags,
        status=STATUS_OF[instance.admin_state],
    )


def choose(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    wish: Wish,
    group: Group | None,
    *,
    ignore_policy: bool = False,
    unfit: Mapping[str, str] = NO_REASONS,
) -> Choice:
    """Return nodes for an instance that is on none. Raises Refused, with what is free where.

    `unfit` are nodes, by name, that may not be chosen for a reason that the engine does not know.
    """
    if wish.template in FILE:  # the engine does not know of space for files
        unfit = {**unfit, **_short_of_files(cluster, seen, wish, group)}
    fit = [node.name for node in candidates(cluster, group) if node.name not in unfit]
    asked = Basis(
        kind=basis.PLACE,
        instance=wish,
        figures=figures(cluster, seen),
        group="" if group is None else group.uuid,
        restrict_to=tuple(fit) if unfit else None,
        ignore_policy=ignore_policy,
        options=hail_options(cluster),
    )
    return _answer(cluster, seen, asked, group, unfit=unfit)


def _short_of_files(
    cluster: Cluster, seen: Mapping[str, NodeStatus], wish: Wish, group: Group | None
) -> dict[str, str]:
    return {
        node.name: "has too little space for files"
        for node in candidates(cluster, group)
        if node.uuid not in seen or room_on(cluster, node, seen[node.uuid]).file_mib < wish.disk
    }


def choose_other(
    cluster: Cluster, seen: Mapping[str, NodeStatus], instance: Instance, *, ignore_policy: bool
) -> Choice:
    """Return another node for one of an instance's, in its group: the last one of the result.

    A mirror gets another secondary; what is on shared storage, another primary. Raises Refused.
    """
    asked = Basis(
        kind=basis.REPLACE,
        instance=wish_for(cluster, instance),
        figures=figures(cluster, seen),
        ignore_policy=ignore_policy,
        options=hail_options(cluster),
    )
    group = cluster.groups[cluster.nodes[instance.primary].group]
    return _answer(cluster, seen, asked, group, not_on=instance.nodes)


def hail_options(cluster: Cluster) -> tuple[str, ...]:
    """Return the options that the cluster gives to hail (`--default-iallocator-params`)."""
    settings = cluster.settings
    if settings.default_iallocator:
        return ()  # they are another program's
    given = settings.default_iallocator_params
    return tuple(sorted(key for key, value in given.items() if value is not False))


def with_reasons(plan: Plan, choice: Choice) -> Plan:
    """Return the plan with what led to it."""
    basis = msgspec.Raw(choice.basis)
    return msgspec.structs.replace(plan, explanation=choice.explanation, basis=basis)


def require_room(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    node: Node,
    *,
    template: str,
    memory_mib: int = 0,
    disk_mib: int = 0,
) -> None:
    """Raise Refused, with what is free, unless `node` has room for this."""
    status = seen.get(node.uuid)
    if status is None:
        raise Refused(
            TEMPORARILY_INSUFFICIENT,
            f"node {node.name} has not said yet what it has free",
            hint="try again in a few seconds, when it has reported",
        )
    room = room_on(cluster, node, status)
    free = room.of(template)
    if memory_mib > room.memory_mib:
        raise _short(node, "memory", memory_mib, room.memory_mib, reserved=room.reserved)
    if free is not None and disk_mib > free:
        raise _short(node, "disk space", disk_mib, free, reserved=room.reserved)


def _short(node: Node, what: str, need_mib: int, free_mib: int, *, reserved: bool) -> Refused:
    also = "; jobs that run hold a part of the rest" if reserved else ""
    return Refused(
        TEMPORARILY_INSUFFICIENT if reserved else INSUFFICIENT_RESOURCES,
        f"node {node.name} has too little {what}: {need_mib} MiB wanted, {free_mib} MiB free",
        hint=f"at most {free_mib} MiB fit on {node.name} now{also}",
    )


def _eligible(cluster: Cluster, node: Node, group: Group | None) -> bool:
    if group is not None:
        return node.group == group.uuid
    return cluster.groups[node.group].alloc_policy != UNALLOCABLE


# --- asking, and telling the answer -----------------------------------------------------------


def _answer(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    asked: Basis,
    group: Group | None,
    *,
    not_on: Iterable[str] = (),
    unfit: Mapping[str, str] = NO_REASONS,
) -> Choice:
    found = basis.decide(cluster, asked)
    refused = {**unfit, **_left_out(cluster, seen, group, set(not_on)), **_reasons(found)}
    if not found.chosen:
        raise _no_place(cluster, seen, found, group, refused)
    nodes = tuple(cluster.node(name).uuid for name in found.chosen)
    why = _why(cluster, seen, found, refused)
    return Choice(nodes, why, msgspec.msgpack.encode(found))


def _left_out(
    cluster: Cluster, seen: Mapping[str, NodeStatus], group: Group | None, not_on: set[str]
) -> dict[str, str]:
    """Return by name the nodes that could not be chosen from, and why."""
    out: dict[str, str] = {}
    for node in cluster.nodes.values():
        if node.uuid in not_on:
            out[node.name] = "has a part of it already"
        elif problem := why_not_for_instances(node):
            out[node.name] = problem
        elif not _eligible(cluster, node, group):
            out[node.name] = f"its group {cluster.groups[node.group].name} is not asked for"
        elif node.uuid not in seen:
            out[node.name] = "has not said yet what it has free"
    return out


def _reasons(found: Basis) -> dict[str, str]:
    """Return by name the nodes that were tried and do not fit, and what they lack."""
    fits = {one.node for one in found.verdicts if not one.reason}
    return {
        one.node: _reason(one)
        for one in reversed(found.verdicts)  # what a node lacks as primary counts first
        if one.reason and one.node not in fits
    }


def _reason(one: Verdict) -> str:
    if not one.lacks:
        return f"does not fit ({one.reason})"
    first = {lack[0].partition(" ")[0]: lack for lack in reversed(one.lacks)}  # of each resource
    return " and ".join(_lack(*lack) for lack in reversed(first.values()))


def _lack(name: str, needed: float, available: float) -> str:
    if name.startswith("policy"):
        return f"beyond the {name}"
    if name.startswith("exclusion"):
        return "has an instance with the same exclusion tag"
    what, unit = name.replace(" MiB", ""), " MiB" if "MiB" in name else ""
    missing, there, all_of = (f"{n:.10g}" for n in (needed - available, max(available, 0), needed))
    return f"lacks {missing}{unit} of {what} ({there} of {all_of})"


def _why(
    cluster: Cluster, seen: Mapping[str, NodeStatus], found: Basis, refused: Mapping[str, str]
) -> tuple[str, ...]:
    roles = ("primary", "secondary") if len(found.chosen) > 1 else ("chosen",)
    lines = []
    for role, name in zip(roles, found.chosen, strict=True):
        node = cluster.node(name)
        if node.uuid in seen:
            room = room_on(cluster, node, seen[node.uuid])
            lines.append(f"{role} {name}: {_free(room)} free")
    after = 0.0 if found.score_after is None else found.score_after
    lines.append(f"score {found.score_before:.8f} without it, {after:.8f} with it; lower is better")
    if found.kind == basis.PLACE:
        lines.append(found.info)
    ranked = sorted(
        (one.score, one.node)
        for one in found.verdicts
        if one.score is not None and one.node not in found.chosen
    )
    if ranked:
        listed = ", ".join(f"{name} {score:.8f}" for score, name in ranked[:MOST_NAMES])
        lines.append(f"next best, by the score with it: {listed}")
    others = {name: why for name, why in refused.items() if name not in found.chosen}
    return (*lines, *_by_reason(others, "not {names}: {why}"))


def _free(room: Room) -> str:
    return f"{room.memory_mib} MiB of memory and {room.disk_mib} MiB of disk"


def _by_reason(refused: Mapping[str, str], form: str) -> list[str]:
    """Return one line for each reason, with the names it holds for; a few lines, a few names.

    A cluster may have a thousand nodes, and what is said here stands in the log.
    """
    names_of: dict[str, list[str]] = {}
    for name in sorted(refused):
        names_of.setdefault(refused[name], []).append(name)
    lines = [
        form.format(names=_some(names), why=why)
        for why, names in sorted(names_of.items(), key=lambda item: -len(item[1]))
    ]
    left_out = len(lines) - MOST_LINES
    return lines if left_out <= 0 else [*lines[:MOST_LINES], f"and {left_out} more reasons"]


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    listed = ", ".join(names[:MOST_NAMES])
    return listed if more <= 0 else f"{listed} and {more} more"


def _no_place(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    found: Basis,
    group: Group | None,
    refused: Mapping[str, str],
) -> Refused:
    """Return the refusal when no node is left: why each was not taken, and what would fit."""
    recorded = msgspec.msgpack.encode(found)
    wish = found.instance
    rooms = sorted(
        (
            room_on(cluster, node, seen[node.uuid])
            for node in candidates(cluster, group)
            if node.uuid in seen
        ),
        key=lambda room: (-room.memory_mib, -room.disk_mib, cluster.nodes[room.node].name),
    )
    reasons = "; ".join(_by_reason(refused, "{names}: {why}"))
    if not rooms:
        return Refused(
            WRONG_STATE,
            f"no node can take the instance: {reasons or 'there is no other node'}",
            hint="bring a node back with gnt-node modify, or add one with gnt-node add",
            basis=recorded,
        )
    free = f"free now: {_some([f'{cluster.nodes[r.node].name} {_free(r)}' for r in rooms])}"
    wanted = f"{wish.memory} MiB of memory and {wish.disk} MiB of disk"
    if found.unsafe:
        return Refused(
            INSUFFICIENT_RESOURCES,
            f"{wanted} would fit, but then the cluster could not lose a node: what runs on it "
            "would have no room elsewhere (N+1)",
            hint="add a node; name nodes with -n, or let hail not look at it: gnt-cluster modify "
            f"--default-iallocator-params=no-capacity-checks=yes; {free}",
            basis=recorded,
        )
    held = any(room.reserved for room in rooms)
    if any(
        one.reason and lack[0].startswith("policy") for one in found.verdicts for lack in one.lacks
    ):
        free += "; --ignore-ipolicy takes no notice of a group's policy"
    return Refused(
        TEMPORARILY_INSUFFICIENT if held else INSUFFICIENT_RESOURCES,
        f"no {'pair of nodes has' if wish.mirrored else 'node has'} room for {wanted}: "
        f"{reasons or 'a second node is missing'}",
        hint=free,
        basis=recorded,
    )

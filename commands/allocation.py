"""Where a new instance goes: a first, simple rule that explains itself (pure).

1. Only nodes that can take it: in reach, not drained, vm_capable, heard of, with room for the
   memory (primary) and for the disks (every node that holds them).
2. Groups whose policy is `preferred` before `last_resort`; `unallocable` only when it is named. All
   nodes of an instance are of one group.
3. Primary: most memory free afterwards, then most disk, then the lower name.
4. Secondary: most disk free afterwards, then most memory, then the lower name.

The explanation names the nodes that were not taken, and why. The balancing engine in
`commands/placement` is to take this rule's place; the question and the answer stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from commands.capacity import Room, room_on
from commands.errors import INSUFFICIENT_RESOURCES, TEMPORARILY_INSUFFICIENT, WRONG_STATE, Refused
from commands.nodes import why_not_for_instances
from nodeagent.calls import NodeStatus
from projections.cluster import Cluster
from projections.objects import Group, Node

MOST_LINES, MOST_NAMES = 10, 5  # of an explanation or a refusal
POLICIES = ("preferred", "last_resort", "unallocable")


@dataclass(frozen=True, slots=True)
class Need:
    """What an instance takes. `disk_mib` is what each of its nodes must hold."""

    memory_mib: int
    disk_mib: int
    template: str
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The nodes (uuids, primary first), and why just these."""

    nodes: tuple[str, ...]
    explanation: tuple[str, ...]


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


def choose(
    cluster: Cluster, seen: Mapping[str, NodeStatus], need: Need, group: Group | None
) -> Choice:
    """Return the nodes for a new instance. Raises Refused, with what is free where."""
    refused: dict[str, str] = {}
    rooms = _rooms(cluster, seen, group, refused)
    for policy in POLICIES:
        fitting = [r for r in rooms if _policy(cluster, r) == policy]
        for primary in sorted(fitting, key=_memory_first(cluster)):
            if not _fits(cluster, primary, need, refused, with_memory=True):
                continue
            if not need.mirrored:
                return Choice((primary.node,), _why(cluster, (primary,), refused))
            others = [r for r in fitting if _may_mirror(cluster, primary, r)]
            for secondary in sorted(others, key=_disk_first(cluster)):
                if _fits(cluster, secondary, need, refused, with_memory=False):
                    both = (primary, secondary)
                    return Choice(tuple(room.node for room in both), _why(cluster, both, refused))
    raise no_room(cluster, rooms, need, refused)


def choose_secondary(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    need: Need,
    *,
    primary: Node,
    not_on: Iterable[str],
) -> Choice:
    """Return a node for another side of a mirror whose primary stays where it is.

    It is of the primary's group, and none of `not_on` (uuids). Raises Refused like `choose`.
    """
    refused: dict[str, str] = {}
    left_out = {primary.uuid, *not_on}
    rooms = [
        room
        for room in _rooms(cluster, seen, cluster.groups[primary.group], refused)
        if room.node not in left_out
    ]
    for room in sorted(rooms, key=_disk_first(cluster)):
        if _fits(cluster, room, need, refused, with_memory=False):
            return Choice((room.node,), _why(cluster, (room,), refused))
    raise no_room(cluster, rooms, need, refused)


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


def _rooms(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    group: Group | None,
    refused: dict[str, str],
) -> list[Room]:
    rooms = []
    for node in sorted(cluster.nodes.values(), key=lambda each: each.name):
        if problem := why_not_for_instances(node):
            refused[node.name] = problem
        elif not _eligible(cluster, node, group):
            refused[node.name] = f"its group {cluster.groups[node.group].name} is not asked for"
        elif (status := seen.get(node.uuid)) is None:
            refused[node.name] = "has not said yet what it has free"
        else:
            rooms.append(room_on(cluster, node, status))
    return rooms


def _eligible(cluster: Cluster, node: Node, group: Group | None) -> bool:
    if group is not None:
        return node.group == group.uuid
    return cluster.groups[node.group].alloc_policy != "unallocable"


def _policy(cluster: Cluster, room: Room) -> str:
    return cluster.groups[cluster.nodes[room.node].group].alloc_policy


def _may_mirror(cluster: Cluster, primary: Room, other: Room) -> bool:
    same_group = cluster.nodes[primary.node].group == cluster.nodes[other.node].group
    return same_group and primary.node != other.node


def _fits(
    cluster: Cluster, room: Room, need: Need, refused: dict[str, str], *, with_memory: bool
) -> bool:
    free = room.of(need.template)
    short = []
    if with_memory and room.memory_mib < need.memory_mib:
        short.append(f"{room.memory_mib} MiB of memory free")
    if free is not None and free < need.disk_mib:
        short.append(f"{free} MiB of disk free")
    if short:
        refused[cluster.nodes[room.node].name] = f"has only {' and '.join(short)}"
    return not short


def _memory_first(cluster: Cluster) -> Callable[[Room], tuple[int, int, str]]:
    return lambda room: (-room.memory_mib, -room.disk_mib, cluster.nodes[room.node].name)


def _disk_first(cluster: Cluster) -> Callable[[Room], tuple[int, int, str]]:
    return lambda room: (-room.disk_mib, -room.memory_mib, cluster.nodes[room.node].name)


def _why(cluster: Cluster, chosen: tuple[Room, ...], refused: Mapping[str, str]) -> tuple[str, ...]:
    roles = ("primary", "secondary") if len(chosen) > 1 else ("chosen",)
    names = [cluster.nodes[room.node].name for room in chosen]
    lines = [
        f"{role} {name}: {room.memory_mib} MiB of memory and {room.disk_mib} MiB of disk free"
        for role, name, room in zip(roles, names, chosen, strict=True)
    ]
    others = {name: why for name, why in refused.items() if name not in names}
    return (*lines, *(f"not {each}" for each in _by_reason(others, "{names}: {why}")))


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


def no_room(
    cluster: Cluster, rooms: Iterable[Room], need: Need, refused: Mapping[str, str]
) -> Refused:
    """Return the refusal when no node is left: why each was not taken, and what would fit."""
    roomiest = sorted(rooms, key=_memory_first(cluster))
    free = _some(
        [
            f"{cluster.nodes[room.node].name} {room.memory_mib} MiB of memory and "
            f"{room.disk_mib} MiB of disk"
            for room in roomiest
        ]
    )
    wanted = f"{need.memory_mib} MiB of memory and {need.disk_mib} MiB of disk"
    reasons = "; ".join(_by_reason(refused, "{names} {why}"))
    held = any(room.reserved for room in rooms)
    if not free:
        return Refused(
            WRONG_STATE,
            f"no node can take the instance: {reasons or 'there is no other node'}",
            hint="bring a node back with gnt-node modify, or add one with gnt-node add",
        )
    return Refused(
        TEMPORARILY_INSUFFICIENT if held else INSUFFICIENT_RESOURCES,
        f"no {'pair of nodes has' if need.mirrored else 'node has'} room for {wanted}: "
        f"{reasons or 'a second node is missing'}",
        hint=f"free now: {free}",
    )

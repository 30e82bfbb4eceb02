"""One decision about one instance: where it goes, by hail's rules, and why (pure).

`place` chooses for a new instance as hail answers `allocate`; `replace` for an instance that
leaves one of its nodes, as hail answers `relocate`. Both say what they tried in the words that
hail uses, and explain every candidate, whether a place was found or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from commands.placement import dedicated
from commands.placement.allocate import (
    GroupSolution,
    Solution,
    Unplaced,
    all_nodes,
    allocatable,
    allocate,
    best_group,
    try_groups,
    unconnected,
)
from commands.placement.balance import group_scope
from commands.placement.evacuate import Mode, evacuate
from commands.placement.explain import Explanation, explain
from commands.placement.frame import Settings, build_frame
from commands.placement.model import (
    LARGEST,
    NO_NODE,
    TEMPLATES,
    UNALLOCABLE,
    Bounds,
    Cluster,
    FailMode,
    Instance,
    Spec,
)
from commands.placement.options import Options
from commands.placement.state import Placement

#: Memory that hail takes a KVM node to need itself, whatever it reports.
STATIC_KVM_MIB = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """The nodes (positions in the cluster), none if there is no place; `unsafe`: how many
    candidates fit, and were left out only because the cluster could not lose a node then."""

    nodes: tuple[int, ...]
    info: str
    explanation: Explanation
    unsafe: int = 0


def settle(cluster: Cluster, *, extra: Sequence[Instance] = ()) -> Placement:
    """Return the state of a running cluster, with hail's settings."""
    settings = Settings(static_node_memory=STATIC_KVM_MIB)
    return Placement(build_frame(cluster, settings, extra=extra))


def options_for(
    cluster: Cluster, given: Sequence[str] = (), *, restrict_to: frozenset[str] | None = None
) -> Options:
    """Return hail's options. Where one node is all there is, nothing could be lost safely."""
    online = sum(not node.offline for node in cluster.nodes)
    return Options(
        capacity_checks=online > 1 and "no-capacity-checks" not in given,
        ignore_soft_errors="ignore-soft-errors" in given,
        restrict_to=restrict_to,
    )


def unbounded(cluster: Cluster) -> Cluster:
    """Return the cluster without the sizes and templates of its policies (`--ignore-ipolicy`)."""
    lowest = Spec(0, 0, 0, 0, 0, 0)
    highest = Spec(LARGEST, LARGEST, LARGEST, LARGEST, LARGEST, LARGEST)
    groups = tuple(
        msgspec.structs.replace(
            group,
            policy=msgspec.structs.replace(
                group.policy, bounds=(Bounds(lowest, highest),), templates=tuple(TEMPLATES)
            ),
        )
        for group in cluster.groups
    )
    return msgspec.structs.replace(cluster, groups=groups)


def place(cluster: Cluster, instance: Instance, group: str | None, options: Options) -> Found:
    """Choose the nodes of a new instance, in one group if its name or uuid is given."""
    placement = settle(cluster, extra=(instance,))
    number = None if group is None else _number(cluster, group)
    name = None if number is None else cluster.groups[number].name
    if dedicated.is_dedicated(placement, name):
        chosen = _dedicated(placement, instance, number, options)
    else:
        chosen = _balanced(placement, instance, number, options)
    explained = _explain(placement, instance, number, options, chosen.nodes)
    return Found(chosen.nodes, chosen.info, explained, chosen.unsafe)


def replace(cluster: Cluster, name: str, options: Options) -> Found:
    """Choose another node for an instance: a new secondary, or a new primary of a shared one."""
    placement = settle(cluster)
    index = next(n for n, one in enumerate(placement.instances) if one.name == name)
    instance, home = placement.instances[index], placement.primary[index]
    left = {home, placement.secondary[index]}
    without = placement.copy()
    without.take_primary(home, index)
    if placement.secondary[index] != NO_NODE:
        without.take_secondary(placement.secondary[index], index)
    scope = group_scope(placement, int(placement.frame.group[home]))
    targets = np.array(
        [n for n in scope if not placement.frame.offline[n] and int(n) not in left], dtype=np.int64
    )
    mode = Mode.SECONDARY if instance.mirrored else Mode.PRIMARY
    found = evacuate(placement, [index], mode, options)
    nodes = found.moved[0].nodes if found.moved else ()
    info = "success" if found.moved else found.failed[0][1]
    role = "secondary" if instance.mirrored else "primary"
    explained = explain(without, scope, instance, targets, nodes)
    candidates = tuple(one for one in explained.candidates if one.role == role)
    return Found(nodes, info, msgspec.structs.replace(explained, candidates=candidates))


@dataclass(frozen=True, slots=True)
class _Chosen:
    nodes: tuple[int, ...]
    info: str
    unsafe: int = 0


def _balanced(
    placement: Placement, instance: Instance, group: int | None, options: Options
) -> _Chosen:
    groups = placement.frame.cluster.groups
    cut_off: list[int] = []
    if group is not None:
        tried = [_alone(placement, instance, group, options)]
        best: GroupSolution | None = tried[0]
    else:
        tried, cut_off = try_groups(placement, instance, options)
        best = best_group(placement, tried)
    lines = [f"group {groups[one].name} lacks a network of {instance.name}" for one in cut_off]
    lines += [_told(placement, one) for one in tried]
    unsafe = sum(one.solution.failures[FailMode.N1] for one in tried if one.solution is not None)
    nodes = best.solution.nodes if best is not None and best.solution is not None else ()
    return _Chosen(nodes, ", ".join(lines), unsafe)


def _alone(placement: Placement, instance: Instance, group: int, options: Options) -> GroupSolution:
    """A named group is judged by its own score, whatever its policy."""
    if unconnected(placement.frame.cluster.groups[group], instance):
        return GroupSolution(group, None, f"it lacks a network of {instance.name}")
    scope = group_scope(placement, group)
    try:
        nodes = allocatable(placement, scope, options)
        return GroupSolution(group, allocate(placement, scope, instance, nodes, options))
    except Unplaced as problem:
        return GroupSolution(group, None, str(problem))


def _told(placement: Placement, one: GroupSolution) -> str:
    group = placement.frame.cluster.groups[one.group]
    if one.solution is None:
        return f"Group {group.name}: error {one.problem}"
    told = one.solution.describe(placement, f"{one.solution.score:.8f}")
    return f"Group {group.name} ({group.alloc_policy}): {told}"


def _dedicated(
    placement: Placement, instance: Instance, group: int | None, options: Options
) -> _Chosen:
    present = [int(one) for one in np.unique(placement.frame.group)]
    tried = [
        dedicated.try_group(placement, one, instance, options)
        for one in (present if group is None else [group])
    ]
    best = dedicated.best_group(placement, tried) if group is None else tried[0]
    lines = []
    for one in tried:
        name = placement.frame.cluster.groups[one.group].name
        found = one.solution
        if found is None:
            lines.append(f"Group {name}: error {one.problem}")
        else:
            plain = Solution(found.failures, found.successes, found.nodes)
            lines.append(f"Group {name}: {plain.describe(placement, found.metric_text())}")
    nodes = best.solution.nodes if best is not None and best.solution is not None else ()
    return _Chosen(nodes, ", ".join(lines))


def _number(cluster: Cluster, group: str) -> int:
    return next(n for n, one in enumerate(cluster.groups) if group in (one.name, one.uuid))


def _explain(
    placement: Placement,
    instance: Instance,
    group: int | None,
    options: Options,
    chosen: tuple[int, ...],
) -> Explanation:
    """Explain every node that could be chosen, group by group: no pair spans two of them."""
    frame = placement.frame
    if group is None:
        scope = all_nodes(placement)
        policies = [one.alloc_policy for one in frame.cluster.groups]
        present = [int(one) for one in np.unique(frame.group)]
        groups = [one for one in present if policies[one] != UNALLOCABLE]
    else:
        scope, groups = group_scope(placement, group), [group]
    parts = []
    for one in groups:
        nodes = allocatable(placement, group_scope(placement, one), options)
        here = chosen if chosen and int(frame.group[chosen[0]]) == one else ()
        parts.append((not here, explain(placement, scope, instance, nodes, here)))
    if not parts:
        return explain(placement, scope, instance, scope[:0], ())
    parts.sort(key=lambda part: part[0])
    candidates = tuple(each for _, part in parts for each in part.candidates)
    return msgspec.structs.replace(parts[0][1], candidates=candidates)

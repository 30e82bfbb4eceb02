"""Allocation on dedicated nodes: lose as few future allocations as possible.

Where every node has exclusive storage an instance takes whole spindles, and balance matters less
than what still fits afterwards. The metric is, for the smallest instance of each pair of bounds
(largest disk first), how many fewer of them fit; then the disk that is left. Lower is better.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from commands.placement.admission import admit_primary, admit_secondary
from commands.placement.allocate import Unplaced, allocatable, unconnected
from commands.placement.frame import UNLIMITED, Demand, Ints
from commands.placement.model import (
    ALLOC_POLICIES,
    NO_NODE,
    UNALLOCABLE,
    FailMode,
    Instance,
    Policy,
    Spec,
    policy_violation,
)
from commands.placement.options import Options
from commands.placement.state import Placement

Metric = tuple[list[int], int]


def is_dedicated(placement: Placement, group: str | None) -> bool:
    """Whether all nodes of the named group, or of all allocatable ones, have exclusive storage."""
    frame, groups = placement.frame, placement.frame.cluster.groups
    counted = [
        one.name == group if group is not None else one.alloc_policy != UNALLOCABLE
        for one in groups
    ]
    return all(
        bool(frame.exclusive[node]) or not counted[int(frame.group[node])]
        for node in range(frame.size)
    )


@dataclass(slots=True)
class DedicatedSolution:
    """What trying all candidates of a group gave; as `allocate.Solution`, with another metric."""

    failures: Counter[FailMode] = field(default_factory=Counter)
    successes: int = 0
    nodes: tuple[int, ...] = ()
    metric: Metric = ([], 0)

    def offer(self, nodes: tuple[int, ...], metric: Metric) -> None:
        """Take a candidate if it is as good as the best so far."""
        self.successes += 1
        if not self.nodes or not self.metric < metric:
            self.nodes, self.metric = nodes, metric

    def metric_text(self) -> str:
        """The metric as the original shows it."""
        return f"([{','.join(map(str, self.metric[0]))}],{self.metric[1]})"


@dataclass(frozen=True, slots=True)
class DedicatedGroup:
    """The outcome of one group."""

    group: int
    solution: DedicatedSolution | None
    problem: str = ""


def _smallest(spec: Spec) -> Instance:
    return Instance(
        name="minimalspecinstance",
        memory=spec.memory_mib,
        disk=spec.disk_mib,
        vcpus=spec.cpus,
        status="running",
        template="plain",
        primary=NO_NODE,
        auto_balance=False,
        spindle_use=spec.spindles,
    )


def _samples(placement: Placement, policy: Policy) -> list[Demand]:
    """The demands whose number on a node is counted, largest disk first."""
    lows = sorted((pair.low for pair in policy.bounds), key=lambda spec: -spec.disk_mib)
    return [placement.frame.demand(_smallest(spec)) for spec in lows]


def room_for(placement: Placement, node: int, demand: Demand) -> int:
    """How many instances of one size fit on a node as primaries, one after the other."""
    if admit_primary(placement, node, demand) is not None:
        return 0
    state, frame = placement, placement.frame
    reserve = int(state.reserve[node]) if state.unallocated[node] > state.reserve[node] else 0

    def below(free: int, size: int) -> int:
        """Largest k with k * size < free."""
        return (free - 1) // size if size > 0 else UNLIMITED

    counts = [
        below(int(state.unallocated[node]) - max(0, reserve), demand.held),
        below(int(state.free_memory_f[node]), demand.memory),
    ]
    disk = int(min(state.free_disk[node], state.free_disk_f[node]))
    low = int(frame.low_disk[node])
    counts.append(min(below(disk, demand.disk), below(disk - low + 1, demand.disk)))
    used = int(max(state.used_cpus[node], state.used_cpus_f[node]))
    counts.append(below(int(frame.max_vcpus[node]) - used + 1, demand.vcpus))
    if frame.exclusive[node]:
        spare = int(min(state.free_spindles[node], state.free_spindles_f[node]))
        counts.append(below(spare + 1, demand.spindles or 0))
    else:
        spindles = max(float(state.inst_spindles[node]), float(state.inst_spindles_f[node]))
        free = int(float(frame.high_spindles[node]) - spindles)
        counts.append(below(free + 1, demand.spindle_use))
    return min(counts)


def _rooms(placement: Placement, node: int, samples: list[Demand]) -> list[int]:
    return [room_for(placement, node, sample) for sample in samples]


def try_group(
    placement: Placement, group: int, instance: Instance, options: Options
) -> DedicatedGroup:
    """Try all nodes, or ordered pairs of nodes, of one group."""
    frame = placement.frame
    name = frame.cluster.groups[group].name
    if unconnected(frame.cluster.groups[group], instance):
        problem = f"The group {name} is not connected to a network required by instance"
        return DedicatedGroup(group, None, f"{problem} {instance.name}")
    nodes = allocatable(placement, np.flatnonzero(frame.group == group), options)
    try:
        return DedicatedGroup(group, _try_nodes(placement, nodes, instance, options))
    except Unplaced as problem:
        return DedicatedGroup(group, None, str(problem))


def _try_nodes(
    placement: Placement, nodes: Ints, instance: Instance, options: Options
) -> DedicatedSolution:
    if not len(nodes) or (instance.mirrored and len(nodes) < 2):
        raise Unplaced("Not enough online nodes" if instance.mirrored else "No online nodes")
    frame, state = placement.frame, placement
    demand = frame.demand(instance)
    solution = DedicatedSolution()
    for node in map(int, nodes):
        policy = frame.policy(node)
        reason = policy_violation(instance, policy, exclusive_storage=bool(frame.exclusive[node]))
        force = options.ignore_soft_errors
        reason = reason if reason is not None else admit_primary(state, node, demand, force=force)
        others = [int(other) for other in nodes if other != node] if instance.mirrored else []
        if reason is not None:
            solution.failures[reason] += len(others) if instance.mirrored else 1
            continue
        samples = _samples(placement, policy)
        lost, disk = _lost(state, node, samples, instance, primary=True)
        if not instance.mirrored:
            solution.offer((node,), (lost, disk))
        for other in others:
            reason = admit_secondary(state, other, demand, node)
            if reason is not None:
                solution.failures[reason] += 1
                continue
            more, left = _lost(state, other, samples, instance, primary=False)
            lost_both = [one + two for one, two in zip(lost, more, strict=True)]
            solution.offer((node, other), (lost_both, disk + left))
    return solution


def _lost(
    state: Placement, node: int, samples: list[Demand], instance: Instance, *, primary: bool
) -> Metric:
    """How many fewer of each sample fit with the instance on a node, and the disk left there."""
    before = _rooms(state, node, samples)
    trial = state.copy()
    index = len(trial.instances)
    trial.add(instance, node) if primary else _add_secondary(trial, instance, node)
    assert len(trial.instances) == index + 1
    after = _rooms(trial, node, samples)
    return [was - now for was, now in zip(before, after, strict=True)], int(trial.free_disk[node])


def _add_secondary(state: Placement, instance: Instance, node: int) -> None:
    """Put only the copy of an instance on a node; its primary is not looked at."""
    elsewhere = 0 if node else state.frame.size - 1
    index = state.add(instance, elsewhere)
    state.take_primary(elsewhere, index)
    state.secondary[index] = node
    state.put_secondary(node, index)


def best_group(placement: Placement, tried: list[DedicatedGroup]) -> DedicatedGroup | None:
    """By allocation policy, then by metric; of equal ones the later."""
    groups = placement.frame.cluster.groups
    usable = [
        one
        for one in reversed(tried)
        if one.solution is not None
        and one.solution.nodes
        and groups[one.group].alloc_policy != UNALLOCABLE
    ]

    def rank(one: DedicatedGroup) -> tuple[int, Metric]:
        assert one.solution is not None
        return ALLOC_POLICIES.index(groups[one.group].alloc_policy), one.solution.metric

    return min(usable, key=rank, default=None)

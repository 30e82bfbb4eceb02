"""Placing new instances: which node, or which pair, in which group.

Every online node, or every ordered pair within a group, is a candidate. The lowest score wins that
also leaves the cluster globally redundant; of equal scores the later candidate. Groups are ordered
by their allocation policy first, then by the score of their best candidate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from commands.placement import metrics
from commands.placement.frame import Bools, Demand, Floats, Ints
from commands.placement.insertion import (
    FITS,
    PairScorer,
    Reasons,
    primary_reasons,
    secondary_reasons,
    single_scores,
)
from commands.placement.model import (
    ALLOC_POLICIES,
    NO_NODE,
    UNALLOCABLE,
    FailMode,
    Group,
    Instance,
    policy_violation,
)
from commands.placement.options import Options
from commands.placement.redundancy import failovers, redundant
from commands.placement.state import Placement


class Unplaced(Exception):
    """No place for an instance; the message says why, for people."""


@dataclass(slots=True)
class Solution:
    """What trying all candidates gave."""

    failures: Counter[FailMode] = field(default_factory=Counter)
    successes: int = 0
    nodes: tuple[int, ...] = ()  # the chosen ones, primary first; empty if none
    score: float = 0.0

    @property
    def found(self) -> bool:
        """Whether there is a place."""
        return bool(self.nodes)

    def reasons(self) -> str:
        """How often each reason was met: `FailMem: 3, FailDisk: 1`."""
        return ", ".join(
            f"{mode.label}: {self.failures[mode]}" for mode in FailMode if self.failures[mode]
        )

    def describe(self, placement: Placement, score: str) -> str:
        """The solution in the words of the original; `score` is formatted by the caller."""
        if not self.found:
            known = self.reasons() if self.failures.total() else "unknown reasons"
            return f"No valid allocation solutions, failure reasons: {known}"
        names = "/".join(placement.frame.names[node] for node in self.nodes)
        return (
            f"score: {score}, successes {self.successes}, failures {self.failures.total()}"
            f" ({self.reasons()}) for node(s) {names}"
        )


def all_nodes(placement: Placement) -> Ints:
    """Every node of the cluster."""
    return np.arange(placement.frame.size)


def allocatable(placement: Placement, scope: Ints, options: Options) -> Ints:
    """The online nodes of a scope on which the options permit allocation."""
    online, _ = metrics.split_online(placement, scope)
    if options.restrict_to is None:
        return online
    names = placement.frame.names
    return np.array([n for n in online if names[n] in options.restrict_to], dtype=np.int64)


def allocate(
    placement: Placement, scope: Ints, instance: Instance, nodes: Ints, options: Options
) -> Solution:
    """Try `instance` on every one of `nodes`, or every pair of them in one group.

    Scores are of `scope`. Raises Unplaced if there are no nodes to try at all.
    """
    demand = placement.frame.demand(instance)
    if not instance.mirrored:
        if not len(nodes):
            raise Unplaced("No online nodes")
        return _single(placement, scope, instance, demand, nodes, options)
    groups = [nodes[placement.frame.group[nodes] == group] for group in _groups(placement, nodes)]
    groups = [found for found in groups if len(found) > 1]
    if not groups:
        raise Unplaced("Not enough online nodes")
    total = Solution()
    for found in groups:
        part = _pairs(placement, scope, instance, demand, found, found, options)
        _merge(total, part)
    return total


def allocate_pairs(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    primary: int,
    secondaries: Ints,
    options: Options,
) -> Solution:
    """Try `instance` with a given primary and each of some secondaries."""
    if not len(secondaries):
        raise Unplaced("Not enough online nodes")
    nodes = np.concatenate([[primary], secondaries])
    demand = placement.frame.demand(instance)
    rows = np.array([primary])
    return _pairs(placement, scope, instance, demand, rows, nodes, options)


def appraise(placement: Placement, instance: Instance, nodes: Ints, options: Options) -> Solution:
    """As `allocate` without checks, but only count what fits and what not: no choice, no score."""
    demand = placement.frame.demand(instance)
    found = Solution()
    for group in _groups(placement, nodes):
        inside = nodes[placement.frame.group[nodes] == group]
        first = _first_reasons(placement, instance, demand, inside, options)
        if not instance.mirrored:
            reasons = first
        else:
            second = secondary_reasons(placement, demand, inside, inside)
            reasons = np.where(first[:, None] == FITS, second, first[:, None])
            reasons = reasons[~np.eye(len(inside), dtype=np.bool_)]
        _count(found.failures, reasons)
        found.successes += int(np.count_nonzero(reasons == FITS))
    return found


def _first_reasons(
    placement: Placement, instance: Instance, demand: Demand, nodes: Ints, options: Options
) -> Reasons:
    """Why each node cannot be the primary: its group's policy first, then its limits."""
    policy = _policy_reasons(placement, instance, nodes)
    fitting = primary_reasons(placement, demand, nodes, force=options.ignore_soft_errors)
    return np.where(policy == FITS, fitting, policy)


def _groups(placement: Placement, nodes: Ints) -> list[int]:
    # Not numpy.unique: for a few numbers a set is ten times as fast.
    return sorted(set(placement.frame.group[nodes].tolist()))


def _merge(total: Solution, part: Solution) -> None:
    """Add the results of one group of pairs; of equal scores the later one wins."""
    total.failures.update(part.failures)
    total.successes += part.successes
    if part.found and not (total.found and total.score < part.score):
        total.nodes, total.score = part.nodes, part.score


def _policy_reasons(placement: Placement, instance: Instance, nodes: Ints) -> Reasons:
    """By node, why its group's policy forbids the instance; one look for nodes that are alike."""
    frame = placement.frame
    found = np.full(len(nodes), FITS, dtype=np.int8)
    alike = frame.group[nodes] * 2 + frame.exclusive[nodes]
    for kind in set(alike.tolist()):
        policy = frame.cluster.groups[kind // 2].policy
        reason = policy_violation(instance, policy, exclusive_storage=bool(kind % 2))
        if reason is not None:
            found[alike == kind] = reason
    return found


def _count(failures: Counter[FailMode], reasons: Reasons) -> None:
    counts = np.bincount(reasons.ravel() + 1, minlength=len(FailMode) + 1)
    for mode in FailMode:
        failures[mode] += int(counts[mode + 1])


def _single(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    demand: Demand,
    nodes: Ints,
    options: Options,
) -> Solution:
    reasons = _first_reasons(placement, instance, demand, nodes, options)
    solution = Solution()
    _count(solution.failures, reasons)
    good = nodes[reasons == FITS]
    if not len(good):
        return solution
    scores = single_scores(placement, scope, demand, good)
    # Ascending by score; of equal ones the later node first.
    order = np.lexsort((-np.arange(len(good)), scores))
    for rank, position in enumerate(order):
        node = int(good[position])
        if not options.capacity_checks or _stays_redundant(
            placement, scope, instance, (node,), options
        ):
            solution.nodes, solution.score = (node,), float(scores[position])
            solution.successes = len(good) - rank
            break
        solution.failures[FailMode.N1] += 1
    return solution


def _stays_redundant(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    nodes: tuple[int, ...],
    options: Options,
) -> bool:
    trial = placement.copy()
    trial.add(instance, nodes[0], nodes[1] if len(nodes) > 1 else NO_NODE)
    return redundant(trial, scope, options)


def _pairs(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    demand: Demand,
    primaries: Ints,
    nodes: Ints,
    options: Options,
) -> Solution:
    """Pairs of one group; `primaries` are the first of `nodes`, or all of them."""
    rows = len(primaries)
    first = _first_reasons(placement, instance, demand, primaries, options)
    second = secondary_reasons(placement, demand, primaries, nodes)
    reasons = np.where(first[:, None] == FITS, second, first[:, None])
    same = primaries[:, None] == nodes[None, :]
    solution = Solution()
    _count(solution.failures, reasons[~same])
    good = (reasons == FITS) & ~same
    if not good.any():
        return solution
    scores = PairScorer(placement, scope).scores(demand, nodes)[:rows]
    scores[~good] = np.inf
    check = _pair_check(placement, scope, instance, demand, primaries, nodes, options)
    for row in range(rows):
        _best_of_row(solution, row, primaries, nodes, scores[row], good[row], check)
    return solution


PairCheck = Callable[[int, int], bool]


def _best_of_row(
    solution: Solution,
    row: int,
    primaries: Ints,
    nodes: Ints,
    scores: Floats,
    good: Bools,
    check: PairCheck,
) -> None:
    """Take the best secondary of one primary that passes the check."""
    total = int(np.count_nonzero(good))
    if not total:
        return
    best = len(scores) - 1 - int(scores[::-1].argmin())
    dropped = 0
    if not check(row, best):
        order = np.lexsort((-np.arange(len(scores)), scores))[:total]
        best = NO_NODE
        for column in order:
            if check(row, int(column)):
                best = int(column)
                break
            dropped += 1
    solution.failures[FailMode.N1] += dropped
    solution.successes += total - dropped
    if best != NO_NODE and not (solution.found and solution.score < scores[best]):
        solution.nodes = int(primaries[row]), int(nodes[best])
        solution.score = float(scores[best])


def _pair_check(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    demand: Demand,
    primaries: Ints,
    nodes: Ints,
    options: Options,
) -> PairCheck:
    """Whether the cluster is globally redundant with the instance on a pair."""
    if not options.capacity_checks:
        return lambda row, column: True
    mirrored_only = all(
        placement.instances[index].mirrored for found in placement.primaries for index in found
    )
    if not mirrored_only or instance.forthcoming or placement.frame.exclusive.any():
        return lambda row, column: _stays_redundant(
            placement,
            scope,
            instance,
            (int(primaries[row]), int(nodes[column])),
            options,
        )
    table = _redundant_pairs(placement, scope, demand, primaries, nodes, options)
    return lambda row, column: bool(table[row, column])


def _redundant_pairs(
    placement: Placement,
    scope: Ints,
    demand: Demand,
    primaries: Ints,
    nodes: Ints,
    options: Options,
) -> Bools:
    """Redundancy after each pair, for clusters of DRBD alone.

    Failing nodes are columns of `arriving`, receiving ones rows. With the instance on (p, s), p has
    less to receive with, and s receives more if p fails; nothing else changes.
    """
    frame, state = placement.frame, placement
    counted = np.zeros(frame.size, dtype=np.bool_)
    counted[scope] = True
    if options.accept_existing:
        counted &= ~frame.offline
    if options.ignored_groups:
        counted &= ~np.isin(frame.group, np.array(sorted(options.ignored_groups)))
    found = failovers(placement)
    arriving = np.where(counted[None, :], found.arriving, -1)
    if (found.blocked & counted).any():
        return np.zeros((len(primaries), len(nodes)), dtype=np.bool_)
    worst = arriving.max(axis=1)  # -1 where nothing ever arrives
    free = state.unallocated
    short = (worst >= 0) & (worst >= free)
    # All but the two nodes of the pair must be well as they are.
    ill = int(np.count_nonzero(short))
    others = ill - short[primaries][:, None].astype(int) - short[nodes][None, :]
    good: Bools = others <= 0
    left = free[primaries] - demand.held
    good &= ((worst[primaries] < 0) | (worst[primaries] < left))[:, None]
    more = np.maximum(arriving[np.ix_(nodes, primaries)].T, 0) + demand.held
    more = np.where(counted[primaries][:, None], more, -1)
    received = np.maximum(worst[nodes][None, :], more)
    good &= (received < 0) | (received < free[nodes][None, :])
    if frame.can_receive is not None:
        good &= frame.can_receive[np.ix_(primaries, nodes)] | ~counted[primaries][:, None]
    # The hard limits on disk, which a failover meets again.
    good &= (state.free_disk[nodes] - demand.disk > 0)[None, :]
    return good & (state.free_disk[primaries] - demand.disk > 0)[:, None]


# --- groups -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GroupSolution:
    """The outcome of trying one group."""

    group: int
    solution: Solution | None
    problem: str = ""


def unconnected(group: Group, instance: Instance) -> bool:
    """Whether the group lacks a network that the instance needs."""
    return any(network not in group.networks for network in instance.networks)


def try_groups(
    placement: Placement, instance: Instance, options: Options, allowed: list[int] | None = None
) -> tuple[list[GroupSolution], list[int]]:
    """Try all groups with nodes (or the allowed ones); also those that lack a network.

    Scores are of the whole cluster, so that groups compare.
    """
    frame, groups = placement.frame, placement.frame.cluster.groups
    present = sorted(set(frame.group.tolist()))
    wanted = [group for group in present if allowed is None or group in allowed]
    cut_off = [group for group in wanted if unconnected(groups[group], instance)]
    found: list[GroupSolution] = []
    for group in wanted:
        if group in cut_off:
            continue
        scope = np.flatnonzero(frame.group == group)
        nodes = allocatable(placement, scope, options)
        try:
            solution = allocate(placement, all_nodes(placement), instance, nodes, options)
            found.append(GroupSolution(group, solution))
        except Unplaced as problem:
            found.append(GroupSolution(group, None, str(problem)))
    return found, cut_off


def best_group(placement: Placement, tried: list[GroupSolution]) -> GroupSolution | None:
    """The group to take: by allocation policy, then by score; of equal ones the later."""
    groups = placement.frame.cluster.groups
    usable = [
        one
        for one in tried
        if one.solution is not None
        and one.solution.found
        and groups[one.group].alloc_policy != UNALLOCABLE
    ]
    usable.reverse()

    def rank(one: GroupSolution) -> tuple[int, float]:
        assert one.solution is not None
        return ALLOC_POLICIES.index(groups[one.group].alloc_policy), one.solution.score

    return min(usable, key=rank, default=None)

"""One more instance: why each node or pair would refuse it, and the score with it.

All nodes (or ordered pairs) at once. The score of a single node is summed anew over the nodes; the
score of a pair is the present one with the statistics of two nodes replaced, with the operations
in the order in which htools makes them, so that equal scores are equal there as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from commands.placement import metrics
from commands.placement.frame import Bools, Demand, Floats, Ints
from commands.placement.metrics import COLUMNS
from commands.placement.model import FailMode
from commands.placement.state import Placement

Reasons = npt.NDArray[np.int8]
FITS: Final = -1


def primary_reasons(
    placement: Placement, demand: Demand, nodes: Ints, *, force: bool = False
) -> Reasons:
    """`admission.admit_primary` for many nodes: a FailMode for each, or FITS."""
    state, frame = placement, placement.frame
    found = np.full(len(nodes), FITS, dtype=np.int8)

    def refuse(mask: Bools | np.bool_, reason: FailMode) -> None:
        found[mask] = reason

    # Written from the last check to the first, so that the first one that fails stays.
    if not force:
        refuse(state.used_cpus_f[nodes] + demand.vcpus > frame.max_vcpus[nodes], FailMode.CPU)
        if demand.local:
            _promised_disk_reasons(placement, demand, nodes, found)
        refuse(state.free_memory_f[nodes] - demand.memory <= 0, FailMode.MEM)
    if demand.forthcoming:
        return found
    free = state.unallocated[nodes] - demand.held
    if not force:
        if demand.tags:
            present = (state.tag_counts[nodes][:, list(demand.tags)] > 0).any(axis=1)
            refuse(present, FailMode.TAGS)
        refuse(state.used_cpus[nodes] + demand.vcpus > frame.max_vcpus[nodes], FailMode.CPU)
        reserve = state.reserve[nodes]
        refuse((free <= reserve) & (state.unallocated[nodes] > reserve), FailMode.MEM)
    if demand.local:
        _disk_reasons(placement, demand, nodes, found, force=force)
    refuse(free <= 0, FailMode.MEM)
    return found


def _disk_reasons(
    placement: Placement, demand: Demand, nodes: Ints, found: Reasons, *, force: bool
) -> None:
    state, frame = placement, placement.frame
    exclusive = frame.exclusive[nodes]
    left = state.free_disk[nodes] - demand.disk
    if not force:
        over = state.inst_spindles[nodes] + demand.spindle_use > frame.high_spindles[nodes]
        found[over & ~exclusive] = FailMode.DISK
    if exclusive.any():
        short = np.full(len(nodes), demand.spindles is None)
        short |= state.free_spindles[nodes] < (demand.spindles or 0)
        found[short & exclusive] = FailMode.SPINDLES
    if not force:
        found[left < frame.low_disk[nodes]] = FailMode.DISK
    found[left <= 0] = FailMode.DISK


def _promised_disk_reasons(
    placement: Placement, demand: Demand, nodes: Ints, found: Reasons
) -> None:
    state, frame = placement, placement.frame
    exclusive = frame.exclusive[nodes]
    over = state.inst_spindles_f[nodes] + demand.spindle_use > frame.high_spindles[nodes]
    found[over & ~exclusive] = FailMode.DISK
    if exclusive.any():
        short = np.full(len(nodes), demand.spindles is None)
        short |= state.free_spindles_f[nodes] < (demand.spindles or 0)
        found[short & exclusive] = FailMode.SPINDLES
    left = state.free_disk_f[nodes] - demand.disk
    found[(left <= 0) | (left < frame.low_disk[nodes])] = FailMode.DISK


def secondary_reasons(
    placement: Placement, demand: Demand, primaries: Ints, secondaries: Ints
) -> Reasons:
    """`admission.admit_secondary` for every pair: one row per primary."""
    state = placement
    later = np.full(len(secondaries), FITS, dtype=np.int8)
    later[demand.reserved >= state.free_memory_f[secondaries]] = FailMode.MEM
    _promised_disk_reasons(placement, demand, secondaries, later)
    if not demand.mirrored:
        later[:] = FailMode.DISK
    shape = (len(primaries), len(secondaries))
    found = np.broadcast_to(later, shape).copy()
    if demand.forthcoming:
        return found
    free, reserve = state.unallocated[secondaries], state.reserve[secondaries]
    kept = state.peers[secondaries][:, primaries].T + demand.reserved
    found[(free <= kept) & (free > reserve)] = FailMode.MEM
    first = np.full(len(secondaries), FITS, dtype=np.int8)
    first[demand.reserved >= free] = FailMode.MEM
    _disk_reasons(placement, demand, secondaries, first, force=False)
    if not demand.mirrored:
        first[:] = FailMode.DISK
    found[:, first != FITS] = first[first != FITS]
    return found


def rows_with(placement: Placement, demand: Demand, nodes: Ints, *, primary: bool) -> Floats:
    """Per-node values once each of `nodes` has the instance; the reserve is left as it is."""
    state, frame = placement, placement.frame
    real = 0 if demand.forthcoming else 1
    dp = 1 if primary else 0
    memory, cpus, speed = frame.total_memory[nodes], frame.cpus[nodes], frame.cpu_speed[nodes]
    limit, shared = frame.high_spindles[nodes], ~frame.exclusive[nodes]
    use = demand.spindle_use * demand.local * shared
    spindles = demand.spindles or 0
    load = np.array(demand.load if primary else (0.0, 0.0, demand.load[2], 0.0)) * real
    out = np.empty((len(nodes), len(metrics.STD_NAMES)))
    columns = (
        metrics.ratio(state.unallocated[nodes] - dp * demand.held, memory),
        metrics.disk_ratio(
            state,
            nodes,
            state.free_disk[nodes] - real * demand.disk,
            state.free_spindles[nodes] - real * spindles,
        ),
        metrics.ratio(state.reserve[nodes], memory),
        metrics.ratio(
            metrics.ratio(state.used_cpus[nodes] + dp * real * demand.vcpus, cpus), speed
        ),
        *(state.load[nodes] + load).T,
        metrics.ratio(state.inst_spindles[nodes] + real * use, limit),
        metrics.ratio(state.free_memory_f[nodes] - dp * demand.memory, memory),
        metrics.disk_ratio(
            state,
            nodes,
            state.free_disk_f[nodes] - demand.disk,
            state.free_spindles_f[nodes] - spindles,
        ),
        metrics.ratio(metrics.ratio(state.used_cpus_f[nodes] + dp * demand.vcpus, cpus), speed),
        metrics.ratio(state.inst_spindles_f[nodes] + use, limit),
    )
    for column, found in enumerate(columns):
        out[:, column] = found
    return out


@dataclass(slots=True)
class TagChanges:
    """How the tag terms change, by new primary."""

    conflicts: Floats
    unmet: Floats
    pairs: Floats


def tag_changes(placement: Placement, scope: Ints, demand: Demand, nodes: Ints) -> TagChanges:
    """The tag terms that depend on the primary alone."""
    frame = placement.frame
    conflicts, unmet, pairs = (np.zeros(len(nodes)) for _ in range(3))
    real = not demand.forthcoming
    tags = list(demand.tags)
    if tags:
        conflicts += (placement.tag_counts[nodes][:, tags] > 0).sum(axis=1)
    if demand.unmet and real:
        met = frame.located[nodes][:, list(demand.wanted)].sum(axis=1)
        unmet += demand.unmet - met
    if tags and frame.location_names and real:
        online, _ = metrics.split_online(placement, scope)
        present = metrics.location_pairs(placement, online)[:, tags] > 0
        pairs += (frame.located[nodes].astype(np.int64) @ present.astype(np.int64)).sum(axis=1)
    return TagChanges(conflicts, unmet, pairs)


def single_scores(placement: Placement, scope: Ints, demand: Demand, nodes: Ints) -> Floats:
    """The score of the scope with the instance on each of some of its nodes."""
    online, _ = metrics.split_online(placement, scope)
    base = metrics.detail(placement, scope)
    rows = rows_with(placement, demand, nodes, primary=True)
    place = np.full(placement.frame.size, -1)
    place[online] = np.arange(len(online))
    table = np.repeat(metrics.values(placement, online)[:, :, None], len(nodes), axis=2)
    where = place[nodes]
    seen = np.flatnonzero(where >= 0)
    table[where[seen], :, seen] = rows[seen]
    spread, total = metrics.deviations(table)
    real = not demand.forthcoming
    size = placement.primary_count[nodes] + placement.secondary_count[nodes]
    failing = placement.unallocated[nodes] - demand.held <= placement.reserve[nodes]
    n1 = failing * (size + real) - placement.fails_n1(nodes) * size
    tags = tag_changes(placement, scope, demand, nodes)
    offline = placement.frame.offline[nodes] * float(real)
    changes = {
        "n1_cnt": np.where(where >= 0, n1, 0),
        "offline_all_cnt": offline,
        "offline_pri_cnt": offline,
        "pri_tags_score": np.where(where >= 0, tags.conflicts, 0),
        "location_score": np.where(where >= 0, tags.unmet, 0),
        "location_exclusion_score": np.where(where >= 0, tags.pairs, 0),
    }
    score = np.zeros(len(nodes))
    for metric, value in zip(metrics.METRICS, base, strict=True):
        if metric.kind == metrics.STD:
            term: Floats = spread[COLUMNS[metric.name]]
        elif metric.name == "reserved_mem_rtotal":
            term = total[metrics.RESERVED]
        else:
            term = value + changes[metric.name]
        score = score + metric.weight * term
    return score


@dataclass(slots=True)
class _Statistic:
    """Count, sum and variance of one metric, with one value after another replaced."""

    count: float
    total: Floats
    variance: Floats

    def replaced(self, old: Floats, new: Floats) -> _Statistic:
        """With `old` replaced by `new`; the formula and its order are htools'."""
        change = new - old
        squares = new * new - old * old
        grown = (self.count * squares - 2.0 * self.total * change) - change * change
        variance = np.maximum(0.0, self.variance + grown / (self.count * self.count))
        return _Statistic(self.count, self.total + change, variance)


class PairScorer:
    """Scores of ordered pairs of online nodes in one state; shared by the groups of a cluster."""

    def __init__(self, placement: Placement, scope: Ints) -> None:
        self._placement, self._scope = placement, scope
        self._online, _ = metrics.split_online(placement, scope)
        self._base = metrics.detail(placement, scope)
        table = metrics.values(placement, self._online)
        total = np.add.reduce(table, axis=0)
        centred = table - total / len(table)
        self._total = total
        self._variance = np.add.reduce(centred * centred, axis=0) / len(table)

    def scores(self, demand: Demand, nodes: Ints) -> Floats:
        """One row per primary, one column per secondary; the diagonal means nothing."""
        state = self._placement
        old = metrics.values(state, nodes)
        as_primary = rows_with(state, demand, nodes, primary=True)
        as_secondary = rows_with(state, demand, nodes, primary=False)
        tags = tag_changes(state, self._scope, demand, nodes)
        shared = self._shared_locations(demand, nodes)
        kept = self._kept(demand, nodes)
        score: Floats = np.zeros((len(nodes), len(nodes)))
        for metric, value in zip(metrics.METRICS, self._base, strict=True):
            match metric.name:
                case "reserved_mem_cv":
                    reserved = self._statistic(metrics.RESERVED).replaced(
                        old[:, metrics.RESERVED], kept
                    )
                    term: Floats | float = np.sqrt(reserved.variance)
                case "reserved_mem_rtotal":
                    # The primary's part does not change: adding its zero changes nothing.
                    term = value + (kept - old[:, metrics.RESERVED])
                case "n1_cnt":
                    term = value + self._n1(demand, nodes)
                case "pri_tags_score":
                    term = value + tags.conflicts[:, None]
                case "location_score":
                    term = value + (shared + tags.unmet[:, None])
                case "location_exclusion_score":
                    term = value + tags.pairs[:, None]
                case name if metric.kind == metrics.STD:
                    column = COLUMNS[name]
                    found = self._statistic(column).replaced(old[:, column], as_primary[:, column])
                    before, after = old[:, column], as_secondary[:, column]
                    total, variance = found.total[:, None], found.variance[:, None]
                    found = _Statistic(found.count, total, variance)
                    if not np.array_equal(before, after):
                        found = found.replaced(before[None, :], after[None, :])
                    term = np.sqrt(found.variance)
                case _:
                    term = value
            score = score + metric.weight * term
        return score

    def _statistic(self, column: int) -> _Statistic:
        return _Statistic(float(len(self._online)), self._total[column], self._variance[column])

    def _kept_memory(self, demand: Demand, nodes: Ints) -> Ints:
        """Reserve of each secondary (columns) for each primary (rows)."""
        state = self._placement
        if demand.forthcoming:
            return np.broadcast_to(state.reserve[nodes], (len(nodes), len(nodes)))
        peers = state.peers[np.ix_(nodes, nodes)].T + demand.reserved
        kept: Ints = np.maximum(state.reserve[nodes], peers)
        return kept

    def _kept(self, demand: Demand, nodes: Ints) -> Floats:
        memory = self._placement.frame.total_memory[nodes]
        return metrics.ratio(self._kept_memory(demand, nodes), memory)

    def _n1(self, demand: Demand, nodes: Ints) -> Floats:
        state = self._placement
        real = not demand.forthcoming
        size = state.primary_count[nodes] + state.secondary_count[nodes]
        before = state.fails_n1(nodes) * size
        free = state.unallocated[nodes]
        failing_p = (free - demand.held <= state.reserve[nodes]) * (size + real) - before
        failing_s = (free <= self._kept_memory(demand, nodes)) * (size + real) - before
        found: Floats = (failing_p[:, None] + failing_s).astype(np.float64)
        return found

    def _shared_locations(self, demand: Demand, nodes: Ints) -> Floats:
        located = self._placement.frame.located[nodes].astype(np.float64)
        if demand.forthcoming or not located.shape[1]:
            return np.zeros((1, 1))
        shared: Floats = located @ located.T
        return shared

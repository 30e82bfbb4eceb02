"""Placing many equal DRBD instances, one after the other, as fast as one node pair changes.

The same choice as `allocate` without capacity checks, but between two instances only what the last
one changed is worked out anew: the rows of its two nodes, and one column of the reserves. Scores of
all pairs are then a few operations on small arrays. They are summed in another order than in
`allocate`, so pairs within rounding of the best are decided by its exact score.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from commands.placement import metrics
from commands.placement.frame import Demand, Floats, Ints
from commands.placement.insertion import (
    FITS,
    PairScorer,
    primary_reasons,
    rows_with,
    secondary_reasons,
)
from commands.placement.metrics import COLUMNS, RESERVED
from commands.placement.model import Instance, policy_violation
from commands.placement.options import Options
from commands.placement.state import Placement

_TIE: Final = 1e-9

#: Two nodes thrice: as they are, with a primary more, with a secondary more.
_PRIMARY_PART: Final = np.array([0, 0, 1, 1, 0, 0])
_EITHER_PART: Final = np.array([0, 0, 1, 1, 1, 1])

#: Columns that a secondary changes too, apart from the reserve.
_MEMBER: Final = [
    COLUMNS[name]
    for name in (
        "free_disk_cv",
        "disk_load_cv",
        "spindles_cv",
        "free_disk_cv_forth",
        "spindles_cv_forth",
    )
]
_PRIMARY: Final = [
    column for column in range(len(COLUMNS)) if column not in _MEMBER and column != RESERVED
]


class Packer:
    """Places instances like `instance`, which has no tags, on pairs of `nodes`."""

    def __init__(
        self,
        placement: Placement,
        scope: Ints,
        instance: Instance,
        nodes: Ints,
        options: Options,
    ) -> None:
        self._state, self._scope, self._nodes = placement, scope, nodes
        self._instance = instance
        self._demand: Demand = placement.frame.demand(instance)
        assert not self._demand.tags, instance.tags
        assert not self._demand.unmet, instance.tags
        self._force = options.ignore_soft_errors
        frame = placement.frame
        self._online, _ = metrics.split_online(placement, scope)
        self._place = np.full(frame.size, -1)
        self._place[self._online] = np.arange(len(self._online))
        self._memory = frame.total_memory[nodes]
        comply = [
            policy_violation(
                instance, frame.policy(int(n)), exclusive_storage=bool(frame.exclusive[n])
            )
            is None
            for n in nodes
        ]
        self._comply = np.array(comply, dtype=np.bool_)
        same_group = frame.group[nodes][:, None] == frame.group[nodes][None, :]
        np.fill_diagonal(same_group, False)
        self._pairable = same_group
        located = frame.located[nodes].astype(np.float64)
        self._shared = located @ located.T if located.shape[1] else np.zeros((1, 1))
        totals = (frame.total_memory, frame.total_disk, frame.cpus, frame.high_spindles)
        self._simple = not frame.exclusive.any() and all(bool(one.all()) for one in totals)
        self._simple = self._simple and not instance.forthcoming
        load = np.array(self._demand.load)
        disk_load = load * np.array([0.0, 0.0, 1.0, 0.0])
        self._loads = np.stack([load * 0.0] * 2 + [load] * 2 + [disk_load] * 2)
        self._fill()

    def _fill(self) -> None:
        """Work out everything for the present state."""
        state, nodes, demand = self._state, self._nodes, self._demand
        self._table = metrics.values(state, self._online)
        self._old = metrics.values(state, nodes).T.copy()
        self._as_primary = rows_with(state, demand, nodes, primary=True).T.copy()
        self._as_secondary = rows_with(state, demand, nodes, primary=False).T.copy()
        first = primary_reasons(state, demand, nodes, force=self._force) == FITS
        self._good = (first & self._comply)[:, None] & self._pairable
        self._good &= secondary_reasons(state, demand, nodes, nodes) == FITS
        kept = np.maximum(
            state.reserve[nodes], state.peers[np.ix_(nodes, nodes)].T + demand.reserved
        )
        self._kept = metrics.ratio(kept, self._memory)
        self._failing = state.fails_n1(nodes).astype(np.float64)

    def fill(self, limit: int | None, named_from: int) -> int:
        """Place instances until none fits, or `limit`; return how many. They are named in turn."""
        count = 0
        while count != limit:
            nodes = self.place()
            if nodes is None:
                break
            named = msgspec.structs.replace(self._instance, name=f"new-{named_from + count}")
            self._state.add(named, *nodes)
            self.update(*nodes)
            count += 1
        return count

    def place(self) -> tuple[int, int] | None:
        """Choose the pair for the next instance; None if none fits. Changes nothing."""
        if not self._good.any():
            return None
        scores = np.where(self._good, self._scores(), np.inf)
        best = float(scores.min())
        near = np.flatnonzero(scores.ravel() <= best + _TIE)
        if len(near) == 1:
            row, column = divmod(int(near[0]), len(self._nodes))
        else:
            row, column = self._decide(near)
        return int(self._nodes[row]), int(self._nodes[column])

    def _decide(self, near: Ints) -> tuple[int, int]:
        """The lowest exact score; of equal ones the last pair, the better secondary first."""
        scorer = PairScorer(self._state, self._scope)
        rows, columns = np.divmod(near, len(self._nodes))
        involved = np.unique(np.concatenate([rows, columns]))
        exact = scorer.scores(self._demand, self._nodes[involved])
        position = np.searchsorted(involved, rows), np.searchsorted(involved, columns)
        found = exact[position]
        chosen = len(found) - 1 - int(found[::-1].argmin())
        return int(rows[chosen]), int(columns[chosen])

    def _scores(self) -> Floats:
        """Scores of all pairs, but for what is the same for all of them."""
        count = float(len(self._table))
        total = np.add.reduce(self._table, axis=0)
        centred = self._table - total / count
        squares = np.add.reduce(centred * centred, axis=0)
        # Changes of the sums when a node becomes primary: values are taken from the mean, which
        # keeps the numbers small.
        mean = (total / count)[:, None]
        old = self._old - mean
        new = self._as_primary - mean
        change = new - old
        spread = (squares[:, None] + new * new - old * old) - change * change / count
        found = np.sqrt(np.maximum(spread[_PRIMARY] / count, 0.0))
        score = (metrics.STD_WEIGHTS[_PRIMARY] @ found)[:, None]
        member_change = (self._as_secondary - self._old)[_MEMBER]
        later = self._as_secondary[_MEMBER] - mean[_MEMBER]
        before = old[_MEMBER]
        grown = later * later - before * before
        first = (squares[:, None] + new * new - old * old)[_MEMBER]
        both = change[_MEMBER][:, :, None] + member_change[:, None, :]
        spread = first[:, :, None] + grown[:, None, :] - both * both / count
        found = np.sqrt(np.maximum(spread / count, 0.0))
        score = score + np.tensordot(metrics.STD_WEIGHTS[_MEMBER], found, axes=1)
        whole: Floats = score + self._reserve_scores(count, total, squares)
        return whole + self._other_scores()

    def _reserve_scores(self, count: float, total: Floats, squares: Floats) -> Floats:
        mean = float(total[RESERVED]) / count
        old = self._old[RESERVED]
        change = self._kept - old
        moved = change * (self._kept + old - 2.0 * mean)
        spread = (float(squares[RESERVED]) + moved - change * change / count) / count
        found: Floats = np.sqrt(np.maximum(spread, 0.0)) + metrics.RESERVED_WEIGHT * change
        return found

    def _other_scores(self) -> Floats:
        """Failing nodes, which may fill up further, and shared failure domains."""
        return self._failing[:, None] + self._failing[None, :] + self._shared

    def _refresh_rows(self, changed: Ints, rows: Ints) -> None:
        """The values of two nodes: as they are, as a primary's, and as a secondary's, at once.

        For nodes that have all resources and no exclusive storage; the operations are those of
        `metrics.values` and `insertion.rows_with`.
        """
        state, frame, demand = self._state, self._state.frame, self._demand
        nodes = np.concatenate([changed, changed, changed])
        memory, disk = frame.total_memory[nodes], frame.total_disk[nodes]
        cpus, speed = frame.cpus[nodes], frame.cpu_speed[nodes]
        limit = frame.high_spindles[nodes]
        found = np.empty((len(COLUMNS), 6))
        found[0] = (state.unallocated[nodes] - _PRIMARY_PART * demand.held) / memory
        found[1] = (state.free_disk[nodes] - _EITHER_PART * demand.disk) / disk
        found[2] = state.reserve[nodes] / memory
        found[3] = (state.used_cpus[nodes] + _PRIMARY_PART * demand.vcpus) / cpus / speed
        found[4:8] = (state.load[nodes] + self._loads).T
        found[8] = (state.inst_spindles[nodes] + _EITHER_PART * demand.spindle_use) / limit
        found[9] = (state.free_memory_f[nodes] - _PRIMARY_PART * demand.memory) / memory
        found[10] = (state.free_disk_f[nodes] - _EITHER_PART * demand.disk) / disk
        found[11] = (state.used_cpus_f[nodes] + _PRIMARY_PART * demand.vcpus) / cpus / speed
        found[12] = (state.inst_spindles_f[nodes] + _EITHER_PART * demand.spindle_use) / limit
        self._table[self._place[changed]] = found[:, :2].T
        self._old[:, rows] = found[:, :2]
        self._as_primary[:, rows] = found[:, 2:4]
        self._as_secondary[:, rows] = found[:, 4:]

    def update(self, primary: int, secondary: int) -> None:
        """Take over that an instance was put on a pair."""
        state, demand, nodes = self._state, self._demand, self._nodes
        changed = np.array([primary, secondary])
        rows = np.searchsorted(nodes, changed)
        if self._simple:
            self._refresh_rows(changed, rows)
        else:
            fresh = metrics.values(state, changed)
            self._table[self._place[changed]] = fresh
            self._old[:, rows] = fresh.T
            self._as_primary[:, rows] = rows_with(state, demand, changed, primary=True).T
            self._as_secondary[:, rows] = rows_with(state, demand, changed, primary=False).T
        column = int(rows[1])
        peers = state.peers[secondary][nodes] + demand.reserved
        kept = np.maximum(peers, state.reserve[secondary])
        memory = self._memory[column]
        self._kept[:, column] = kept / memory if memory else 0.0
        self._failing[rows] = state.fails_n1(changed)
        first = primary_reasons(state, demand, changed, force=self._force) == FITS
        first &= self._comply[rows]
        for position, row in enumerate(rows):
            if not first[position]:
                self._good[row] = False
        second = secondary_reasons(state, demand, nodes, changed) == FITS
        self._good[:, rows] &= second

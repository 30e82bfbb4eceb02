"""The inner loop of `packing`: what one placement changes, in as few operations as possible.

On a small cluster the time of a step is the number of array operations, not their size. So amounts
are kept as plain numbers by node, and arrays only hold what the scores of all pairs are made of:
by how much sum and sum of squares of each statistic change if a node becomes primary or secondary.
After a placement two of their columns are written anew.

Values are taken from a fixed point, a whole number for the loads: variances of whole numbers are
then exact, and zero is zero.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.frame import Bools, Demand, Floats, Ints
from commands.placement.metrics import COLUMNS, RESERVED
from commands.placement.state import Placement

#: Columns that a secondary changes too, apart from the reserve, and the others.
MEMBER: Final = [
    COLUMNS[name]
    for name in (
        "free_disk_cv",
        "disk_load_cv",
        "spindles_cv",
        "free_disk_cv_forth",
        "spindles_cv_forth",
    )
]
PRIMARY: Final = [
    column for column in range(len(COLUMNS)) if column not in MEMBER and column != RESERVED
]
_LOADS: Final = [COLUMNS[f"{name}_load_cv"] for name in ("cpu", "mem", "disk", "net")]


class Stream:
    """Scores of all pairs of `nodes` for one more instance of a demand, kept up to date.

    For nodes without exclusive storage that have all resources; `packing` looks after the limits.
    """

    def __init__(self, state: Placement, scope: Ints, demand: Demand, nodes: Ints) -> None:
        frame = state.frame
        self._demand = demand
        self._count = len(metrics.split_online(state, scope)[0])
        table = metrics.values(state, metrics.split_online(state, scope)[0])
        centre = table.mean(axis=0)
        centre[_LOADS] = np.round(centre[_LOADS])
        self._centre: list[float] = centre.tolist()
        table = table - centre
        self._total: list[float] = table.sum(axis=0).tolist()
        self._squares: list[float] = (table * table).sum(axis=0).tolist()
        self._memory: list[float] = frame.total_memory[nodes].tolist()
        self._disk: list[float] = frame.total_disk[nodes].tolist()
        self._cpus: list[float] = frame.cpus[nodes].tolist()
        self._speed: list[float] = frame.cpu_speed[nodes].tolist()
        self._limit: list[float] = frame.high_spindles[nodes].tolist()
        self._amounts: list[list[float]] = [
            [float(one) for one in row]
            for row in zip(
                state.unallocated[nodes].tolist(),
                state.free_disk[nodes].tolist(),
                state.used_cpus[nodes].tolist(),
                state.inst_spindles[nodes].tolist(),
                state.free_memory_f[nodes].tolist(),
                state.free_disk_f[nodes].tolist(),
                state.used_cpus_f[nodes].tolist(),
                state.inst_spindles_f[nodes].tolist(),
                *state.load[nodes].T.tolist(),
                strict=True,
            )
        ]
        self.reserve: list[int] = state.reserve[nodes].tolist()
        self.peers = state.peers[np.ix_(nodes, nodes)]
        located = frame.located[nodes].astype(np.float64)
        failing = state.fails_n1(nodes).astype(np.float64)
        #: Nodes that fail N+1 may fill up further; nothing makes another one fail.
        self._fixed = located @ located.T + failing[:, None] + failing[None, :]
        size = len(nodes)
        self._rows = np.zeros((4, len(COLUMNS), size))  # change and growth, primary and secondary
        self._kept_change = np.zeros((size, size))
        self._kept_growth = np.zeros((size, size))
        self._now: list[list[float]] = [[] for _ in range(size)]
        for row in range(size):
            self._now[row] = self._write(row)
            self._write_kept(row)
        self._weights = metrics.STD_WEIGHTS[PRIMARY], metrics.STD_WEIGHTS[MEMBER]

    def _values(self, row: int, *, primary: int, either: int) -> list[float]:
        """The values of a node with that many instances more, from the fixed point."""
        demand, memory, disk = self._demand, self._memory[row], self._disk[row]
        cpus, speed, limit = self._cpus[row], self._speed[row], self._limit[row]
        free, space, used, spindles, free_f, space_f, used_f, spindles_f = self._amounts[row][:8]
        cpu, mem, dsk, net = self._amounts[row][8:]
        found = (
            (free - primary * demand.held) / memory,
            (space - either * demand.disk) / disk,
            self.reserve[row] / memory,
            (used + primary * demand.vcpus) / cpus / speed,
            cpu + primary * demand.load[0],
            mem + primary * demand.load[1],
            dsk + either * demand.load[2],
            net + primary * demand.load[3],
            (spindles + either * demand.spindle_use) / limit,
            (free_f - primary * demand.memory) / memory,
            (space_f - either * demand.disk) / disk,
            (used_f + primary * demand.vcpus) / cpus / speed,
            (spindles_f + either * demand.spindle_use) / limit,
        )
        return [value - centre for value, centre in zip(found, self._centre, strict=True)]

    def _write(self, row: int) -> list[float]:
        """Write the columns of a node; return its values as they are."""
        now = self._values(row, primary=0, either=0)
        first = self._values(row, primary=1, either=1)
        second = self._values(row, primary=0, either=1)
        self._rows[:, :, row] = (
            [y - x for x, y in zip(now, first, strict=True)],
            [y * y - x * x for x, y in zip(now, first, strict=True)],
            [y - x for x, y in zip(now, second, strict=True)],
            [y * y - x * x for x, y in zip(now, second, strict=True)],
        )
        return now

    def _write_kept(self, row: int) -> None:
        """Write what a node would keep as secondary, by primary."""
        memory, centre = self._memory[row], self._centre[RESERVED]
        now = self.reserve[row] / memory - centre
        kept = np.maximum(self.peers[row] + self._demand.reserved, self.reserve[row])
        then = kept / memory - centre
        self._kept_change[:, row] = then - now
        self._kept_growth[:, row] = then * then - now * now

    def place(self, primary: int, secondary: int) -> None:
        """Take over an instance on a pair, given by positions."""
        demand, load = self._demand, self._demand.load
        one, two = self._amounts[primary], self._amounts[secondary]
        one[0] -= demand.held
        one[2] += demand.vcpus
        one[4] -= demand.memory
        one[6] += demand.vcpus
        for position in range(4):
            one[8 + position] += load[position]
        two[10] += load[2]
        for amounts in (one, two):
            amounts[1] -= demand.disk
            amounts[5] -= demand.disk
            amounts[3] += demand.spindle_use
            amounts[7] += demand.spindle_use
        kept = int(self.peers[secondary, primary]) + demand.reserved
        self.peers[secondary, primary] = kept
        self.reserve[secondary] = max(self.reserve[secondary], kept)
        for row in (primary, secondary):
            old, new = self._now[row], self._write(row)
            for column, (was, now) in enumerate(zip(old, new, strict=True)):
                self._total[column] += now - was
                self._squares[column] += now * now - was * was
            self._now[row] = new
        self._write_kept(secondary)

    def scores(self, good: Bools) -> Floats:
        """Scores of all pairs but for what they share; infinite where not `good`."""
        count = self._count
        total, squares = np.array(self._total)[:, None], np.array(self._squares)[:, None]
        sums, grown = total + self._rows[0], squares + self._rows[1]
        lone = grown[PRIMARY] * count - sums[PRIMARY] ** 2
        np.maximum(lone, 0.0, out=lone)
        score = (self._weights[0] @ np.sqrt(lone, out=lone))[:, None]
        both = sums[MEMBER][:, :, None] + self._rows[2, MEMBER][:, None, :]
        pair = grown[MEMBER][:, :, None] + self._rows[3, MEMBER][:, None, :]
        pair *= count
        both *= both
        pair -= both
        np.maximum(pair, 0.0, out=pair)
        np.sqrt(pair, out=pair)
        score = score + (self._weights[1] @ pair.reshape(len(MEMBER), -1)).reshape(good.shape)
        kept = (self._kept_growth + squares[RESERVED]) * count
        kept -= (self._kept_change + total[RESERVED]) ** 2
        np.maximum(kept, 0.0, out=kept)
        score += np.sqrt(kept, out=kept)
        # All deviations were count times too large; what follows is not.
        score /= count
        score += metrics.RESERVED_WEIGHT * self._kept_change
        score += self._fixed
        score[~good] = np.inf
        return score

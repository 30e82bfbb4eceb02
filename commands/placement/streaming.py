"""The inner loop of `packing`: what one placement changes, in as few operations as possible.

On a small cluster the time of a step is the number of array operations, not their size. With x the
value of a node in one statistic, an instance adds a constant d to it, and x^2 grows by 2xd + d^2.
So a step adds a column of d to the values of each of the two nodes, and the scores of all pairs
follow from the values, from d, and from sum and sum of squares of each statistic. The reserve alone
depends on the pair; one column of it changes.

Values are taken from a fixed point, a whole number for the loads: variances of whole numbers are
then exact, and zero is zero.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.frame import Demand, Floats, Ints
from commands.placement.insertion import rows_with
from commands.placement.metrics import COLUMNS, RESERVED
from commands.placement.state import Placement

#: Statistics that a secondary changes too, apart from the reserve, and the others.
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
_LAST: Final = -1  # the row of the reserve
_LOADS: Final = [COLUMNS[f"{name}_load_cv"] for name in ("cpu", "mem", "disk", "net")]


class Stream:
    """Scores of all pairs of `nodes` for one more instance of a demand, kept up to date.

    For nodes without exclusive storage that have all resources; `packing` looks after the limits.
    """

    def __init__(self, state: Placement, scope: Ints, demand: Demand, nodes: Ints) -> None:
        frame, size = state.frame, len(nodes)
        online, _ = metrics.split_online(state, scope)
        self._reserved, self._count = demand.reserved, len(online)
        table = metrics.values(state, online)
        centre = table.mean(axis=0)
        centre[_LOADS] = np.round(centre[_LOADS])
        table = table - centre
        self._total, self._squares = table.sum(axis=0), (table * table).sum(axis=0)
        now = metrics.values(state, nodes)
        first = rows_with(state, demand, nodes, primary=True) - now
        second = rows_with(state, demand, nodes, primary=False) - now
        alone = _merged(_PRIMARY, (now, first, second))
        shared = _merged(_MEMBER, (now, first, second))
        order = [*alone, *shared, RESERVED]
        self._alone, self._shared = slice(0, len(alone)), slice(len(alone), len(order) - 1)
        self._weights = np.array(list(alone.values())), np.array(list(shared.values()))
        self._total, self._squares = self._total[order], self._squares[order]
        self._x: Floats = (now - centre).T[order].copy()
        self._as_primary, self._as_secondary = first.T[order].copy(), second.T[order].copy()
        self._twice = 2.0 * self._as_primary, 2.0 * self._as_secondary
        self._own = self._as_primary**2, self._as_secondary**2
        self._memory: list[float] = frame.total_memory[nodes].tolist()
        self._reserve_centre = float(centre[RESERVED])
        self._reserve: list[int] = state.reserve[nodes].tolist()
        self._peers = state.peers[np.ix_(nodes, nodes)]
        self._kept_change, self._kept_growth = np.zeros((size, size)), np.zeros((size, size))
        for row in range(size):
            self._write_kept(row)
        located = frame.located[nodes].astype(np.float64)
        failing = state.fails_n1(nodes).astype(np.float64)
        #: Nodes that fail N+1 may fill up further; nothing makes another one fail.
        fixed = located @ located.T + failing[:, None] + failing[None, :]
        self._fixed = fixed if fixed.any() else None

    def _write_kept(self, row: int) -> None:
        """Write what a node would keep as secondary, by primary."""
        memory = self._memory[row]
        now = self._reserve[row] / memory - self._reserve_centre
        kept = np.maximum(self._peers[row] + self._reserved, self._reserve[row])
        then = kept / memory - self._reserve_centre
        self._kept_change[:, row] = then - now
        self._kept_growth[:, row] = then * then - now * now

    def place(self, primary: int, secondary: int) -> None:
        """Take over an instance on a pair, given by positions."""
        for row, change in ((primary, self._as_primary), (secondary, self._as_secondary)):
            x, d = self._x[:, row], change[:, row]
            self._squares += d * (2.0 * x + d)
            self._total += d
            x += d
        kept = int(self._peers[secondary, primary]) + self._reserved
        self._peers[secondary, primary] = kept
        if kept > self._reserve[secondary]:
            self._total[_LAST] += self._kept_change[primary, secondary]
            self._squares[_LAST] += self._kept_growth[primary, secondary]
            self._reserve[secondary] = kept
        self._write_kept(secondary)

    def scores(self, barred: Floats) -> Floats:
        """Scores of all pairs but for what they share, plus `barred` (infinite: not possible)."""
        count = self._count
        total, squares = self._total[:, None], self._squares[:, None]
        sums = total + self._as_primary
        grown = self._twice[0] * self._x
        grown += self._own[0]
        grown += squares
        grown *= count
        lone = grown[self._alone] - sums[self._alone] ** 2
        np.maximum(lone, 0.0, out=lone)
        score = self._weights[0] @ np.sqrt(lone, out=lone)
        more = self._twice[1][self._shared] * self._x[self._shared]
        more += self._own[1][self._shared]
        more *= count
        both = sums[self._shared][:, :, None] + self._as_secondary[self._shared][:, None, :]
        both *= both
        pair = grown[self._shared][:, :, None] + more[:, None, :]
        pair -= both
        np.maximum(pair, 0.0, out=pair)
        np.sqrt(pair, out=pair)
        whole: Floats = (self._weights[1] @ pair.reshape(len(pair), -1)).reshape(barred.shape)
        whole += score[:, None]
        kept = self._kept_growth + float(self._squares[_LAST])
        kept *= count
        moved = self._kept_change + float(self._total[_LAST])
        moved *= moved
        kept -= moved
        np.maximum(kept, 0.0, out=kept)
        whole += np.sqrt(kept, out=kept)
        # All deviations are `count` times too large so far; what follows is not.
        whole *= 1.0 / count
        whole += metrics.RESERVED_WEIGHT * self._kept_change
        if self._fixed is not None:
            whole += self._fixed
        whole += barred
        return whole


def _merged(columns: list[int], arrays: tuple[Floats, ...]) -> dict[int, float]:
    """The first of the columns that are equal in all arrays, with the weights of all added.

    Mostly nothing is forthcoming, and a node's loads are all one per instance: then half of the
    statistics are the same, now and after every placement.
    """
    found: dict[int, float] = {}
    for column in columns:
        weight = float(metrics.STD_WEIGHTS[column])
        twin = next(
            (
                other
                for other in found
                if all(np.array_equal(one[:, column], one[:, other]) for one in arrays)
            ),
            column,
        )
        found[twin] = found.get(twin, 0.0) + weight
    return found

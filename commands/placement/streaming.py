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
    Statistics stand in this order: those of the primary alone, those of both, the reserve.
    """

    def __init__(self, state: Placement, scope: Ints, demand: Demand, nodes: Ints) -> None:
        frame, size = state.frame, len(nodes)
        online, _ = metrics.split_online(state, scope)
        self._reserved, self._count = demand.reserved, len(online)
        table = metrics.values(state, online)
        centre = table.mean(axis=0)
        centre[_LOADS] = np.round(centre[_LOADS])
        table = table - centre
        now = metrics.values(state, nodes)
        first = rows_with(state, demand, nodes, primary=True) - now
        second = rows_with(state, demand, nodes, primary=False) - now
        alone = _merged(_PRIMARY, (now, first, second))
        shared = _merged(_MEMBER, (now, first, second))
        order = [*alone, *shared, RESERVED]
        self._alone, self._pairs = slice(0, len(alone)), slice(len(alone), len(order))
        # All deviations below are `count` times too large.
        self._weights = (
            np.array(list(alone.values())) / self._count,
            np.array([*shared.values(), 1.0]) / self._count,
        )
        self._sums = np.stack([table.sum(axis=0)[order], (table * table).sum(axis=0)[order]])
        x = (now - centre)[:, order]
        change = first[:, order], second[:, order]
        # By node and role, what an instance adds to the sum and to the sum of squares; and by how
        # much the latter grows, in either role, with an instance in one.
        adds = [np.stack([d, d * (2.0 * x + d)], axis=1) for d in change]
        self._adds = np.stack(adds, axis=1)
        grows = [np.stack([2.0 * d * other for other in change], axis=1) for d in change]
        self._grows = np.stack(grows, axis=1)
        self._memory: list[float] = frame.total_memory[nodes].tolist()
        self._reserve_centre = float(centre[RESERVED])
        self._reserve: list[int] = state.reserve[nodes].tolist()
        self._peers = state.peers[np.ix_(nodes, nodes)]
        located = frame.located[nodes].astype(np.float64)
        failing = state.fails_n1(nodes).astype(np.float64)
        #: Nodes that fail N+1 may fill up further; nothing makes another one fail.
        self._fixed = located @ located.T + failing[:, None] + failing[None, :]
        self._flat = self._fixed.copy()  # what is no deviation
        # By pair: the secondary's part of the sums; last, what becomes of its reserve.
        planes = len(order) - len(alone)
        self._moved, self._grown = np.empty((2, planes, size, size))
        self._both = slice(len(alone), len(order) - 1)
        self._moved[:_LAST] = self._adds[:, 1, 0, self._both].T[:, None, :]
        self._grown[:_LAST] = self._adds[:, 1, 1, self._both].T[:, None, :]
        self._scratch = np.empty((2, planes, size, size))
        for row in range(size):
            self._write_kept(row)

    def _write_kept(self, row: int) -> None:
        """Write what a node would keep as secondary, by primary."""
        memory = self._memory[row]
        now = self._reserve[row] / memory - self._reserve_centre
        then = np.maximum(self._peers[row] + self._reserved, self._reserve[row]) / memory
        then -= self._reserve_centre
        moved = then - now
        self._moved[_LAST, :, row] = moved
        self._grown[_LAST, :, row] = then * then - now * now
        moved *= metrics.RESERVED_WEIGHT
        moved += self._fixed[:, row]
        self._flat[:, row] = moved

    def _write_one(self, primary: int, row: int, kept: int) -> None:
        """As `_write_kept`, where only what is kept for one primary has changed."""
        memory, reserve = self._memory[row], self._reserve[row]
        now = reserve / memory - self._reserve_centre
        then = max(kept + self._reserved, reserve) / memory - self._reserve_centre
        moved = then - now
        self._moved[_LAST, primary, row] = moved
        self._grown[_LAST, primary, row] = then * then - now * now
        self._flat[primary, row] = moved * metrics.RESERVED_WEIGHT + self._fixed[primary, row]

    def place(self, primary: int, secondary: int) -> None:
        """Take over an instance on a pair, given by positions."""
        for role, row in ((0, primary), (1, secondary)):
            adds = self._adds[row]
            self._sums += adds[role]
            adds[:, 1] += self._grows[row, role]
            self._grown[:_LAST, :, row] = adds[1, 1, self._both, None]
        kept = int(self._peers[secondary, primary]) + self._reserved
        self._peers[secondary, primary] = kept
        if kept <= self._reserve[secondary]:
            self._write_one(primary, secondary, kept)
            return
        self._sums[0, _LAST] += self._moved[_LAST, primary, secondary]
        self._sums[1, _LAST] += self._grown[_LAST, primary, secondary]
        self._reserve[secondary] = kept
        self._write_kept(secondary)

    def scores(self, barred: Floats) -> Floats:
        """Scores of all pairs but for what they share, plus `barred` (infinite: not possible)."""
        count = self._count
        after = self._adds[:, 0] + self._sums
        sums, squares = after[:, 0], after[:, 1]
        squares *= count
        lone = sums[:, self._alone]
        lone = squares[:, self._alone] - lone * lone
        np.maximum(lone, 0.0, out=lone)
        score = np.sqrt(lone, out=lone) @ self._weights[0]
        moved, grown = self._scratch
        np.add(self._moved, sums.T[self._pairs, :, None], out=moved)
        moved *= moved
        np.multiply(self._grown, count, out=grown)
        grown += squares.T[self._pairs, :, None]
        grown -= moved
        np.maximum(grown, 0.0, out=grown)
        np.sqrt(grown, out=grown)
        whole: Floats = (self._weights[1] @ grown.reshape(len(grown), -1)).reshape(barred.shape)
        whole += score[:, None]
        whole += self._flat
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

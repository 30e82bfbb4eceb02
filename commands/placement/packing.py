"""Placing many equal DRBD instances, one after the other.

The same choice as `allocate` without capacity checks, made from scores that are kept up to date
(`streaming`). Three things keep a step short: a node's limits are looked at again only once it may
have come near one; the placement is brought up to date only when somebody looks; and the exact
score decides only between pairs within rounding of the best.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from commands.placement.frame import UNLIMITED, Demand, Ints
from commands.placement.insertion import FITS, PairScorer, primary_reasons, secondary_reasons
from commands.placement.model import Instance, policy_violation
from commands.placement.options import Options
from commands.placement.state import Placement
from commands.placement.streaming import Stream

#: Beyond the error of the scores of `streaming`.
_TIE: Final = 1e-8


def packs(placement: Placement, nodes: Ints, instance: Instance) -> bool:
    """Whether `Packer` can place instances like this one on these nodes."""
    frame = placement.frame
    demand = frame.demand(instance)
    totals = (frame.total_memory, frame.total_disk, frame.cpus, frame.high_spindles)
    plain = not (demand.tags or demand.unmet or demand.forthcoming) and demand.mirrored
    return plain and not frame.exclusive.any() and all(bool(one[nodes].all()) for one in totals)


class Packer:
    """Places instances like `instance` on pairs of `nodes`; see `packs` for what it can."""

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
        self._force = options.ignore_soft_errors
        self._demand: Demand = placement.frame.demand(instance)
        self._stream = Stream(placement, scope, self._demand, nodes)
        frame = placement.frame
        groups = frame.group[nodes].tolist()
        policies = {group: frame.cluster.groups[group].policy for group in groups}
        comply = {
            group: policy_violation(instance, policy, exclusive_storage=False) is None
            for group, policy in policies.items()
        }
        self._comply = np.array([comply[group] for group in groups], dtype=np.bool_)
        good = frame.group[nodes][:, None] == frame.group[nodes][None, :]
        np.fill_diagonal(good, False)
        first = primary_reasons(placement, self._demand, nodes, force=self._force)
        good &= (self._comply & (first == FITS))[:, None]
        self._good = good & (secondary_reasons(placement, self._demand, nodes, nodes) == FITS)
        self._barred = np.where(self._good, 0.0, np.inf)
        # Instances that a node takes before it must be looked at: as primary, and in all.
        self._safe_first, self._safe = [0] * len(nodes), [0] * len(nodes)
        as_primary, as_secondary = self._good.any(axis=1).tolist(), self._good.any(axis=0).tolist()
        for row in range(len(nodes)):
            self._reckon(row, as_primary=as_primary[row], as_secondary=as_secondary[row])
        self._names: list[Instance] = []
        self._primaries: list[int] = []
        self._secondaries: list[int] = []

    def fill(self, limit: int | None, named_from: int) -> int:
        """Place instances until none fits, or `limit`; return how many. They are named in turn."""
        count = 0
        while count != limit:
            pair = self._choose()
            if pair is None:
                break
            name = f"new-{named_from + count}"
            self._names.append(msgspec.structs.replace(self._instance, name=name))
            self._primaries.append(int(self._nodes[pair[0]]))
            self._secondaries.append(int(self._nodes[pair[1]]))
            self._stream.place(*pair)
            self._safe_first[pair[0]] -= 1
            for row in pair:
                self._safe[row] -= 1
                if self._safe[row] <= 0 or self._safe_first[row] <= 0:
                    self._settle()
                    self._look(row)
            count += 1
        self._settle()
        return count

    def _settle(self) -> None:
        """Bring the placement up to date."""
        self._state.add_equal(self._names, self._primaries, self._secondaries)
        self._names, self._primaries, self._secondaries = [], [], []

    def _choose(self) -> tuple[int, int] | None:
        """Positions of the pair for the next instance; None if none fits."""
        scores = self._stream.scores(self._barred)
        first = int(scores.argmin())
        best = float(scores.flat[first])
        if best == float("inf"):
            return None
        near = scores <= best + _TIE
        if np.count_nonzero(near) == 1:
            return divmod(first, len(self._nodes))
        self._settle()
        return self._decide(np.flatnonzero(near))

    def _decide(self, near: Ints) -> tuple[int, int]:
        """The lowest exact score; of equal ones the last pair."""
        rows, columns = np.divmod(near, len(self._nodes))
        involved = np.array(sorted({*rows.tolist(), *columns.tolist()}))
        scorer = PairScorer(self._state, self._scope)
        exact = scorer.scores(self._demand, self._nodes[involved])
        found = exact[np.searchsorted(involved, rows), np.searchsorted(involved, columns)]
        chosen = len(found) - 1 - int(found[::-1].argmin())
        return int(rows[chosen]), int(columns[chosen])

    def _look(self, row: int) -> None:
        """Hold a node against its limits, in the present state. What no longer fits never will."""
        state, node = self._state, self._nodes[row : row + 1]
        good = self._good
        if good[row].any():
            first = primary_reasons(state, self._demand, node, force=self._force)[0]
            if first != FITS:
                good[row] = False
        if good[:, row].any():
            second = secondary_reasons(state, self._demand, self._nodes, node)[:, 0]
            good[:, row] &= second == FITS
        self._barred[row] = np.where(good[row], 0.0, np.inf)
        self._barred[:, row] = np.where(good[:, row], 0.0, np.inf)
        as_primary, as_secondary = bool(good[row].any()), bool(good[:, row].any())
        self._reckon(row, as_primary=as_primary, as_secondary=as_secondary)

    def _reckon(self, row: int, *, as_primary: bool, as_secondary: bool) -> None:
        """Work out how many instances a node takes before it must be looked at again."""
        if not as_primary and not as_secondary:
            self._safe_first[row] = self._safe[row] = UNLIMITED
            return
        alone, together = self._room(int(self._nodes[row]))
        self._safe_first[row] = max(1, alone - 1) if as_primary else UNLIMITED
        self._safe[row] = max(1, together - 1)

    def _room(self, node: int) -> tuple[int, int]:
        """How many instances fit on a node for certain: by what primaries use, and by the rest."""
        state, frame, demand = self._state, self._state.frame, self._demand

        def times(free: int, size: int) -> int:
            return free // size if size > 0 else UNLIMITED

        slack = int(state.unallocated[node] - state.reserve[node])
        disk = int(min(state.free_disk[node], state.free_disk_f[node]))
        spindles = max(float(state.inst_spindles[node]), float(state.inst_spindles_f[node]))
        vcpus = int(max(state.used_cpus[node], state.used_cpus_f[node]))
        promised = int(state.free_memory_f[node]) - max(demand.memory, demand.reserved)
        alone = min(
            times(promised - 1, demand.memory),
            times(int(frame.max_vcpus[node]) - vcpus, demand.vcpus),
        )
        together = min(
            times(slack - 1, max(demand.held, demand.reserved)),
            times(min(disk - 1, disk - int(frame.low_disk[node])), demand.disk),
            times(int(float(frame.high_spindles[node]) - spindles), demand.spindle_use),
        )
        return alone, together

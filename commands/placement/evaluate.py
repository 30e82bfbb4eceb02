"""All moves of many instances at once, to within rounding.

Theory. A move changes a standard deviation only through the sum S and the sum of squares Q of the
per-node values x (kept centred, so that little cancels): N var' = Q' - S'^2 / N. What a node t
gains from instance i is d_i c_t, so with A, B the sums after the losing node has changed,

    N var' = [A - B^2/N] + d_i (2 c_t x_t) - (d_i B) (2 c_t / N) + d_i^2 c_t^2 (1 - 1/N)

which is one product of a (rows x 4) with a (4 x nodes) matrix: no loop over candidates. Metrics
fall into families that need one such matrix for all kinds of moves:

| family | metrics | depends on |
| --- | --- | --- |
| primary | memory, CPU, loads but disk's | who was primary, who becomes it |
| member | disk, spindles, disk load | which node left, which joined; roles do not matter |
| reserve | reserved memory | who is secondary for whom: one matrix per kind |

Metrics with the same values and the same demands are evaluated once with their weights added.
Errors are of the order 1e-8 at worst (a deviation near zero); `exact` settles what is closer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.exact import Candidates
from commands.placement.feasible import Admission
from commands.placement.fleet import Fleet, TagCosts, build_tag_costs
from commands.placement.frame import Bools, Floats, Ints
from commands.placement.metrics import COLUMNS
from commands.placement.moves import Kind
from commands.placement.options import Options
from commands.placement.state import Placement

_CELLS: Final = 1 << 15  # rows x nodes of one block: matrices of 256 KiB stay in the cache

_PRIMARY: Final = (
    "free_mem_cv",
    "vcpu_ratio_cv",
    "cpu_load_cv",
    "mem_load_cv",
    "net_load_cv",
    "free_mem_cv_forth",
    "vcpu_ratio_cv_forth",
)
_MEMBER: Final = (
    "free_disk_cv",
    "disk_load_cv",
    "spindles_cv",
    "free_disk_cv_forth",
    "spindles_cv_forth",
)


@dataclass(slots=True)
class _Term:
    """One deviation: values by node, demands by instance, and what a unit of demand does."""

    weight: float
    x: Floats  # centred values, by node of the cluster
    parts: list[tuple[Floats, Floats]]  # (d by instance, c by node); supports are disjoint
    total: float = 0.0  # sum and sum of squares over online nodes
    squares: float = 0.0

    def lost(self, rows: Ints, nodes: Ints, online: Floats) -> Floats:
        """What `nodes` lose with instances `rows`; zero where the node does not count."""
        found = np.zeros(len(rows))
        for d, c in self.parts:
            found += d[rows] * c[nodes]
        return found * online[nodes]


class Evaluator:
    """Costs of moves from the present state of a placement; `refresh` after a move."""

    def __init__(self, placement: Placement, scope: Ints, fleet: Fleet, options: Options) -> None:
        self.placement, self.scope, self.fleet, self.options = placement, scope, fleet, options
        self.online, self.offline = metrics.split_online(placement, scope)
        self._mask = np.zeros(placement.frame.size + 1)
        self._mask[self.online] = 1.0
        self._count = max(1, len(self.online))
        self.refresh()

    def refresh(self) -> None:
        """Take over the present state."""
        state = self.placement
        self.primary = np.array(state.primary, dtype=np.int64)
        self.secondary = np.array(state.secondary, dtype=np.int64)
        self._x = metrics.values(state, np.arange(state.frame.size))
        self._x = self._x - self._x[self.online].mean(axis=0) if len(self.online) else self._x
        self._primary_terms = self._terms(_PRIMARY)
        self._member_terms = self._terms(_MEMBER)
        self._reserve_x = self._x[:, metrics.RESERVED]
        online_x = self._reserve_x[self.online]
        self._reserve_sums = float(online_x.sum()), float(online_x @ online_x)
        self._reserve_mean = 0.0
        self._per_memory = metrics.ratio(np.ones(state.frame.size), state.frame.total_memory)
        peers = state.peers.astype(np.float64)
        #: What online nodes keep for a primary, and what a node keeps for online primaries.
        self._online_keep_for = np.ascontiguousarray(peers[self.online].T)
        self._keep_for_online = np.ascontiguousarray(peers[:, self.online])
        if len(self.online):
            found = metrics.ratio(state.reserve, state.frame.total_memory)
            self._reserve_mean = float(found[self.online].mean())
        self.base = metrics.score(state, self.scope)
        self._admission = Admission(state, self.fleet, self.online, self.options)
        self._tags: TagCosts | None = build_tag_costs(state, self.fleet, self.online)
        self._base_deviation = self._deviation_sum()
        self._failing = state.fails_n1()
        self._failing_size = self._failing * (state.primary_count + state.secondary_count)

    def _deviation_sum(self) -> float:
        """Weighted deviations and reserve of the present state, as the terms compute them."""
        total = 0.0
        for term in (*self._primary_terms, *self._member_terms):
            total += term.weight * self._std(term.squares, term.total)
        spread = self._std(self._reserve_sums[1], self._reserve_sums[0])
        return total + spread + metrics.RESERVED_WEIGHT * self._reserve_sums[0]

    def _std(self, squares: float, total: float) -> float:
        return float(np.sqrt(max(0.0, squares / self._count - (total / self._count) ** 2)))

    def _terms(self, names: tuple[str, ...]) -> list[_Term]:
        terms: list[_Term] = []
        for name in names:
            column = COLUMNS[name]
            term = _Term(float(metrics.STD_WEIGHTS[column]), self._x[:, column], self._parts(name))
            twin = next((other for other in terms if _same(term, other)), None)
            if twin is not None:
                twin.weight += term.weight
                continue
            x = term.x[self.online]
            term.total, term.squares = float(x.sum()), float(x @ x)
            if any(d.any() for d, _ in term.parts):
                terms.append(term)
        return terms

    def _parts(self, name: str) -> list[tuple[Floats, Floats]]:
        """Demand of an instance and effect on a node, for the holder of the family's role."""
        frame, fleet = self.placement.frame, self.fleet
        one = np.ones(frame.size)
        per_memory = -metrics.ratio(one, frame.total_memory)
        per_cpu = metrics.ratio(metrics.ratio(one, frame.cpus), frame.cpu_speed)
        shared = ~frame.exclusive
        per_spindle = metrics.ratio(shared * one, frame.high_spindles)
        per_disk = -metrics.ratio(shared * one, frame.total_disk)
        per_free = -metrics.ratio(frame.exclusive * one, frame.spindles * one)
        load = fleet.load
        parts: dict[str, list[tuple[Ints | Floats, Floats]]] = {
            "free_mem_cv": [(fleet.held, per_memory)],
            "free_mem_cv_forth": [(fleet.memory, per_memory)],
            "vcpu_ratio_cv": [(fleet.real_vcpus, per_cpu)],
            "vcpu_ratio_cv_forth": [(fleet.vcpus, per_cpu)],
            "cpu_load_cv": [(load[:, 0], one)],
            "mem_load_cv": [(load[:, 1], one)],
            "disk_load_cv": [(load[:, 2], one)],
            "net_load_cv": [(load[:, 3], one)],
            "free_disk_cv": [(fleet.real_disk, per_disk), (fleet.real_spindles, per_free)],
            "free_disk_cv_forth": [(fleet.disk, per_disk), (fleet.spindles, per_free)],
            "spindles_cv": [(fleet.real_spindle_use, per_spindle)],
            "spindles_cv_forth": [(fleet.spindle_use, per_spindle)],
        }
        return [(d.astype(np.float64), c) for d, c in parts[name] if c.any()]

    # --- families -------------------------------------------------------------------------

    def _matrix(self, terms: list[_Term], rows: Ints, source: Ints) -> Floats:
        """Weighted deviations when each online node takes over from `source`."""
        cost = np.zeros((len(rows), len(self.online)))
        count = self._count
        for term in terms:
            x = term.x[self.online]
            lost = term.lost(rows, source, self._mask)
            squares = term.squares + lost * (lost - 2.0 * term.x[source])
            total = term.total - lost
            left = [squares / count - (total / count) ** 2]
            right = [np.ones(len(x))]
            for d, c in term.parts:
                demand, effect = d[rows], c[self.online]
                left += [demand, demand * total, demand * demand]
                right += [
                    2.0 * effect * x / count,
                    -2.0 * effect / count**2,
                    effect * effect * (1.0 - 1.0 / count) / count,
                ]
            found = np.stack(left, axis=1) @ np.stack(right)
            np.maximum(found, 0.0, out=found)
            np.sqrt(found, out=found)
            found *= term.weight
            cost += found
        return cost

    def _vector(self, terms: list[_Term], rows: Ints, source: Ints, target: Ints) -> Floats:
        """Weighted deviations when `target` takes over from `source`, row by row."""
        cost = np.zeros(len(rows))
        count = self._count
        for term in terms:
            lost = term.lost(rows, source, self._mask)
            gained = term.lost(rows, target, self._mask)
            squares = term.squares + lost * (lost - 2.0 * term.x[source])
            squares = squares + gained * (gained + 2.0 * term.x[target])
            total = term.total - lost + gained
            variance = squares / count - (total / count) ** 2
            cost += term.weight * np.sqrt(np.maximum(variance, 0.0))
        return cost

    def _resting(self, terms: list[_Term]) -> float:
        return sum(term.weight * self._std(term.squares, term.total) for term in terms)

    def _reserve_change(self, kept: Floats, nodes: Ints) -> tuple[Floats, Floats]:
        """Changes of S and Q when `nodes` keep `kept` instead of what they keep now.

        `nodes` is a row or a column that broadcasts to the shape of `kept`.
        """
        old = self._reserve_x[nodes]
        new = kept * self._per_memory[nodes]
        new -= self._reserve_mean
        squares = new * new
        squares -= old * old
        new -= old
        if len(self.offline):
            mask = self._mask[nodes]
            new *= mask
            squares *= mask
        return new, squares

    def _reserve_cost(self, total: Floats, squares: Floats) -> Floats:
        """Weighted reserve terms from the changes of S and Q, which are used up."""
        total += self._reserve_sums[0]
        squares += self._reserve_sums[1]
        squares *= 1.0 / self._count
        squares -= total * total * (1.0 / self._count**2)
        np.maximum(squares, 0.0, out=squares)
        np.sqrt(squares, out=squares)
        total *= metrics.RESERVED_WEIGHT
        squares += total
        return squares

    # --- costs ----------------------------------------------------------------------------

    def costs(self, rows: Ints) -> dict[Kind, Floats]:
        """Score after every move of instances `rows`; infinite where not possible.

        All rows are of one mirror type. Matrices have one column per online node of the scope,
        in order; a failover has one column.
        """
        if self.fleet.external[rows[0]]:
            return self._external(rows) if self.options.instance_moves else {}
        return self._internal(rows)

    def _external(self, rows: Ints) -> dict[Kind, Floats]:
        p = self.primary[rows]
        # Of the members' metrics only the disk load changes: nothing is stored on the nodes.
        changing: list[_Term] = []
        resting: list[_Term] = []
        for term in self._member_terms:
            demanding = any(d[rows].any() for d, _ in term.parts)
            (changing if demanding else resting).append(term)
        cost = self._matrix(self._primary_terms, rows, p)
        cost += self._matrix(changing, rows, p) + self._resting(resting)
        cost += self._reserve_cost(np.zeros(1), np.zeros(1))
        cost += self.base - self._base_deviation
        self._add_offline(cost, rows, leaves_primary=True, leaves_secondary=False)
        self._add_tags(cost, rows, Kind.FAILOVER_TO_ANY)
        self._add_n1(cost, rows, Kind.FAILOVER_TO_ANY)
        cost[~self._admission.external(rows, p)] = np.inf
        return {Kind.FAILOVER_TO_ANY: cost}

    def _internal(self, rows: Ints) -> dict[Kind, Floats]:
        options = self.options
        p, s = self.primary[rows], self.secondary[rows]
        adm = self._admission.internal(rows, p, s)
        rest_p, rest_m = self._resting(self._primary_terms), self._resting(self._member_terms)
        constant = self.base - self._base_deviation
        found: dict[Kind, Floats] = {}
        failing_over = options.instance_moves
        moved = self._vector(self._primary_terms, rows, p, s) if failing_over else None
        if moved is not None:
            cost = (moved + rest_m + constant)[:, None]
            cost += self._reserve(rows, Kind.FAILOVER, adm.lost)
            self._finish(found, Kind.FAILOVER, cost, rows, adm.allowed[Kind.FAILOVER])
        if not options.disk_moves:
            return found
        joined = self._matrix(self._member_terms, rows, s)
        cost = joined + (rest_p + constant)
        cost += self._reserve(rows, Kind.REPLACE_SECONDARY, adm.lost)
        self._finish(found, Kind.REPLACE_SECONDARY, cost, rows, adm.allowed[Kind.REPLACE_SECONDARY])
        if moved is None or Kind.REPLACE_AND_FAILOVER not in adm.allowed:
            return found
        taken = self._matrix(self._primary_terms, rows, p) + constant
        cost = joined + taken
        cost += self._reserve(rows, Kind.REPLACE_AND_FAILOVER, adm.lost)
        self._finish(
            found, Kind.REPLACE_AND_FAILOVER, cost, rows, adm.allowed[Kind.REPLACE_AND_FAILOVER]
        )
        swapped = self._matrix(self._member_terms, rows, p)
        if Kind.REPLACE_PRIMARY in adm.allowed:
            cost = swapped + taken
            cost += self._reserve(rows, Kind.REPLACE_PRIMARY, adm.lost)
            self._finish(found, Kind.REPLACE_PRIMARY, cost, rows, adm.allowed[Kind.REPLACE_PRIMARY])
        cost = swapped + (moved + constant)[:, None]
        cost += self._reserve(rows, Kind.FAILOVER_AND_REPLACE, adm.lost)
        self._finish(
            found, Kind.FAILOVER_AND_REPLACE, cost, rows, adm.allowed[Kind.FAILOVER_AND_REPLACE]
        )
        return found

    def _finish(
        self, found: dict[Kind, Floats], kind: Kind, cost: Floats, rows: Ints, allowed: Bools
    ) -> None:
        """Add what only some clusters have, and rule out what is not allowed."""
        self._add_offline(
            cost,
            rows,
            leaves_primary=kind is not Kind.REPLACE_SECONDARY,
            leaves_secondary=kind in (Kind.REPLACE_SECONDARY, Kind.REPLACE_AND_FAILOVER),
            swaps_primary=kind in (Kind.FAILOVER, Kind.REPLACE_AND_FAILOVER),
        )
        self._add_tags(cost, rows, kind)
        self._add_n1(cost, rows, kind)
        cost[~allowed] = np.inf
        found[kind] = cost

    def _reserve(self, rows: Ints, kind: Kind, lost: Ints) -> Floats:
        """The reserve terms after a move; `lost` is what the secondary keeps without it."""
        state = self.placement
        p, s = self.primary[rows], self.secondary[rows]
        memory = self.fleet.reserved[rows].astype(np.float64)
        coming = ~self.fleet.real[rows]
        if kind is Kind.FAILOVER:
            kept = np.maximum(state.reserve[p], state.peers[p, s] + memory)
            kept[coming] = state.reserve[p[coming]]
            total_p, squares_p = self._reserve_change(kept, p)
            total_s, squares_s = self._reserve_change(lost.astype(np.float64), s)
            return self._reserve_cost(total_p + total_s, squares_p + squares_s)[:, None]
        if kind is Kind.REPLACE_PRIMARY:
            kept = self._keep_for_online[s] + memory[:, None]
            np.maximum(kept, lost[:, None], out=kept)
            kept[coming] = lost[coming, None]
            return self._reserve_cost(*self._reserve_change(kept, s[:, None]))
        total, squares = self._reserve_change(lost.astype(np.float64), s)
        if kind is Kind.REPLACE_AND_FAILOVER:
            kept = self._keep_for_online[p] + memory[:, None]
            now = state.reserve[p].astype(np.float64)[:, None]
            np.maximum(kept, now, out=kept)
            kept[coming] = now[coming]
            nodes = p[:, None]
        else:
            kept = self._online_keep_for[p if kind is Kind.REPLACE_SECONDARY else s]
            kept = kept + memory[:, None]
            now = state.reserve[self.online].astype(np.float64)
            np.maximum(kept, now, out=kept)
            kept[coming] = now
            nodes = self.online
        more_total, more_squares = self._reserve_change(kept, nodes)
        more_total += total[:, None]
        more_squares += squares[:, None]
        return self._reserve_cost(more_total, more_squares)

    def _add_offline(
        self,
        cost: Floats,
        rows: Ints,
        *,
        leaves_primary: bool,
        leaves_secondary: bool,
        swaps_primary: bool = False,
    ) -> None:
        """What it is worth that an instance leaves offline nodes: 16 + 4 for a primary."""
        if not len(self.offline):
            return
        down = self.placement.frame.offline
        gain = np.zeros(len(rows))
        if leaves_primary:
            gain += down[self.primary[rows]] * (16.0 if swaps_primary else 20.0)
        if leaves_secondary:
            secondary = self.secondary[rows]
            gain += 4.0 * (down[secondary] & (secondary >= 0))
        cost -= (gain * self.fleet.real[rows])[:, None]

    def _add_tags(self, cost: Floats, rows: Ints, kind: Kind) -> None:
        if self._tags is None:
            return
        columns = self.online if kind is not Kind.FAILOVER else np.zeros(1, dtype=np.int64)
        who = np.repeat(rows, len(columns))
        p, s = self.primary[who], self.secondary[who]
        t = np.tile(columns, len(rows))
        new_p, new_s = _after(kind, p, s, t)
        change = 2.0 * self._tags.conflicts(who, new_p) + self._tags.pairs(who, new_p)
        change += self._tags.unmet(who, new_p) + self._tags.shared(who, new_p, new_s)
        cost += change.reshape(cost.shape)

    def _add_n1(self, cost: Floats, rows: Ints, kind: Kind) -> None:
        """Instances on nodes that fail N+1, before and after. Mostly none can change."""
        if not self._admission.may_fail:
            return
        adm = self._admission
        for nodes, unallocated, reserve, size in adm.n1_states(rows, kind):
            seen = self._mask[nodes]
            after = (unallocated <= reserve) * size
            cost += (after - self._failing_size[nodes]) * seen

    # --- the best -------------------------------------------------------------------------

    def best(
        self, rows: Ints, tolerance: float, *, below: float = np.inf
    ) -> tuple[Candidates, Floats]:
        """The moves within `tolerance` of the best one, in htools' order, with their costs.

        Only moves that cost at most `below` are looked for.
        """
        blocks: list[tuple[Ints, Ints, Ints, Floats]] = []
        limit = below
        for block in self._blocks(rows):
            found = self.costs(block)
            low = min((float(cost.min()) for cost in found.values() if cost.size), default=np.inf)
            limit = min(limit, low + tolerance)
            if low <= limit and np.isfinite(low):
                blocks.append(self._near(block, found, limit))
        empty = np.zeros(0, dtype=np.int64)
        if not blocks:
            return Candidates(empty, empty, empty), np.zeros(0)
        who, kinds, columns, costs = (np.concatenate(part) for part in zip(*blocks, strict=True))
        keep = costs <= limit
        who, kinds, columns, costs = who[keep], kinds[keep], columns[keep], costs[keep]
        order = np.lexsort((kinds, columns, kinds != Kind.FAILOVER, who))
        target = np.where(kinds == Kind.FAILOVER, -1, self.online[columns])
        return Candidates(who[order], kinds[order], target[order]), costs[order]

    def best_of_each(self, rows: Ints) -> tuple[Candidates, Floats]:
        """For every instance its best move and what that costs (infinite if it has none)."""
        who: list[Ints] = []
        kinds: list[Ints] = []
        columns: list[Ints] = []
        costs: list[Floats] = []
        for block in self._blocks(rows):
            best = np.full(len(block), np.inf)
            kind_of = np.zeros(len(block), dtype=np.int64)
            column_of = np.zeros(len(block), dtype=np.int64)
            index = np.arange(len(block))
            for kind, cost in self.costs(block).items():
                column = cost.argmin(axis=1)
                value = cost[index, column]
                better = value < best
                best = np.where(better, value, best)
                kind_of[better] = kind
                column_of[better] = column[better]
            who.append(block)
            kinds.append(kind_of)
            columns.append(column_of)
            costs.append(best)
        empty = np.zeros(0, dtype=np.int64)
        if not who:
            return Candidates(empty, empty, empty), np.zeros(0)
        kind_all, column_all = np.concatenate(kinds), np.concatenate(columns)
        target = np.where(kind_all == Kind.FAILOVER, -1, self.online[column_all])
        return Candidates(np.concatenate(who), kind_all, target), np.concatenate(costs)

    def _blocks(self, rows: Ints) -> list[Ints]:
        """Rows of one mirror type each, few enough for the cache."""
        if not len(self.online):
            return []
        height = max(1, _CELLS // len(self.online))
        found: list[Ints] = []
        for mask in (self.fleet.internal, self.fleet.external):
            alike = rows[mask[rows]]
            found += [alike[start : start + height] for start in range(0, len(alike), height)]
        return found

    @staticmethod
    def _near(
        block: Ints, found: dict[Kind, Floats], limit: float
    ) -> tuple[Ints, Ints, Ints, Floats]:
        who, kinds, columns, costs = [], [], [], []
        for kind, cost in found.items():
            row, column = np.nonzero(cost <= limit)
            who.append(block[row])
            kinds.append(np.full(len(row), int(kind)))
            columns.append(column)
            costs.append(cost[row, column])
        return (
            np.concatenate(who),
            np.concatenate(kinds),
            np.concatenate(columns),
            np.concatenate(costs),
        )


def _same(term: _Term, other: _Term) -> bool:
    """Whether two deviations change alike, so that one evaluation serves both."""
    return (
        len(term.parts) == len(other.parts)
        and np.array_equal(term.x, other.x)
        and all(
            np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])
            for mine, theirs in zip(term.parts, other.parts, strict=True)
        )
    )


def _after(kind: Kind, p: Ints, s: Ints, t: Ints) -> tuple[Ints, Ints]:
    """Nodes after a move, as arrays."""
    match kind:
        case Kind.FAILOVER:
            return s, p
        case Kind.REPLACE_SECONDARY:
            return p, t
        case Kind.REPLACE_AND_FAILOVER:
            return t, p
        case Kind.REPLACE_PRIMARY:
            return t, s
        case Kind.FAILOVER_AND_REPLACE:
            return s, t
        case Kind.FAILOVER_TO_ANY:
            return t, s

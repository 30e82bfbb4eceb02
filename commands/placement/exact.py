"""The score after each of many moves, to the last bit as htools computes it.

For every candidate the rows of its two or three nodes are replaced in the table of per-node
values and the statistics are summed anew, one node after the other. That costs the number of
nodes per candidate, so it is for the few that `evaluate` finds to be within rounding of the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.fleet import Fleet, TagCosts, build_tag_costs
from commands.placement.frame import Bools, Floats, Ints
from commands.placement.model import NO_NODE
from commands.placement.moves import Kind, Move
from commands.placement.state import Placement

_NONE, _PRI, _SEC, _KEPT = 0, 1, 2, 3

#: What the old primary, the old secondary and the target are after each kind of move.
_ROLES: Final = np.array(
    [
        (_SEC, _PRI, _NONE),
        (_PRI, _NONE, _SEC),
        (_SEC, _NONE, _PRI),
        (_NONE, _SEC, _PRI),
        (_NONE, _PRI, _SEC),
        (_NONE, _KEPT, _PRI),
    ]
)
_CHUNK: Final = 2_000_000  # table cells handled at once


@dataclass(frozen=True, slots=True)
class Candidates:
    """Moves as arrays."""

    instance: Ints
    kind: Ints
    target: Ints

    def __len__(self) -> int:
        return len(self.instance)

    def part(self, chosen: slice | Ints | Bools) -> Candidates:
        """Some of them, in the given order."""
        return Candidates(self.instance[chosen], self.kind[chosen], self.target[chosen])

    def move(self, index: int) -> Move:
        """One of them as a value."""
        return Move(int(self.instance[index]), Kind(int(self.kind[index])), int(self.target[index]))


class ExactScorer:
    """Scores of moves from one state; make a new one (or `refresh`) after a move."""

    def __init__(self, placement: Placement, scope: Ints, fleet: Fleet) -> None:
        self._placement, self._scope, self._fleet = placement, scope, fleet
        self._online, self._offline = metrics.split_online(placement, scope)
        self._place = np.full(placement.frame.size + 1, -1)
        self._place[self._online] = np.arange(len(self._online))
        self.refresh()

    def refresh(self) -> None:
        """Take over the present state of the placement."""
        state = self._placement
        self._primary = np.array(state.primary, dtype=np.int64)
        self._secondary = np.array(state.secondary, dtype=np.int64)
        self._values = metrics.values(state, self._online)
        self._base = metrics.detail(state, self._scope)
        self._tags: TagCosts | None = build_tag_costs(state, self._fleet, self._online)

    def scores(self, moves: Candidates) -> Floats:
        """The score of the scope after each move, feasible or not."""
        if not len(self._online):
            return np.zeros(len(moves))
        step = max(1, _CHUNK // (self._values.size or 1))
        parts = [
            self._scores(moves.part(slice(start, start + step)))
            for start in range(0, len(moves), step)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _scores(self, moves: Candidates) -> Floats:
        nodes = np.stack(
            [self._primary[moves.instance], self._secondary[moves.instance], moves.target]
        )
        after = _ROLES[moves.kind].T
        primary_after = _chosen(nodes, after == _PRI)
        table = np.repeat(self._values[:, :, None], len(moves), axis=2)
        counts = np.zeros((3, len(moves)))  # n1, offline all, offline primaries
        for slot in range(3):
            self._replace(table, counts, moves, nodes, after, slot, primary_after)
        spread, total = metrics.deviations(table)
        tag_terms = self._tag_terms(moves, nodes, after, primary_after)
        return self._sum(spread, total, counts, tag_terms)

    def _sum(
        self, spread: Floats, total: Floats, counts: Floats, tag_terms: dict[str, Floats]
    ) -> Floats:
        sums = {
            "n1_cnt": counts[0],
            "offline_all_cnt": counts[1],
            "offline_pri_cnt": counts[2],
            **tag_terms,
        }
        score = np.zeros(spread.shape[1])
        for metric, base in zip(metrics.METRICS, self._base, strict=True):
            if metric.kind == metrics.STD:
                value = spread[metrics.COLUMNS[metric.name]]
            elif metric.name == "reserved_mem_rtotal":
                value = total[metrics.RESERVED]
            else:
                value = base + sums.get(metric.name, np.zeros(1))
            score = score + metric.weight * value
        return score

    def _replace(
        self,
        table: Floats,
        counts: Floats,
        moves: Candidates,
        nodes: Ints,
        after: Ints,
        slot: int,
        primary_after: Ints,
    ) -> None:
        """Put the new values of one of the three nodes into the table, and count the rest."""
        rows = np.flatnonzero((nodes[slot] != NO_NODE) & (after[slot] != _KEPT))
        if slot == 2:
            rows = rows[after[2][rows] != _NONE]
        if not len(rows):
            return
        node, who = nodes[slot][rows], moves.instance[rows]
        role = after[slot][rows]
        lost_p = np.full(len(rows), slot == 0)
        lost_s = np.full(len(rows), slot == 1)
        new = self._row(
            node,
            who,
            lost_p,
            lost_s,
            role == _PRI,
            role == _SEC,
            primary_after[rows],
            nodes[0][rows],
        )
        where = self._place[node]
        seen = where >= 0
        table[where[seen], :, rows[seen]] = new.values[seen]
        state, real = self._placement, self._fleet.real[who]
        primaries = ((role == _PRI) * 1 - lost_p) * real
        both = primaries + ((role == _SEC) * 1 - lost_s) * real
        before = state.fails_n1(node) * (state.primary_count[node] + state.secondary_count[node])
        then = new.failing * (state.primary_count[node] + state.secondary_count[node] + both)
        counts[0][rows] += np.where(seen, then - before, 0)
        offline = self._placement.frame.offline[node]
        counts[1][rows] += np.where(offline, both, 0)
        counts[2][rows] += np.where(offline, primaries, 0)

    def _row(
        self,
        node: Ints,
        who: Ints,
        lost_p: Bools,
        lost_s: Bools,
        gains_p: Bools,
        gains_s: Bools,
        primary: Ints,
        old_primary: Ints,
    ) -> _Row:
        """Values of `node` once instance `who` has changed its role there."""
        state, frame, fleet = self._placement, self._placement.frame, self._fleet
        dp = gains_p * 1 - lost_p
        dm = dp + gains_s - lost_s
        unallocated = state.unallocated[node] - dp * fleet.held[who]
        reserve = _reserve(state, fleet, node, who, lost_s, gains_s, primary, old_primary)
        memory, cpus = frame.total_memory[node], frame.cpus[node]
        speed, limit = frame.cpu_speed[node], frame.high_spindles[node]
        shared = ~frame.exclusive[node]
        out = np.empty((len(node), len(metrics.STD_NAMES)))
        columns = (
            metrics.ratio(unallocated, memory),
            metrics.disk_ratio(
                state,
                node,
                state.free_disk[node] - dm * fleet.real_disk[who],
                state.free_spindles[node] - dm * fleet.real_spindles[who],
            ),
            metrics.ratio(reserve, memory),
            metrics.ratio(
                metrics.ratio(state.used_cpus[node] + dp * fleet.real_vcpus[who], cpus), speed
            ),
            *self._load(node, who, lost_p, lost_s, gains_p, gains_s).T,
            metrics.ratio(
                state.inst_spindles[node] + dm * fleet.real_spindle_use[who] * shared, limit
            ),
            metrics.ratio(state.free_memory_f[node] - dp * fleet.memory[who], memory),
            metrics.disk_ratio(
                state,
                node,
                state.free_disk_f[node] - dm * fleet.disk[who],
                state.free_spindles_f[node] - dm * fleet.spindles[who],
            ),
            metrics.ratio(
                metrics.ratio(state.used_cpus_f[node] + dp * fleet.vcpus[who], cpus), speed
            ),
            metrics.ratio(
                state.inst_spindles_f[node] + dm * fleet.spindle_use[who] * shared, limit
            ),
        )
        for column, found in enumerate(columns):
            out[:, column] = found
        return _Row(out, unallocated <= reserve)

    def _load(
        self, node: Ints, who: Ints, lost_p: Bools, lost_s: Bools, gains_p: Bools, gains_s: Bools
    ) -> Floats:
        """Loads with the additions and subtractions in the order in which they are made."""
        load = self._fleet.load[who]
        disk = load * np.array([0.0, 0.0, 1.0, 0.0])
        found = self._placement.load[node] - load * lost_p[:, None] - disk * lost_s[:, None]
        passing = (lost_s & gains_s)[:, None]  # carries the instance for a while, see moves
        found = np.where(passing, found + load - load, found)
        result: Floats = found + load * gains_p[:, None] + disk * gains_s[:, None]
        return result

    def _tag_terms(
        self, moves: Candidates, nodes: Ints, after: Ints, primary_after: Ints
    ) -> dict[str, Floats]:
        if self._tags is None:
            return {}
        kept = after == _KEPT
        secondary = _chosen(nodes, (after == _SEC) | kept)
        unmet = self._tags.unmet(moves.instance, primary_after)
        return {
            "pri_tags_score": self._tags.conflicts(moves.instance, primary_after),
            "location_score": unmet + self._tags.shared(moves.instance, primary_after, secondary),
            "location_exclusion_score": self._tags.pairs(moves.instance, primary_after),
        }


@dataclass(frozen=True, slots=True)
class _Row:
    values: Floats
    failing: Bools


def _chosen(nodes: Ints, mask: Bools) -> Ints:
    """For each column the node where the mask is set, or NO_NODE."""
    found: Ints = np.where(mask, nodes, NO_NODE).max(axis=0)
    return found


def _reserve(
    state: Placement,
    fleet: Fleet,
    node: Ints,
    who: Ints,
    lost_s: Bools,
    gains_s: Bools,
    primary: Ints,
    old_primary: Ints,
) -> Ints:
    """Memory that a node must keep for peers after the change."""
    kept = state.reserve[node].copy()
    losing = np.flatnonzero(lost_s)
    if len(losing):
        rows = state.peers[node[losing]].copy()
        rows[np.arange(len(losing)), old_primary[losing]] -= fleet.reserved[who[losing]]
        kept[losing] = rows.max(axis=1)
    gaining = np.flatnonzero(gains_s & fleet.real[who])
    more = state.peers[node[gaining], primary[gaining]] + fleet.reserved[who[gaining]]
    kept[gaining] = np.maximum(kept[gaining], more)
    return kept

"""A second balancer: many moves at a time, then fewer moves for the same end.

1. Batches. A full pass finds the best move of each instance; those with most to gain are a
   shortlist. Of its moves all are made whose nodes are disjoint and whose gain is a good part
   of the best one's; then the shortlist alone is looked at again, until its gains have dwindled.
2. Going back. What counts is the end, so every instance that can return to its first nodes for less
   than the smallest gain worth a move does so.
3. Refining. Instances that moved anyway may move elsewhere, as long as that improves the score.
4. Where the greedy balancer finishes in reasonable time, its end is refined too; how many instances
   it moved is a limit, and the result is no worse in score either.
5. Local search. A few instances are sent back, and others move in their place. What is taken has a
   lower objective: the score, and for each instance that moved the smallest gain worth a move, as
   often as its copy is larger than the average (a tenth of that where nothing is copied).
6. Ordering. Each moved instance goes straight to its final nodes if the limits permit it at some
   point of the plan; if no such order is found the path of the search is the plan.

Every step is checked against the limits when it is made, so any prefix of a plan is legal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.balance import Step, balance, candidates
from commands.placement.evaluate import Evaluator
from commands.placement.exact import Candidates, ExactScorer
from commands.placement.fleet import Fleet, build_fleet
from commands.placement.frame import Floats, Ints
from commands.placement.model import NO_NODE
from commands.placement.moves import Kind, Move, try_move
from commands.placement.options import Options
from commands.placement.state import Placement

#: Instances x nodes up to which the greedy balancer is run as well, and is the default.
GREEDY_SIZE: Final = 400_000

_SHORTLIST: Final = 400
_ROUNDS: Final = 60
_GOOD_PART: Final = 0.3  # of the best gain, to be made in the same batch
_KICK: Final = 12  # instances at once
_KICKS: Final = 1_000_000  # instances x nodes x kicks that are tried unless told otherwise
_MOST_KICKS: Final = 100
_NO_COPY: Final = 0.1  # cost of a move that copies no disk, by the average of those that do
_DWINDLED: Final = 0.4  # of the first gain of a shortlist, to look at all instances again

Nodes = tuple[int, int]


@dataclass(slots=True)
class _Path:
    """A placement on its way, and the moves made so far."""

    placement: Placement
    moves: list[Move]

    def copy(self) -> _Path:
        """An independent one."""
        return _Path(self.placement.copy(), self.moves.copy())


class Search:
    """One search over the instances of a scope."""

    def __init__(self, placement: Placement, scope: Ints, options: Options) -> None:
        self._origin, self._scope, self._options = placement, scope, options
        self._fleet: Fleet = build_fleet(placement)
        self._rows = candidates(placement, scope, options)
        self._first: list[Nodes] = list(zip(placement.primary, placement.secondary, strict=True))
        disks = np.array([placement.instances[int(row)].disk for row in self._rows], dtype=float)
        average = float(disks.mean()) if len(disks) else 0.0
        shares = disks / average if average else np.ones(len(disks))
        #: What it costs to copy an instance, 1.0 on average.
        self._copies = dict(zip(self._rows.tolist(), shares.tolist(), strict=True))

    def run(self, *, stop_at: float = 0.0, more: Callable[[], bool] | None = None) -> list[Step]:
        """Search; return the plan.

        `more` says whether to go on improving at the end; without it that is a number of attempts
        that depends on the size alone: the same input gives the same plan, on any machine.
        """
        best = _Path(self._origin.copy(), [])
        self._batches(best, stop_at)
        self._go_back(best)
        self._refine(best)
        limit, size = len(self._rows), len(self._rows) * len(self._scope)
        if size <= GREEDY_SIZE:
            best, limit = self._against_greedy(best, stop_at)
        kicks = min(_MOST_KICKS, _KICKS // max(1, size)) if size <= GREEDY_SIZE else 0
        attempts = iter(range(kicks))
        go_on = more or (lambda: next(attempts, None) is not None)
        return self._plan(self._local(best, limit, stop_at, go_on))

    def _local(self, best: _Path, limit: int, stop_at: float, go_on: Callable[[], bool]) -> _Path:
        """Improve a placement by kicks, at no higher score, with no more than `limit` moved."""
        random = np.random.default_rng(0)  # drawn anew by each search: same input, same plan
        highest, objective = self._score(best), self._objective(best)
        while best.moves and go_on():
            trial = best.copy()
            self._kick(trial, random)
            self._greedy(trial, stop_at)
            self._go_back(trial, at_most=limit)
            fine = len(self._moved(trial)) <= limit and self._score(trial) <= highest
            if fine and (found := self._objective(trial)) < objective:
                best, objective = trial, found
        return best

    def _objective(self, path: _Path) -> float:
        """The score and what it costs to get there; see the module."""
        cost = 0.0
        for row in self._moved(path):
            now = path.placement.primary[row], path.placement.secondary[row]
            swapped = now[::-1] == self._first[row] or now[1] == NO_NODE
            cost += _NO_COPY if swapped else max(_NO_COPY, self._copies[row])
        return self._score(path) + self._options.min_gain * cost

    # --- the parts --------------------------------------------------------------------------

    def _score(self, path: _Path) -> float:
        return metrics.score(path.placement, self._scope)

    def _moved(self, path: _Path) -> list[int]:
        state = path.placement
        return [
            int(row)
            for row in self._rows
            if (state.primary[row], state.secondary[row]) != self._first[row]
        ]

    def _worth(self, score: float, gain: float) -> bool:
        options = self._options
        return gain > 0 and (score > options.min_gain_limit or gain >= options.min_gain)

    def _evaluator(self, path: _Path) -> Evaluator:
        return Evaluator(path.placement, self._scope, self._fleet, self._options)

    def _make(self, path: _Path, move: Move) -> bool:
        failure = try_move(path.placement, move, force=self._options.ignore_soft_errors)
        if failure is None:
            path.moves.append(move)
        return failure is None

    def _batches(self, path: _Path, stop_at: float) -> None:
        evaluator = self._evaluator(path)
        while evaluator.base > stop_at:
            moves, costs = evaluator.best_of_each(self._rows)
            gains = evaluator.base - costs
            if not len(gains) or not self._worth(evaluator.base, float(gains.max())):
                return
            chosen = np.argsort(-gains, kind="stable")[:_SHORTLIST]
            shortlist = np.sort(moves.instance[chosen[gains[chosen] > 0]])
            if not self._rounds(path, evaluator, shortlist, moves.part(chosen), gains[chosen]):
                return

    def _rounds(
        self,
        path: _Path,
        evaluator: Evaluator,
        shortlist: Ints,
        moves: Candidates,
        gains: Floats,
    ) -> bool:
        """Make batches from a shortlist until they gain little; whether any move was made."""
        first: float | None = None
        made = False
        for _ in range(_ROUNDS):
            before = evaluator.base
            if not self._batch(path, evaluator, moves, gains):
                return made
            made = True
            gain = before - evaluator.base
            first = gain if first is None else first
            if gain < _DWINDLED * first or not len(shortlist):
                return True
            moves, costs = evaluator.best_of_each(shortlist)
            gains = evaluator.base - costs
            if not self._worth(evaluator.base, float(gains.max())):
                return True
        return True

    def _batch(
        self,
        path: _Path,
        evaluator: Evaluator,
        moves: Candidates,
        gains: Floats,
    ) -> bool:
        """Make the best moves that share no node; fall back to the best alone if that is worse."""
        state, before = path.placement, evaluator.base
        order = np.argsort(-gains, kind="stable")
        least = _GOOD_PART * float(gains[order[0]])
        used: set[int] = set()
        undo: list[tuple[Move, Nodes]] = []
        saved = None
        for position in order:
            gain = float(gains[position])
            if gain < least or not self._worth(before, gain):
                break
            move = moves.move(int(position))
            nodes = {state.primary[move.instance], state.secondary[move.instance], move.target}
            nodes.discard(NO_NODE)
            if not used.isdisjoint(nodes):
                continue
            if saved is None:
                saved = state.save(range(state.frame.size))
            old = state.primary[move.instance], state.secondary[move.instance]
            if self._make(path, move):
                used |= nodes
                undo.append((move, old))
        if not undo:
            return False
        evaluator.refresh()
        if evaluator.base < before:
            return True
        assert saved is not None
        state.restore(saved)
        for move, old in undo:
            state.primary[move.instance], state.secondary[move.instance] = old
            path.moves.pop()
        made = len(undo) > 1 and self._make(path, undo[0][0])
        evaluator.refresh()
        return made and evaluator.base < before

    def _go_back(self, path: _Path, *, at_most: int | None = None) -> None:
        """Return instances to where they were, as long as each costs less than a worthy gain.

        With `at_most`, return more of them until no more than that have moved.
        """
        state, options = path.placement, self._options
        while True:
            back = [move for row in self._moved(path) if (move := self._direct_back(state, row))]
            if not back:
                return
            score = self._score(path)
            many = Candidates(
                np.array([move.instance for move in back]),
                np.array([int(move.kind) for move in back]),
                np.array([move.target for move in back]),
            )
            loss = ExactScorer(state, self._scope, self._fleet).scores(many) - score
            excess = 0 if at_most is None else len(self._moved(path)) - at_most
            limit = options.min_gain if excess <= 0 else np.inf
            made = False
            spent, used = 0.0, set[int]()
            for position in np.argsort(loss, kind="stable"):
                if float(loss[position]) >= limit or spent >= limit * 10:
                    break
                if excess > 0 and len(used) >= 3 * excess:
                    break
                move = back[int(position)]
                nodes = {state.primary[move.instance], state.secondary[move.instance], move.target}
                if used.isdisjoint(nodes - {NO_NODE}) and self._make(path, move):
                    used |= nodes - {NO_NODE}
                    spent += max(0.0, float(loss[position]))
                    made = True
            if not made:
                return

    def _direct_back(self, state: Placement, row: int) -> Move | None:
        now = state.primary[row], state.secondary[row]
        return direct_move(row, now, self._first[row])

    def _refine(self, path: _Path) -> None:
        """Improve with the instances that have moved already."""
        moved = np.array(self._moved(path), dtype=np.int64)
        if not len(moved):
            return
        evaluator = self._evaluator(path)
        while True:
            moves, costs = evaluator.best_of_each(moved)
            gains = evaluator.base - costs
            if float(gains.max()) <= max(1e-6, 1e-5 * evaluator.base):
                return
            if not self._batch(path, evaluator, moves, gains):
                return

    def _against_greedy(self, found: _Path, stop_at: float) -> tuple[_Path, int]:
        """The best of three that move no more instances than the greedy balancer, and its number.

        They are what the greedy balancer finds, refined; what the batches found; and that, with
        greedy steps from there on.
        """
        path = self._greedy(_Path(self._origin.copy(), []), stop_at)
        limit = len(self._moved(path))
        further = self._greedy(found.copy(), stop_at)
        self._go_back(further, at_most=limit)
        self._refine(further)
        self._refine(path)
        good = [one for one in (path, found, further) if len(self._moved(one)) <= limit]
        return min(good, key=lambda one: (self._score(one), len(self._moved(one)))), limit

    def _greedy(self, path: _Path, stop_at: float) -> _Path:
        steps = balance(path.placement, self._scope, self._options, stop_at=stop_at)
        path.moves += [step.move for step in steps]
        return path

    def _kick(self, path: _Path, random: np.random.Generator) -> None:
        """Return some instances to where they were, and so let others move in their place."""
        moved = self._moved(path)
        size = min(len(moved), int(random.integers(2, _KICK + 1)))
        for row in random.choice(moved, size=size, replace=False) if size else ():
            move = self._direct_back(path.placement, int(row))
            if move is not None:
                self._make(path, move)

    # --- the plan ---------------------------------------------------------------------------

    def _plan(self, path: _Path) -> list[Step]:
        """The moves from the first to the last placement, straight ones if possible."""
        final = {
            row: (path.placement.primary[row], path.placement.secondary[row])
            for row in self._moved(path)
        }
        state = self._origin.copy()
        straight = list(self._straight(state, final))
        reached = all((state.primary[r], state.secondary[r]) == to for r, to in final.items())
        moves = straight if reached and len(straight) <= len(path.moves) else path.moves
        return self._steps(moves)

    def _straight(self, state: Placement, final: dict[int, Nodes]) -> Iterator[Move]:
        """Send every instance where it ends, whoever can go first."""
        force = self._options.ignore_soft_errors
        left = list(final)
        while left:
            waiting: list[int] = []
            for row in left:
                moves = _ways(row, (state.primary[row], state.secondary[row]), final[row])
                for move in moves:
                    if try_move(state, move, force=force) is not None:
                        break
                    yield move
                if (state.primary[row], state.secondary[row]) != final[row]:
                    waiting.append(row)
            if len(waiting) == len(left):
                return
            left = waiting

    def _steps(self, moves: list[Move]) -> list[Step]:
        """Make the moves on the placement that was given, noting the score after each."""
        state = self._origin
        found: list[Step] = []
        for move in moves:
            before = state.primary[move.instance], state.secondary[move.instance]
            failure = try_move(state, move, force=self._options.ignore_soft_errors)
            assert failure is None, (move, failure)
            after = state.primary[move.instance], state.secondary[move.instance]
            found.append(Step(move, before, after, metrics.score(state, self._scope)))
        return found


def direct_move(row: int, now: Nodes, wanted: Nodes) -> Move | None:
    """The one move that takes an instance from some nodes to others, if there is one."""
    (p, s), (a, b) = now, wanted
    if s == NO_NODE:
        return Move(row, Kind.FAILOVER_TO_ANY, a) if a != p and b == NO_NODE else None
    if (a, b) == (s, p):
        return Move(row, Kind.FAILOVER)
    if a == p and b not in (p, s):
        return Move(row, Kind.REPLACE_SECONDARY, b)
    if b == p and a not in (p, s):
        return Move(row, Kind.REPLACE_AND_FAILOVER, a)
    if b == s and a not in (p, s):
        return Move(row, Kind.REPLACE_PRIMARY, a)
    if a == s and b not in (p, s):
        return Move(row, Kind.FAILOVER_AND_REPLACE, b)
    return None


def _ways(row: int, now: Nodes, wanted: Nodes) -> list[Move]:
    """Moves from some nodes to others: one, or two where both nodes change."""
    if now == wanted:
        return []
    straight = direct_move(row, now, wanted)
    if straight is not None:
        return [straight]
    return [
        Move(row, Kind.REPLACE_AND_FAILOVER, wanted[0]),
        Move(row, Kind.REPLACE_SECONDARY, wanted[1]),
    ]

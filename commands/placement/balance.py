"""The greedy balancer: as long as it pays, make the move after which the score is lowest.

`evaluate` finds the candidates within rounding of the best; `exact` scores those to the last bit,
and the first of the lowest is made, in htools' order: instances by index; for each the failover,
then targets in node order, for each target the kinds in the order of `Kind`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement import metrics
from commands.placement.evaluate import Evaluator
from commands.placement.exact import Candidates, ExactScorer
from commands.placement.fleet import build_fleet
from commands.placement.frame import Bools, Ints
from commands.placement.metrics import group_scope as group_scope
from commands.placement.model import MOVABLE_TEMPLATES, NO_NODE
from commands.placement.moves import Move, try_move
from commands.placement.options import Options
from commands.placement.state import Placement

#: Beyond the error of `evaluate`, which is largest where a deviation is close to zero.
TOLERANCE: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Step:
    """A move that was made, and the score after it."""

    move: Move
    before: tuple[int, int]  # primary and secondary
    after: tuple[int, int]
    score: float

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes involved, each once, those after the move first."""
        involved = dict.fromkeys((*self.after, *self.before))
        return tuple(node for node in involved if node != NO_NODE)


def movable(placement: Placement) -> Bools:
    """Which instances the balancer may move at all.

    Not those of templates that cannot move, those told to stay, those not balanced automatically,
    those whose two nodes are in different groups, and DRBD ones that lack a secondary.
    """
    frame = placement.frame
    fixed, group = frame.settings.fixed, frame.group
    found = np.zeros(len(placement.instances), dtype=np.bool_)
    for index, inst in enumerate(placement.instances):
        if inst.template not in MOVABLE_TEMPLATES or not inst.auto_balance or inst.name in fixed:
            continue
        secondary = placement.secondary[index]
        if secondary == NO_NODE:
            found[index] = not inst.mirrored  # a copy that nobody knows of cannot be replaced
        else:
            found[index] = group[placement.primary[index]] == group[secondary]
    return found


def candidates(placement: Placement, scope: Ints, options: Options) -> Ints:
    """The instances of a scope that may move now."""
    inside = np.zeros(placement.frame.size, dtype=np.bool_)
    inside[scope] = True
    primary = np.array(placement.primary, dtype=np.int64)
    chosen = movable(placement) & inside[primary] if len(primary) else np.zeros(0, dtype=bool)
    if options.evacuation:
        down = placement.frame.offline
        mirrored = np.array([inst.mirrored for inst in placement.instances], dtype=np.bool_)
        secondary = np.array(placement.secondary, dtype=np.int64)
        chosen &= down[primary] | (mirrored & down[secondary])
    return np.flatnonzero(chosen)


class Greedy:
    """Moves one after the other, each the best there is."""

    def __init__(self, placement: Placement, scope: Ints, options: Options) -> None:
        self.placement, self.scope, self.options = placement, scope, options
        self.score = metrics.score(placement, scope)
        self._fleet = build_fleet(placement)
        self._evaluator: Evaluator | None = None
        self._scorer: ExactScorer | None = None
        self._rows = candidates(placement, scope, options)

    def step(self) -> Step | None:
        """Make the next move; None if none improves the score enough."""
        evaluator, scorer = self._tools()
        if self.options.evacuation:
            self._rows = candidates(self.placement, self.scope, self.options)
        near, _ = evaluator.best(self._rows, TOLERANCE, below=self.score + TOLERANCE)
        if not len(near):
            return None
        scores = scorer.scores(near)
        chosen = int(scores.argmin())  # the first of the lowest
        score = float(scores[chosen])
        gain = self.score - score
        options = self.options
        if not gain > 0 or not (self.score > options.min_gain_limit or gain >= options.min_gain):
            return None
        return self._make(near, chosen, score)

    def _make(self, near: Candidates, chosen: int, score: float) -> Step:
        move = near.move(chosen)
        index = move.instance
        before = self.placement.primary[index], self.placement.secondary[index]
        failure = try_move(self.placement, move, force=self.options.ignore_soft_errors)
        assert failure is None, (move, failure)  # the evaluation allowed it
        self.score = score
        after = self.placement.primary[index], self.placement.secondary[index]
        return Step(move, before, after, score)

    def _tools(self) -> tuple[Evaluator, ExactScorer]:
        if self._evaluator is None or self._scorer is None:
            self._evaluator = Evaluator(self.placement, self.scope, self._fleet, self.options)
            self._scorer = ExactScorer(self.placement, self.scope, self._fleet)
        else:
            self._evaluator.refresh()
            self._scorer.refresh()
        return self._evaluator, self._scorer


def balance(
    placement: Placement,
    scope: Ints,
    options: Options,
    *,
    max_steps: int = -1,
    stop_at: float = 0.0,
) -> Iterator[Step]:
    """Balance a scope step by step, changing `placement`; stop at a score or after some steps."""
    greedy = Greedy(placement, scope, options)
    done = 0
    while (max_steps < 0 or done < max_steps) and greedy.score > stop_at:
        step = greedy.step()
        if step is None:
            return
        done += 1
        yield step


def job_sets(steps: list[Step]) -> list[list[Step]]:
    """Break a plan into sets of moves that share no node, so that a set can run at once.

    From the end: a move joins the set after it unless a node of its is in that set. Ganeti's
    rule, which compares neighbours only; `schedule` makes better use of what is independent.
    """
    sets: list[list[Step]] = []
    used: set[int] = set()
    for step in reversed(steps):
        if sets and used.isdisjoint(step.nodes):
            sets[0].insert(0, step)
            used.update(step.nodes)
        else:
            sets.insert(0, [step])
            used = set(step.nodes)
    return sets

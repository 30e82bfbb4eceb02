"""The balancers: greedy against trying every move, search against greedy, plans step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement import metrics
from commands.placement.balance import Step, balance, job_sets, movable
from commands.placement.model import Mirror
from commands.placement.moves import Kind, Move, try_move
from commands.placement.options import Options
from commands.placement.search import Search
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_frame

SEEDS = st.integers(0, 10**6)


def moves_of(placement: Placement, index: int) -> list[Move]:
    """All moves of an instance in the order in which htools tries them."""
    frame = placement.frame
    nodes = (placement.primary[index], placement.secondary[index])
    targets = [n for n in range(frame.size) if not frame.offline[n] and n not in nodes]
    if placement.instances[index].mirror is Mirror.EXTERNAL:
        return [Move(index, Kind.FAILOVER_TO_ANY, target) for target in targets]
    alive = not frame.offline[nodes[1]]
    kinds = [Kind.REPLACE_SECONDARY, Kind.REPLACE_AND_FAILOVER]
    if alive:
        kinds += [Kind.REPLACE_PRIMARY, Kind.FAILOVER_AND_REPLACE]
    first = [Move(index, Kind.FAILOVER)] if alive else []
    return first + [Move(index, kind, target) for target in targets for kind in kinds]


def slow_step(placement: Placement, scope: np.ndarray) -> tuple[Move, float] | None:
    """The best move by making every one of them."""
    best_score, best = metrics.score(placement, scope), None
    start = best_score
    for index in np.flatnonzero(movable(placement)):
        for move in moves_of(placement, int(index)):
            after = placement.copy()
            if try_move(after, move) is None:
                score = metrics.score(after, scope)
                if score < best_score:
                    best_score, best = score, move
    if best is None or not (start > 0.1 or start - best_score >= 0.01):
        return None
    return best, best_score


@pytest.mark.property
@settings(max_examples=25, deadline=None)
@given(SEEDS, st.booleans())
def test_greedy_makes_the_moves_of_exhaustive_trial(seed: int, fancy: bool) -> None:
    """Each step is the first of the best moves, with its score to the last bit."""
    placement = Placement(random_frame(seed, nodes=5, instances=12, fancy=fancy))
    scope = np.arange(placement.frame.size)
    slow = placement.copy()
    for step in balance(placement, scope, Options(), max_steps=4, stop_at=-1.0):
        expected = slow_step(slow, scope)
        assert expected is not None
        assert (step.move, step.score) == expected
        try_move(slow, step.move)
    if not len(scope[~placement.frame.offline]):
        return


def failing(placement: Placement) -> set[int]:
    return set(np.flatnonzero(placement.fails_n1() & ~placement.frame.offline).tolist())


@pytest.mark.property
@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(["greedy", "search"]))
def test_a_plan_never_breaks_n1_where_it_held(seed: int, algorithm: str) -> None:
    """Step by step every move is legal, and no node fails N+1 that did not before.

    Without offline nodes: leaving one is allowed to break soft limits.
    """
    placement = Placement(random_frame(seed, nodes=6, instances=24, fancy=False))
    scope = np.arange(placement.frame.size)
    before = placement.copy()
    if algorithm == "greedy":
        steps = list(balance(placement, scope, Options()))
    else:
        steps = Search(placement, scope, Options()).run(more=times(4))
    ill = failing(before)
    for step in steps:
        assert try_move(before, step.move) is None
        assert metrics.score(before, scope) == pytest.approx(step.score, abs=1e-9)
        assert failing(before) <= ill
        ill = failing(before)
    assert before.primary == placement.primary
    assert before.secondary == placement.secondary


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(SEEDS, st.booleans())
def test_search_is_at_least_as_good_as_greedy(seed: int, fancy: bool) -> None:
    """Its score is no higher, and it moves no more instances."""
    placement = Placement(random_frame(seed, nodes=6, instances=30, fancy=fancy))
    scope = np.arange(placement.frame.size)
    greedy, found = placement.copy(), placement.copy()
    list(balance(greedy, scope, Options()))
    Search(found, scope, Options()).run(more=times(4))
    assert metrics.score(found, scope) <= metrics.score(greedy, scope) + 1e-9
    assert moved(placement, found) <= moved(placement, greedy)


def test_local_search_gains_over_greedy() -> None:
    """On one cluster: a lower score, with fewer instances moved; the same again the next time."""
    placement = Placement(random_frame(4, nodes=6, instances=40, fancy=False))
    scope = np.arange(placement.frame.size)
    greedy, found, again = placement.copy(), placement.copy(), placement.copy()
    list(balance(greedy, scope, Options()))
    plan = Search(found, scope, Options()).run(more=times(20))
    assert metrics.score(found, scope) < metrics.score(greedy, scope) - 0.05
    assert moved(placement, found) < moved(placement, greedy)
    assert Search(again, scope, Options()).run(more=times(20)) == plan


def times(number: int) -> Callable[[], bool]:
    """Say yes so often."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


def moved(before: Placement, after: Placement) -> int:
    """How many instances are on other nodes, or in other roles."""
    old = zip(before.primary, before.secondary, strict=True)
    new = zip(after.primary, after.secondary, strict=True)
    return sum(one != two for one, two in zip(old, new, strict=True))


def test_job_sets_keep_the_order_and_share_no_node() -> None:
    """The sets in order are the plan; within a set no two moves touch the same node."""
    placement = Placement(random_frame(5, nodes=9, instances=60, fancy=False))
    steps: list[Step] = list(balance(placement, np.arange(9), Options()))
    sets = job_sets(steps)
    assert [step for found in sets for step in found] == steps
    assert len(sets) > 1
    for found in sets:
        nodes = [node for step in found for node in step.nodes]
        assert len(nodes) == len(set(nodes))

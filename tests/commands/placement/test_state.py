"""The incremental placement against the slow reference, and moves against their undo."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement import metrics
from commands.placement.exact import Candidates, ExactScorer
from commands.placement.fleet import build_fleet
from commands.placement.model import Mirror
from commands.placement.moves import Kind, Move, nodes_after, try_move
from commands.placement.state import _ROWS, Placement
from tests.commands.placement.clusters import random_frame
from tests.commands.placement.reference import Reference

SEEDS = st.integers(0, 10**6)


def random_move(rng: random.Random, placement: Placement) -> Move | None:
    """Some move of some instance, feasible or not."""
    index = rng.randrange(len(placement.instances))
    mirror = placement.instances[index].mirror
    nodes = (placement.primary[index], placement.secondary[index])
    targets = [node for node in range(placement.frame.size) if node not in nodes]
    if mirror is Mirror.NONE or not targets:
        return None
    if mirror is Mirror.EXTERNAL:
        return Move(index, Kind.FAILOVER_TO_ANY, rng.choice(targets))
    kind = Kind(rng.randrange(5))
    return Move(index, kind) if kind is Kind.FAILOVER else Move(index, kind, rng.choice(targets))


def scope_of(placement: Placement) -> np.ndarray:
    return np.arange(placement.frame.size)


@pytest.mark.property
@settings(max_examples=120, deadline=None)
@given(SEEDS, st.booleans())
def test_increments_agree_with_the_definition(seed: int, fancy: bool) -> None:
    """After any sequence of moves the score is that of a recount from nothing."""
    rng = random.Random(seed)
    placement = Placement(random_frame(seed, fancy=fancy))
    for _ in range(12):
        expected = Reference(placement.frame, placement.primary, placement.secondary).score()
        assert metrics.score(placement, scope_of(placement)) == pytest.approx(expected, abs=1e-9)
        for node in range(placement.frame.size):
            assert placement.reserve[node] == placement.peers[node].max()
        move = random_move(rng, placement)
        if move is not None:
            try_move(placement, move, force=rng.random() < 0.5)


@pytest.mark.property
@settings(max_examples=120, deadline=None)
@given(SEEDS, st.booleans())
def test_score_of_a_move_is_the_score_after_it(seed: int, fancy: bool) -> None:
    """The exact scorer foretells, to the last bit, the score that a move leads to."""
    rng = random.Random(seed)
    placement = Placement(random_frame(seed, fancy=fancy))
    scorer = ExactScorer(placement, scope_of(placement), build_fleet(placement))
    moves = [move for move in (random_move(rng, placement) for _ in range(20)) if move is not None]
    if not moves:
        return
    candidates = Candidates(
        np.array([move.instance for move in moves]),
        np.array([move.kind for move in moves]),
        np.array([move.target for move in moves]),
    )
    for move, expected in zip(moves, scorer.scores(candidates), strict=True):
        after = placement.copy()
        if try_move(after, move, force=True) is None:
            assert metrics.score(after, scope_of(after)) == expected


@pytest.mark.property
@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_a_refused_move_changes_nothing(seed: int) -> None:
    """A move that fails leaves every array and list as it was; one that succeeds moves only one."""
    rng = random.Random(seed)
    placement = Placement(random_frame(seed))
    for _ in range(10):
        move = random_move(rng, placement)
        if move is None:
            continue
        before = placement.copy()
        expected = nodes_after(
            move.kind, before.primary[move.instance], before.secondary[move.instance], move.target
        )
        if try_move(placement, move) is None:
            assert expected == (
                placement.primary[move.instance],
                placement.secondary[move.instance],
            )
            continue
        assert placement.primary == before.primary
        assert placement.secondary == before.secondary
        assert placement.primaries == before.primaries
        assert placement.secondaries == before.secondaries
        for name in _ROWS:
            assert (getattr(placement, name) == getattr(before, name)).all(), name


def test_sums_are_made_in_node_order() -> None:
    """The statistics add one node after the other, as a plain loop does."""
    rng = np.random.default_rng(1)
    table = rng.random((1000, 2))
    spread, total = metrics.deviations(table)
    for column in range(2):
        added = 0.0
        for value in table[:, column]:
            added += float(value)
        assert added == total[column]
        squares = 0.0
        for value in table[:, column]:
            delta = float(value) - added / 1000
            squares += delta * delta
        assert spread[column] == (squares / 1000) ** 0.5

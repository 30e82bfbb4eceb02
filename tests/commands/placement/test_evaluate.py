"""The evaluation of all moves at once against one move at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement import metrics
from commands.placement.evaluate import Evaluator
from commands.placement.fleet import build_fleet
from commands.placement.moves import Kind, Move, try_move
from commands.placement.options import Options
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_frame

OPTIONS = st.sampled_from(
    [
        Options(),
        Options(),
        Options(ignore_soft_errors=True),
        Options(restricted_migration=True),
        Options(instance_moves=False),
        Options(disk_moves=False),
    ]
)


def expected_kinds(placement: Placement, index: int, options: Options) -> set[Kind]:
    """The kinds of moves that htools tries for an instance."""
    frame = placement.frame
    if placement.instances[index].mirror.value == "external":
        return {Kind.FAILOVER_TO_ANY} if options.instance_moves else set()
    alive = not frame.offline[placement.secondary[index]] and options.instance_moves
    kinds = {Kind.FAILOVER} if alive else set()
    if not options.disk_moves:
        return kinds
    kinds.add(Kind.REPLACE_SECONDARY)
    offline = frame.offline[placement.primary[index]]
    if not options.instance_moves or (options.restricted_migration and not offline):
        return kinds
    kinds.add(Kind.REPLACE_AND_FAILOVER)
    if alive:
        kinds.add(Kind.FAILOVER_AND_REPLACE)
        if not options.restricted_migration:
            kinds.add(Kind.REPLACE_PRIMARY)
    return kinds


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), OPTIONS)
def test_every_move_costs_what_it_leads_to(seed: int, fancy: bool, options: Options) -> None:
    """Exactly the moves that can be made have a finite cost, and it is the score after them."""
    placement = Placement(random_frame(seed, nodes=5, instances=14, fancy=fancy))
    scope = np.arange(placement.frame.size)
    fleet = build_fleet(placement)
    evaluator = Evaluator(placement, scope, fleet, options)
    if not len(evaluator.online):
        return
    for index in np.flatnonzero(fleet.internal | fleet.external):
        found = evaluator.costs(np.array([index]))
        tried = expected_kinds(placement, int(index), options)
        for kind in Kind:
            if kind not in found:
                assert kind not in tried
                continue
            targets = [-1] if kind is Kind.FAILOVER else list(evaluator.online)
            for column, target in enumerate(targets):
                cost = float(found[kind][0, column])
                mine = (placement.primary[index], placement.secondary[index])
                after = placement.copy()
                legal = kind in tried and target not in [node for node in mine if node >= 0]
                move = Move(int(index), kind, int(target))
                failure = try_move(after, move, force=options.ignore_soft_errors) if legal else 0
                if failure is not None:
                    assert cost == np.inf, (move, failure)
                else:
                    assert cost == pytest.approx(metrics.score(after, scope), abs=1e-7), move

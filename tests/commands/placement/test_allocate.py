"""Allocation: all candidates at once against one at a time."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement import metrics
from commands.placement.admission import admit_primary, admit_secondary
from commands.placement.allocate import (
    Unplaced,
    _redundant_pairs,
    _stays_redundant,
    all_nodes,
    allocatable,
    allocate,
)
from commands.placement.dedicated import room_for
from commands.placement.explain import explain, text_of
from commands.placement.frame import build_frame
from commands.placement.insertion import (
    FITS,
    PairScorer,
    primary_reasons,
    secondary_reasons,
    single_scores,
)
from commands.placement.model import NO_NODE, Instance
from commands.placement.options import Options
from commands.placement.packing import Packer, packs
from commands.placement.state import _ROWS, Placement
from tests.commands.placement.clusters import random_cluster, random_frame, random_instance

SEEDS = st.integers(0, 10**6)
UNCHECKED = Options(capacity_checks=False)


def new_instance(seed: int, template: str, *, fancy: bool = True) -> Instance:
    """An instance that is nowhere yet, within the default policy."""
    made = random_instance(random.Random(seed), 999, 3, fancy=fancy)
    return msgspec.structs.replace(
        made, name="new", template=template, primary=NO_NODE, secondary=NO_NODE
    )


def setting(seed: int, template: str, *, fancy: bool = True) -> tuple[Placement, Instance]:
    """A cluster and an instance for it, whose tags the frame knows."""
    instance = new_instance(seed, template, fancy=fancy)
    cluster = random_cluster(seed, nodes=6, instances=18, fancy=fancy)
    return Placement(build_frame(cluster, extra=[instance])), instance


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from(["drbd", "plain", "ext"]), st.booleans())
def test_reasons_are_those_of_the_checks(seed: int, template: str, force: bool) -> None:
    """For every node and pair the reason found at once is the one that a single check gives."""
    placement, instance = setting(seed, template)
    demand, nodes = placement.frame.demand(instance), all_nodes(placement)
    found = primary_reasons(placement, demand, nodes, force=force)
    for node in nodes:
        reason = admit_primary(placement, int(node), demand, force=force)
        assert found[node] == (FITS if reason is None else reason)
    pairs = secondary_reasons(placement, demand, nodes, nodes)
    for primary in nodes:
        for node in nodes:
            reason = admit_secondary(placement, int(node), demand, int(primary))
            assert pairs[primary, node] == (FITS if reason is None else reason)


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
def test_scores_foretell_the_score_with_the_instance(seed: int, fancy: bool) -> None:
    """Single scores agree to the last bit, those of pairs to rounding."""
    placement, single = setting(seed, "plain", fancy=fancy)
    scope = all_nodes(placement)
    scores = single_scores(placement, scope, placement.frame.demand(single), scope)
    for node in scope:
        after = placement.copy()
        after.add(single, int(node))
        assert metrics.score(after, scope) == scores[node]
    online, _ = metrics.split_online(placement, scope)
    if not len(online):
        return
    mirrored = msgspec.structs.replace(single, template="drbd")
    demand = placement.frame.demand(mirrored)
    pairs = PairScorer(placement, scope).scores(demand, online)
    for row, primary in enumerate(online):
        for column, secondary in enumerate(online):
            if primary != secondary:
                after = placement.copy()
                after.add(mirrored, int(primary), int(secondary))
                expected = metrics.score(after, scope)
                assert pairs[row, column] == pytest.approx(expected, abs=1e-7)


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 5))
def test_more_room_never_refuses_what_fitted(seed: int, node: int) -> None:
    """With more memory, disk and CPUs on a node an instance that had a place still has one."""
    placement, instance = setting(seed, "drbd", fancy=False)
    scope = all_nodes(placement)
    before = allocate(
        placement, scope, instance, allocatable(placement, scope, UNCHECKED), UNCHECKED
    )
    cluster = placement.frame.cluster
    old = cluster.nodes[node]
    larger = msgspec.structs.replace(
        old,
        total_memory=old.total_memory + 4096,
        free_memory=old.free_memory + 4096,
        total_disk=old.total_disk + 100_000,
        free_disk=old.free_disk + 100_000,
        cpus=old.cpus + 8,
    )
    nodes = (*cluster.nodes[:node], larger, *cluster.nodes[node + 1 :])
    grown = Placement(build_frame(msgspec.structs.replace(cluster, nodes=nodes)))
    after = allocate(grown, scope, instance, allocatable(grown, scope, UNCHECKED), UNCHECKED)
    assert after.found or not before.found
    assert after.successes >= before.successes


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans())
def test_redundancy_of_pairs_is_that_of_trying_them(seed: int, accept: bool) -> None:
    """For clusters of DRBD alone the table agrees with adding the instance and looking."""
    cluster = random_cluster(seed, nodes=5, instances=16, fancy=False)
    rng = random.Random(seed)
    nodes = tuple(
        msgspec.structs.replace(
            node, total_memory=9000.0, free_memory=100, offline=rng.random() < 0.2
        )
        for node in cluster.nodes
    )
    placement = Placement(build_frame(msgspec.structs.replace(cluster, nodes=nodes)))
    instance = new_instance(seed, "drbd", fancy=False)
    demand, scope = placement.frame.demand(instance), all_nodes(placement)
    options = Options(accept_existing=accept)
    table = _redundant_pairs(placement, scope, demand, scope, scope, options)
    for primary in scope:
        for secondary in scope:
            if primary != secondary:
                pair = int(primary), int(secondary)
                tried = _stays_redundant(placement, scope, instance, pair, options)
                assert table[pair] == tried, pair


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_packing_places_where_allocation_does(seed: int, fancy: bool, alike: bool) -> None:
    """One after the other, equal instances go to the same pairs as by trying all candidates."""
    placement, instance = setting(seed, "drbd", fancy=fancy)
    instance = msgspec.structs.replace(instance, forthcoming=False, tags=())
    if alike:
        cluster = placement.frame.cluster
        nodes = tuple(
            msgspec.structs.replace(cluster.nodes[0], name=node.name, offline=False)
            for node in cluster.nodes
        )
        empty = msgspec.structs.replace(cluster, nodes=nodes, instances=())
        placement = Placement(build_frame(empty))
    scope = all_nodes(placement)
    targets = allocatable(placement, scope, UNCHECKED)
    if len(targets) < 2 or not packs(placement, targets, instance):
        return
    fast, slow = placement.copy(), placement.copy()
    count = Packer(fast, scope, instance, targets, UNCHECKED).fill(25, 7)
    for number in range(count):
        expected = allocate(slow, scope, instance, targets, UNCHECKED)
        slow.add(msgspec.structs.replace(instance, name=f"new-{7 + number}"), *expected.nodes)
    assert count == 25 or not allocate(slow, scope, instance, targets, UNCHECKED).found
    assert fast.instances == slow.instances
    assert fast.primary == slow.primary
    assert fast.secondary == slow.secondary
    assert fast.primaries == slow.primaries
    assert fast.secondaries == slow.secondaries
    for name in _ROWS:
        assert np.array_equal(getattr(fast, name), getattr(slow, name)), name


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_room_is_what_fits_one_after_the_other(seed: int) -> None:
    """The number of equal instances that a node takes is found without adding them."""
    placement, instance = setting(seed, "plain")
    instance = msgspec.structs.replace(instance, tags=(), forthcoming=False, status="running")
    demand = placement.frame.demand(instance)
    for node in range(placement.frame.size):
        state, count = placement.copy(), 0
        while admit_primary(state, node, demand) is None and count < 50:
            state.add(instance, node)
            count += 1
        assert min(50, room_for(placement, node, demand)) == count


@pytest.mark.property
@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from(["drbd", "plain"]))
def test_an_explanation_agrees_with_the_decision(seed: int, template: str) -> None:
    """A node that is said to fit does, one that is refused lacks something or breaks a rule."""
    placement, instance = setting(seed, template)
    instance = msgspec.structs.replace(instance, forthcoming=False)
    scope = all_nodes(placement)
    nodes = allocatable(placement, scope, UNCHECKED)
    try:
        chosen = allocate(placement, scope, instance, nodes, UNCHECKED).nodes
    except Unplaced:
        return
    found = explain(placement, scope, instance, nodes, chosen)
    demand = placement.frame.demand(instance)
    for one in found.candidates:
        node = placement.frame.names.index(one.node)
        if one.role == "primary" and one.fits:
            assert admit_primary(placement, node, demand) is None
            assert all(limit.lacking == 0 for limit in one.limits)
        if not one.fits:
            unknown = demand.spindles is None and placement.frame.exclusive[node]
            assert unknown or any(limit.lacking > 0 for limit in one.limits), one
    names = [placement.frame.names[node] for node in chosen]
    assert list(found.chosen) == names
    assert all(name in text_of(found) for name in names)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_random_frames_do_not_hide_allocation() -> None:
    """The random clusters leave room in most cases, so the laws above have something to hold."""
    placed = 0
    for seed in range(20):
        placement = Placement(random_frame(seed, fancy=False))
        scope = np.arange(placement.frame.size)
        found = allocate(
            placement, scope, new_instance(seed, "drbd", fancy=False), scope, UNCHECKED
        )
        placed += found.found
    assert placed > 10

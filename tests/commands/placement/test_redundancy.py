"""Global N+1 against the plain simulation of every failure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement import metrics
from commands.placement.fleet import Fleet, build_fleet, build_part
from commands.placement.frame import build_frame
from commands.placement.model import NO_NODE, Cluster, Group, Instance, Node
from commands.placement.moves import Kind, Move, try_move
from commands.placement.redundancy import evacuable
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_frame

MEMORY_MIB = 24
Guest = tuple[int, int, int, bool]  # primary node, MiB, nodes to its copy (0: none), running

GUESTS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 9),
        st.sampled_from([0, 0, 0, 0, 1, 2]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=18,
)


def instance(number: int, guest: Guest, nodes: int) -> Instance:
    """An instance on shared storage, or on DRBD if it has a copy."""
    primary, memory, distance, running = guest
    mirrored = 0 < distance < nodes
    return Instance(
        name=f"inst{number}",
        memory=memory,
        disk=1,
        vcpus=1,
        status="running" if running else "ADMIN_down",
        template="drbd" if mirrored else "ext",
        primary=primary % nodes,
        secondary=(primary + distance) % nodes if mirrored else NO_NODE,
    )


def tight(guests: list[Guest], nodes: int) -> Placement:
    """Nodes of few MiB, which the instances fill as well as they can."""
    made = tuple(instance(number, guest, nodes) for number, guest in enumerate(guests))
    used = Counter[int]()
    for one in made:
        used[one.primary] += one.memory if one.uses_memory else 0
    machines = tuple(
        Node(
            name=f"node{number}",
            group=0,
            total_memory=float(MEMORY_MIB),
            node_memory=0,
            free_memory=MEMORY_MIB - used[number],
            total_disk=1000.0,
            free_disk=900,
            cpus=64.0,
        )
        for number in range(nodes)
    )
    group = Group("default", "uuid-0", "preferred")
    return Placement(build_frame(Cluster(groups=(group,), nodes=machines, instances=made)))


def survives(placement: Placement, node: int) -> bool:
    """Move everything off a node, one by one, each to where the score is lowest."""
    state, scope = placement.copy(), np.arange(placement.frame.size)
    leaving = list(state.primaries[node])
    for index in leaving:
        if not state.instances[index].mirrored:
            continue
        if try_move(state, Move(index, Kind.FAILOVER), force=True) is not None:
            return False
    for index in leaving:
        if state.instances[index].mirrored:
            continue
        found: tuple[float, Placement] | None = None
        for target in range(state.frame.size):
            trial = state.copy()
            held = state.demand(index).held
            if target == node or state.unallocated[target] <= held:
                continue
            move = Move(index, Kind.FAILOVER_TO_ANY, target)
            assert try_move(trial, move, force=True) is None
            score = metrics.score(trial, scope)
            if found is None or score <= found[0]:
                found = score, trial
        if found is None:
            return False
        state = found[1]
    return True


@pytest.mark.property
@settings(max_examples=300, deadline=None)
@given(GUESTS, st.integers(2, 5))
def test_a_node_can_fail_if_moving_its_instances_one_by_one_works(
    guests: list[Guest], nodes: int
) -> None:
    """What is decided without trying is what trying each move would say."""
    placement = tight(guests, nodes)
    expected = [survives(placement, node) for node in range(nodes)]
    assert evacuable(placement, np.arange(nodes)).tolist() == expected


@pytest.mark.parametrize(("size", "survived"), [(11, True), (12, False), (13, False)])
def test_a_node_keeps_a_mib_beyond_what_it_takes(size: int, survived: bool) -> None:
    """Of nodes of 24 MiB with an instance of 11 each one can fail; of 12 it cannot."""
    placement = tight([(node, size, 0, True) for node in range(3)], 3)
    assert evacuable(placement, np.arange(3)).tolist() == [survived] * 3


@pytest.mark.property
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sets(st.integers(0, 19)))
def test_part_of_a_fleet_has_the_same_rows(seed: int, chosen: set[int]) -> None:
    """A fleet of some instances agrees with that of all in their rows, and is zero elsewhere."""
    placement = Placement(random_frame(seed))
    rows = sorted(chosen)
    others = [index for index in range(len(placement.instances)) if index not in chosen]
    whole, part = build_fleet(placement), build_part(placement, rows)
    for name in Fleet.__slots__:
        one, other = getattr(part, name), getattr(whole, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one[rows], other[rows])
        assert not one[others].any()

"""Capacity, schedules, evacuation, rolling reboots: what they promise of their results."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement.allocate import all_nodes
from commands.placement.balance import balance
from commands.placement.capacity import Filler, totals
from commands.placement.colouring import ALGORITHMS, build_graph, classes
from commands.placement.evacuate import Mode, evacuate
from commands.placement.frame import build_frame
from commands.placement.model import (
    DEFAULT_POLICY,
    NO_NODE,
    Cluster,
    Disk,
    FailMode,
    Group,
    Instance,
    Node,
    shrinkable,
    shrunk,
)
from commands.placement.moves import try_move
from commands.placement.options import Options
from commands.placement.redundancy import evacuable, redundant
from commands.placement.rolling import (
    NoRoom,
    move_away_unmirrored,
    reboot_graph,
    split_rounds,
)
from commands.placement.schedule import Rates, dependencies, duration_s, schedule
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_frame

SEEDS = st.integers(0, 10**6)


def empty(nodes: int, *, memory: int = 8192, disk: int = 100_000, cpus: int = 4) -> Placement:
    """A cluster of equal empty nodes."""
    made = tuple(
        Node(f"node{n}", 0, float(memory), 0, memory, float(disk), disk, float(cpus), spindles=4)
        for n in range(nodes)
    )
    group = Group("default", "uuid", "preferred")
    return Placement(build_frame(Cluster((group,), made, ())))


def wanted(template: str, memory: int = 1024, disk: int = 4096, vcpus: int = 1) -> Instance:
    disks = (Disk(disk, 1),)
    return Instance("new", memory, disk, vcpus, "running", template, NO_NODE, disks=disks)


def slow_tiered(filler: Filler, placement: Placement, instance: Instance) -> list[tuple[int, ...]]:
    """The tiers by shrinking one unit at a time by the most frequent reason."""
    found = filler.fill(filler.start(placement), instance, None)
    while True:
        reason = max(FailMode, key=lambda mode: (found.failures[mode], mode))
        if not shrinkable(instance, reason):
            break
        instance = shrunk(instance, reason)
        found = filler.fill(found, instance, None)
    return [(one.memory, one.disk, one.vcpus) for one in found.added]


@pytest.mark.parametrize("template", ["drbd", "plain"])
@pytest.mark.parametrize("capacity", [False, True])
def test_tiers_found_by_stretches_are_those_of_single_steps(template: str, capacity: bool) -> None:
    """Skipping sizes that fail alike leaves out no instance, where one reason is enough."""
    placement = empty(3, memory=6000, disk=20_000)
    filler = Filler(np.arange(3), Options(capacity_checks=capacity and template == "drbd"))
    instance = wanted(template, memory=4096, disk=8192)
    tiers = filler.fill_tiered(filler.start(placement), instance, None)
    mine = [(one.memory, one.disk, one.vcpus) for one in tiers.added]
    expected = slow_tiered(filler, placement, instance)
    assert mine[: len(expected)] == expected
    assert len(mine) >= 3


def test_totals_balance() -> None:
    """What is free, used and overhead adds up to what there is."""
    placement = empty(3)
    placement.add(wanted("drbd"), 0, 1)
    sums = totals(placement)
    used = sums.used_memory + sums.free_memory + sums.overhead_memory
    assert used == pytest.approx(sums.total_memory)
    assert sums.used_disk + sums.free_disk == sums.total_disk


def test_a_shrunk_instance_keeps_a_unit() -> None:
    """Nothing shrinks below one unit, and other reasons shrink nothing."""
    instance = wanted("plain", memory=200, disk=600)
    assert shrinkable(instance, FailMode.MEM) == 2
    assert shrunk(instance, FailMode.MEM, 2).memory == 72
    assert shrinkable(instance, FailMode.DISK) == 1
    assert shrunk(instance, FailMode.DISK).disks == (Disk(344, 1),)
    assert shrinkable(instance, FailMode.TAGS) == 0


@pytest.mark.property
@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_any_order_that_the_graph_permits_is_legal(seed: int) -> None:
    """Moves in a random order that respects what each waits for all pass their checks."""
    rng = random.Random(seed)
    placement = Placement(random_frame(seed, nodes=6, instances=30, fancy=False))
    before = placement.copy()
    steps = list(balance(placement, np.arange(6), Options()))
    waits = dependencies(before, steps)
    left, done = set(range(len(steps))), set[int]()
    while left:
        position = rng.choice([n for n in sorted(left) if set(waits[n]) <= done])
        assert try_move(before, steps[position].move) is None, position
        left.remove(position)
        done.add(position)
    assert before.primary == placement.primary


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
def test_a_schedule_keeps_its_limits(seed: int, migrations: int, resyncs: int) -> None:
    """Nothing starts before what it waits for has ended, and no node bears more than it may."""
    placement = Placement(random_frame(seed, nodes=6, instances=30, fancy=False))
    before = placement.copy()
    steps = list(balance(placement, np.arange(6), Options()))
    rates = Rates(migrations_per_node=migrations, resyncs_per_node=resyncs)
    planned = schedule(before, steps, rates)
    for one in planned:
        assert one.end_s - one.start_s == pytest.approx(
            duration_s(before, steps[one.position], rates)
        )
        assert all(planned[earlier].end_s <= one.start_s + 1e-9 for earlier in one.after)
    for moment in {one.start_s for one in planned}:
        running = [one for one in planned if one.start_s <= moment < one.end_s]
        for node in range(6):
            here = [steps[one.position] for one in running if node in steps[one.position].nodes]
            assert sum(step.move.kind.value != 1 for step in here) <= migrations
            assert sum(step.move.kind.value not in (0, 5) for step in here) <= resyncs


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(list(Mode)))
def test_evacuated_instances_have_left(seed: int, mode: Mode) -> None:
    """Every instance is either moved off the nodes in question, legally, or reported."""
    placement = Placement(random_frame(seed, nodes=6, instances=16))
    before = placement.copy()
    instances = list(range(0, 16, 3))
    found = evacuate(placement, instances, mode, Options())
    done = [one.instance for one in found.moved]
    assert sorted(done + [index for index, _ in found.failed]) == instances
    for one in found.moved:
        old = before.primary[one.instance], before.secondary[one.instance]
        new = placement.primary[one.instance], placement.secondary[one.instance]
        if mode is not Mode.SECONDARY:
            assert new[0] != old[0]
        if mode is not Mode.PRIMARY and before.instances[one.instance].mirrored:
            assert new[1] != old[1]
        assert one.nodes == new[: len(one.nodes)]
    assert all(reason for _, reason in found.failed)


def test_a_node_that_cannot_be_evacuated_is_found() -> None:
    """Redundancy fails exactly where the memory for a failover is missing."""
    placement = empty(3, memory=4096)
    placement.add(msgspec.structs.replace(wanted("drbd", memory=3000), name="a"), 0, 1)
    assert redundant(placement, all_nodes(placement), Options())
    placement.add(msgspec.structs.replace(wanted("ext", memory=2000), name="b"), 1)
    assert list(evacuable(placement, all_nodes(placement))) == [False, True, True]
    assert not redundant(placement, all_nodes(placement), Options())
    assert redundant(placement, all_nodes(placement), Options(ignored_groups=frozenset({0})))


@pytest.mark.property
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40),
)
def test_colours_of_neighbours_differ(size: int, pairs: list[tuple[int, int]]) -> None:
    """Every algorithm colours all vertices, and never both ends of an edge alike."""
    edges = [(a, b) for a, b in pairs if a < size and b < size and a != b]
    graph = build_graph(range(size), edges + [edge[::-1] for edge in edges])
    for _, algorithm in ALGORITHMS:
        colours = algorithm(graph)
        assert sorted(colours) == list(range(size))
        assert all(colours[a] != colours[b] for a, b in edges)
        assert sorted(vertex for found in classes(colours) for vertex in found) == list(range(size))


@pytest.mark.property
@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_rebooted_together_means_not_both_nodes_of_an_instance(seed: int) -> None:
    """In no round are both nodes of an instance down; those without a copy are elsewhere."""
    placement = Placement(random_frame(seed, nodes=6, instances=14))
    online = np.flatnonzero(~placement.frame.offline)
    if not len(online):
        return
    graph = reboot_graph(placement, online, instances_down=False)
    for colour in classes(ALGORITHMS[0][1](graph)):
        nodes = [node for node in colour if node in set(online.tolist())]
        try:
            rounds = split_rounds(placement, nodes, move_away_unmirrored)
        except NoRoom:
            continue
        assert sorted(node for one in rounds for node in one.nodes) == nodes
        for one in rounds:
            down = set(one.nodes)
            for index, inst in enumerate(placement.instances):
                if inst.forthcoming:
                    continue
                pair = one.placement.primary[index], one.placement.secondary[index]
                if inst.mirrored:
                    assert not set(pair) <= down
                else:
                    assert pair[0] not in down


def test_the_default_policy_is_ganetis() -> None:
    """One pair of bounds, all templates, ratios 4 and 32."""
    assert len(DEFAULT_POLICY.bounds) == 1
    assert len(DEFAULT_POLICY.templates) == 9
    assert (DEFAULT_POLICY.vcpu_ratio, DEFAULT_POLICY.spindle_ratio) == (4.0, 32.0)

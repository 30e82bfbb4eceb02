"""The model of a running cluster holds all there is, once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement.frame import build_frame
from commands.placement.from_cluster import figures, model_of
from commands.placement.state import Placement
from projections.objects import ADMIN_DOWN, ADMIN_OFFLINE, ADMIN_UP
from projections.plans import Reservation, Reservations
from tests.commands.building import Town, node_uuid

INSTANCES = st.lists(
    st.tuples(
        st.sampled_from(("plain", "drbd", "sharedfile", "diskless")),
        st.permutations((1, 2, 3, 4)),
        st.sampled_from((ADMIN_UP, ADMIN_DOWN, ADMIN_OFFLINE)),
        st.integers(128, 4000),
        st.integers(1024, 9000),
    ),
    max_size=8,
)


def built(them: Any) -> Town:
    """Return a town with these instances."""
    town = Town(4)
    for number, (template, nodes, state, memory, disk) in enumerate(them, start=1):
        town.add_instance(
            number,
            nodes=nodes[: 2 if template == "drbd" else 1],
            template=template,
            sizes_mib=(disk,),
            admin_state=state,
            beparams={"maxmem": memory, "minmem": memory},
        )
    return town


@pytest.mark.property
@settings(deadline=None)
@given(INSTANCES)
def test_every_instance_is_counted_once_and_nothing_is_missing(them: Any) -> None:
    """What the nodes report, less what is wanted there, leaves no memory unaccounted for."""
    town = built(them)
    model = model_of(town.cluster, figures(town.cluster, town.given().seen))
    placement = Placement(build_frame(model))
    assert not placement.frame.missing_memory.any()
    assert [one.name for one in model.nodes] == [f"node{n}" for n in range(1, 5)]
    assert {one.name for one in model.instances} == {
        one.name for one in town.cluster.instances.values()
    }
    for one in model.instances:
        wanted = town.cluster.instance(one.name)
        assert model.nodes[one.primary].name == town.cluster.nodes[wanted.primary].name
        assert (one.secondary >= 0) == (wanted.secondary is not None)


@pytest.mark.property
@settings(deadline=None)
@given(INSTANCES, st.integers(0, 5000), st.integers(0, 50000))
def test_a_reservation_takes_just_its_amount(them: Any, memory: int, disk: int) -> None:
    """What an open plan holds on a node is not free there, and nothing else changes."""
    town = built(them)
    seen = town.given().seen
    before = figures(town.cluster, seen)
    held = Reservations(nodes=(Reservation(node=node_uuid(2), memory_mib=memory, disk_mib=disk),))
    after = figures(town.cluster.reserve((7, 0), held), seen)
    for one, other in zip(before, after, strict=True):
        less = (memory, disk) if one.node == node_uuid(2) else (0, 0)
        assert (one.free_memory - other.free_memory, one.free_disk - other.free_disk) == less


def test_what_should_run_counts_although_it_does_not() -> None:
    """An instance that is wanted up has its memory, seen running or not."""
    town = Town(1)
    town.add_instance(1, beparams={"maxmem": 1000})
    seen = dict(town.given().seen)
    ran = figures(town.cluster, seen)[0]
    status = seen[node_uuid(1)]
    seen[node_uuid(1)] = msgspec.structs.replace(
        status, instances=(), memory_free_mib=status.memory_free_mib + 1000
    )
    assert figures(town.cluster, seen)[0] == ran


@pytest.mark.parametrize("fields", [{"drained": True}, {"offline": True}, {"vm_capable": False}])
def test_a_node_that_takes_nothing_is_offline_in_the_model(fields: dict[str, bool]) -> None:
    """The engine then neither places there nor counts its room."""
    town = Town(2)
    town.set_node(2, master_candidate=False, **fields)
    model = model_of(town.cluster, figures(town.cluster, town.given().seen))
    assert [node.offline for node in model.nodes] == [False, True]


def test_a_node_of_which_nothing_was_heard_is_offline_in_the_model() -> None:
    """Nobody knows what it has free."""
    town = Town(2)
    town.lose(2)
    model = model_of(town.cluster, figures(town.cluster, {node_uuid(1): town.status(node_uuid(1))}))
    assert [node.offline for node in model.nodes] == [False, True]

"""Where a new instance goes, and how that is explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.allocation import Choice, Need, choose, choose_secondary
from commands.errors import Refused
from commands.group_ops import set_params as group_set_params
from tests.commands.building import Town, node_uuid

SMALL = Need(memory_mib=512, disk_mib=1024, template="drbd", mirrored=True)
ALONE = Need(memory_mib=512, disk_mib=1024, template="plain", mirrored=False)


def chosen(town: Town, need: Need = SMALL, *, named: bool = False) -> Choice:
    """Return the choice in a town, of any group or of `default`."""
    return choose(town.cluster, town.given().seen, need, town.group if named else None)


def test_the_primary_has_most_memory_and_the_secondary_most_disk() -> None:
    """Ties go to the lower name."""
    town = Town(4)
    town.memory_mib[node_uuid(3)] = 16384
    town.disk_mib[node_uuid(4)] = 204800
    assert chosen(town).nodes == (node_uuid(3), node_uuid(4))
    assert chosen(Town(4)).nodes == (node_uuid(1), node_uuid(2))


def test_a_pair_is_found_if_there_is_one() -> None:
    """The node with most memory is passed over where its disk is full."""
    town = Town(3)
    town.memory_mib[node_uuid(2)] = 65536
    town.disk_mib[node_uuid(2)] = 100
    choice = chosen(town)
    assert choice.nodes == (node_uuid(1), node_uuid(3))
    assert "not node2: has only 100 MiB of disk free" in choice.explanation


def test_an_unallocable_group_is_taken_only_when_it_is_named() -> None:
    """Its policy says that nothing goes there by itself."""
    town = Town(2)
    change = group_set_params.GroupSetParams(group_name="default", alloc_policy="unallocable")
    town.carry_out(group_set_params.HANDLER, change)
    with pytest.raises(Refused, match="is not asked for"):
        chosen(town)
    assert chosen(town, named=True).nodes == (node_uuid(1), node_uuid(2))


def test_a_new_secondary_is_none_of_the_present_nodes() -> None:
    """It is of the primary's group, and has room."""
    town = Town(3)
    town.disk_mib[node_uuid(3)] = 10
    with pytest.raises(Refused, match="node3 has only 10 MiB of disk free"):
        choose_secondary(
            town.cluster,
            town.given().seen,
            SMALL,
            primary=town.node(1),
            not_on=(node_uuid(1), node_uuid(2)),
        )
    found = choose_secondary(
        town.cluster, town.given().seen, SMALL, primary=town.node(1), not_on=(node_uuid(1),)
    )
    assert found.nodes == (node_uuid(2),)


def test_a_refusal_tells_what_is_free_where() -> None:
    """And why each node was not taken."""
    town = Town(3)
    town.set_node(3, drained=True)
    with pytest.raises(Refused) as refusal:
        chosen(town, Need(memory_mib=9000, disk_mib=1, template="plain", mirrored=False))
    assert "node1, node2 has only 8192 MiB of memory free" in refusal.value.message
    assert "node3 is drained" in refusal.value.message
    assert "node1 8192 MiB of memory and 102400 MiB of disk" in refusal.value.hint


def test_nothing_to_choose_from_is_another_refusal() -> None:
    """There is no room to speak of where no node can take anything."""
    town = Town(1)
    town.set_node(1, drained=True, master_candidate=True)
    with pytest.raises(Refused, match="no node can take the instance: node1 is drained"):
        chosen(town)


def test_an_explanation_stays_short_in_a_large_cluster() -> None:
    """It stands in the log; a thousand nodes are a few lines."""
    town = Town(60)
    for number in range(2, 60):
        town.set_node(number, drained=True)
        town.memory_mib[node_uuid(number)] = number
    choice = chosen(town, ALONE)
    assert choice.explanation[-1].endswith("and 53 more: is drained")
    for number in range(2, 60):
        town.set_node(number, drained=False)
        town.memory_mib[node_uuid(number)] = number
    with pytest.raises(Refused) as refusal:
        chosen(town, Need(memory_mib=99999, disk_mib=1, template="plain", mirrored=False))
    assert len(refusal.value.message) + len(refusal.value.hint) < 1500


@pytest.mark.property
@given(
    st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 4096)), min_size=1, max_size=5),
    st.integers(1, 4096),
    st.integers(1, 4096),
    st.booleans(),
)
def test_a_choice_is_found_just_when_there_is_one(
    nodes: list[tuple[int, int]], memory_mib: int, disk_mib: int, mirrored: bool
) -> None:
    """Compared with the definition: any primary with room, and another node with disk."""
    town = Town(len(nodes))
    for number, (memory, disk) in enumerate(nodes, start=1):
        town.memory_mib[node_uuid(number)] = memory
        town.disk_mib[node_uuid(number)] = disk
    need = Need(memory_mib=memory_mib, disk_mib=disk_mib, template="drbd", mirrored=mirrored)
    primaries = [i for i, (m, d) in enumerate(nodes) if m >= memory_mib and d >= disk_mib]
    holders = [i for i, (_, d) in enumerate(nodes) if d >= disk_mib]
    possible = any(not mirrored or set(holders) - {i} for i in primaries)
    if possible:
        found = chosen(town, need).nodes
        assert len(found) == len(set(found)) == (2 if mirrored else 1)
        assert found[0] in {node_uuid(i + 1) for i in primaries}
        assert set(found) <= {node_uuid(i + 1) for i in holders}
    else:
        with pytest.raises(Refused):
            chosen(town, need)

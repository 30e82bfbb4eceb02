"""Where a new instance goes, and how that is explained."""

from __future__ import annotations

import msgspec
import pytest

from commands.allocation import Choice, Wish, choose, choose_other
from commands.errors import Refused
from commands.group_ops import set_params as group_set_params
from commands.placement.basis import Basis, replay
from commands.placement.from_cluster import new_instance
from projections import params
from projections.plans import Reservation, Reservations
from tests.commands.building import Town, node_uuid


def wish(
    *, memory_mib: int = 512, disk_mib: int = 1024, template: str = "drbd", **more: int
) -> Wish:
    """Return what a new instance asks for."""
    backend = {**params.defaults(params.tables().beparams), "maxmem": memory_mib, **more}
    return new_instance(
        name="new.example.net",
        backend=backend,
        template=template,
        disks=((disk_mib, None),),
        tags=(),
    )


def chosen(town: Town, need: Wish, *, named: bool = False) -> Choice:
    """Return the choice in a town, of any group or of `default`."""
    return choose(town.cluster, town.given().seen, need, town.group if named else None)


def test_a_pair_is_found_where_its_disks_fit() -> None:
    """The node with most memory is passed over where its disk is full, and that is said."""
    town = Town(3)
    town.memory_mib[node_uuid(2)] = 65536
    town.disk_mib[node_uuid(2)] = 100
    choice = chosen(town, wish())
    assert set(choice.nodes) == {node_uuid(1), node_uuid(3)}
    assert any(line.startswith("not node2: lacks 1053 MiB of disk") for line in choice.explanation)


def test_the_score_is_told_with_and_without() -> None:
    """A person sees what the placement costs, and what every other node would have."""
    choice = chosen(Town(3), wish(template="plain"))
    assert any("without it" in line and "with it" in line for line in choice.explanation)
    assert any(line.startswith("next best") and "node1 " in line for line in choice.explanation)


def test_what_plans_have_reserved_is_not_free() -> None:
    """Neither memory nor disk is given away twice."""
    town = Town(3)
    held = [Reservation(node=node_uuid(n), memory_mib=8000, disk_mib=10) for n in (1, 2, 3)]
    town.cluster = town.cluster.reserve((1, 0), Reservations(nodes=(held[2],)))
    assert chosen(town, wish(template="plain")).nodes == (node_uuid(2),)
    town.cluster = town.cluster.reserve((2, 0), Reservations(nodes=tuple(held[:2])))
    with pytest.raises(Refused) as refusal:
        chosen(town, wish(template="plain"))
    assert refusal.value.code == "temp_insufficient_resources"


def test_an_unallocable_group_is_taken_only_when_it_is_named() -> None:
    """Its policy says that nothing goes there by itself."""
    town = Town(2)
    change = group_set_params.GroupSetParams(group_name="default", alloc_policy="unallocable")
    town.carry_out(group_set_params.HANDLER, change)
    with pytest.raises(Refused, match="is not asked for"):
        chosen(town, wish())
    assert set(chosen(town, wish(), named=True).nodes) == {node_uuid(1), node_uuid(2)}


def test_a_new_secondary_is_none_of_the_present_nodes() -> None:
    """It is of the primary's group, and has room."""
    town = Town(4)
    instance = town.add_instance(1, nodes=(1, 2), template="drbd")
    town.disk_mib[node_uuid(3)] = 10
    found = choose_other(town.cluster, town.given().seen, instance, ignore_policy=False)
    assert found.nodes == (node_uuid(1), node_uuid(4))
    town.disk_mib[node_uuid(4)] = 10
    with pytest.raises(Refused, match=r"node3, node4: lacks 103\d\d MiB of disk"):
        choose_other(town.cluster, town.given().seen, instance, ignore_policy=False)


def test_a_refusal_tells_what_is_free_where() -> None:
    """And why each node was not taken, by how much; for programs, too."""
    town = Town(3)
    town.set_node(3, drained=True)
    with pytest.raises(Refused) as refusal:
        chosen(town, wish(memory_mib=9000, template="plain"))
    assert "node1, node2: lacks 809 MiB of memory (8192 of 9001)" in refusal.value.message
    assert "node3: is drained" in refusal.value.message
    assert "node1 8192 MiB of memory and 102400 MiB of disk" in refusal.value.hint
    basis = msgspec.msgpack.decode(refusal.value.basis, type=Basis)
    assert {(one.node, one.reason) for one in basis.verdicts} == {
        ("node1", "FailMem"),
        ("node2", "FailMem"),
    }


def test_a_policy_that_forbids_it_is_named_and_can_be_ignored() -> None:
    """Sizes beyond the group's bounds are refused unless the operator insists."""
    town = Town(2)
    small = wish(memory_mib=64, template="plain")
    with pytest.raises(Refused, match="policy of the group") as refusal:
        chosen(town, small)
    assert "--ignore-ipolicy" in refusal.value.hint
    assert choose(town.cluster, town.given().seen, small, None, ignore_policy=True).nodes


def test_a_placement_that_could_not_survive_a_node_is_refused_as_such() -> None:
    """What fits now, but would leave no room for the failure of a node, is told apart."""
    town = Town(2)
    town.add_instance(1, nodes=(1,), beparams={"maxmem": 6000})
    with pytest.raises(Refused, match=r"could not lose a node.*N\+1"):
        chosen(town, wish(memory_mib=6000, template="plain"))


def test_the_only_node_is_taken_although_nothing_could_replace_it() -> None:
    """Redundancy is no question in a cluster of one node."""
    assert chosen(Town(1), wish(template="plain")).nodes == (node_uuid(1),)


def test_nothing_to_choose_from_is_another_refusal() -> None:
    """There is no room to speak of where no node can take anything."""
    town = Town(1)
    town.set_node(1, drained=True, master_candidate=True)
    with pytest.raises(Refused, match="no node can take the instance: node1: is drained"):
        chosen(town, wish())


def test_a_file_needs_space_for_files() -> None:
    """The engine knows volumes only; a node without space for files is left out before."""
    town = Town(2)
    town.disk_mib[node_uuid(2)] = 500
    choice = chosen(town, wish(template="file"))
    assert choice.nodes == (node_uuid(1),)
    assert "not node2: has too little space for files" in choice.explanation


def test_an_explanation_stays_short_in_a_large_cluster() -> None:
    """It stands in the log; a thousand nodes are a few lines."""
    town = Town(60)
    for number in range(3, 60):
        town.set_node(number, drained=True)
    choice = chosen(town, wish(template="plain"))
    assert choice.explanation[-1].endswith("is drained") or len(choice.explanation) < 16
    for number in range(3, 60):
        town.set_node(number, drained=False)
        town.memory_mib[node_uuid(number)] = number
    with pytest.raises(Refused) as refusal:
        chosen(town, wish(memory_mib=9999, template="plain"))
    assert len(refusal.value.message) + len(refusal.value.hint) < 1800


def test_a_recorded_choice_can_be_made_again() -> None:
    """From the configuration and what stands in the record, without what was seen."""
    town = Town(4)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(3,), beparams={"maxmem": 2000})
    for choice in (
        chosen(town, wish(), named=True),
        choose_other(town.cluster, town.given().seen, town.instance(1), ignore_policy=False),
    ):
        was, again = replay(town.cluster, choice.basis)
        assert was == again
        names = tuple(town.cluster.nodes[uuid].name for uuid in choice.nodes)
        assert was.chosen == names


def test_instances_that_are_being_created_count_like_those_that_are_there() -> None:
    """Many that are added at once spread out, although none of them exists yet."""
    town = Town(4)
    homes = []
    for number in range(4):
        found = chosen(town, wish())
        homes.append(found.nodes[0])
        held = Reservations(
            nodes=tuple(
                Reservation(node=node, memory_mib=0 if at else 512, disk_mib=1152, vcpus=1)
                for at, node in enumerate(found.nodes)
            ),
            names=(f"instance/web{number}.example.net",),
        )
        town.cluster = town.cluster.reserve((number, 0), held)
        was, again = replay(town.cluster.release((number, 0)), found.basis)
        assert was == again
    assert len(set(homes)) == 4

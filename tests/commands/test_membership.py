from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest

from commands.cluster_ops.add_witness import HANDLER as ADD
from commands.cluster_ops.add_witness import ClusterAddWitness
from commands.cluster_ops.remove_witness import HANDLER as REMOVE
from commands.cluster_ops.remove_witness import ClusterRemoveWitness
from commands.errors import Refused
from commands.master.membership import Change, Make, Seen, Step, Unmake, steps, voters_wanted
from commands.node_ops.set_params import HANDLER as MODIFY
from commands.node_ops.set_params import NodeSetParams
from eventstore.events import VoterPlaced
from eventstore.raft.membership import Config
from projections.events.configuration import NodeModified
from tests.commands.building import Town, node_uuid


def inc(number: int) -> bytes:
    return bytes([number]) * 16


def place(number: int, *, storage: int = 0) -> VoterPlaced:
    return VoterPlaced(
        name=f"node{number}",
        inc=inc(storage or number).hex(),
        curve_key=f"key{number}",
        requests="",
        publications="",
        replication="",
    )


def config(voters: Iterable[int], learners: Iterable[int] = ()) -> Config:
    return Config(
        7,
        {f"node{number}": inc(number) for number in voters},
        {f"node{number}": inc(number) for number in learners},
        frozenset(),
    )


def found(
    town: Town,
    now: Config,
    placed: Iterable[VoterPlaced],
    *,
    most: int = 5,
    level: bool = True,
) -> list[Step]:
    """What the leader, on node1, would do."""
    places = {each.name: each for each in placed}
    return steps(Seen("node1", now, places, town.cluster, most, lambda change: level))


def change_of(taken: list[Step]) -> Config | None:
    return next((step.config for step in taken if isinstance(step, Change)), None)


def no_candidate(town: Town, number: int) -> None:
    node = town.cluster.nodes[node_uuid(number)]
    event = NodeModified(
        node=node.uuid,
        master_candidate=False,
        offline=False,
        drained=False,
        master_capable=True,
        vm_capable=True,
        powered=True,
        ndparams={},
        secondary_ip="",
    )
    town.fold(f"node/{node.uuid}", event)


@pytest.mark.parametrize(
    ("candidates", "voters"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (10, 5)]
)
def test_an_odd_number_votes_from_three_on(candidates: int, voters: int) -> None:
    """At most five; a fourth would make commits wait and save nothing."""
    assert voters_wanted(candidates, 5) == voters


def test_a_candidate_without_a_voter_gets_one() -> None:
    """Its agent is asked, for each candidate that has no place yet."""
    taken = found(Town(3), config([1]), [place(1)])
    assert [step.node.name for step in taken if isinstance(step, Make)] == ["node2", "node3"]
    assert change_of(taken) is None


def test_a_placed_candidate_follows_first() -> None:
    """It becomes a learner, with the storage that its place names."""
    change = change_of(found(Town(3), config([1]), [place(1), place(2)]))
    assert change is not None
    assert (dict(change.learners), list(change.voters)) == ({"node2": inc(2)}, ["node1"])


def test_a_learner_votes_once_it_is_level() -> None:
    """Not before: it would hold up every commit."""
    placed = [place(1), place(2)]
    town = Town(2)
    assert change_of(found(town, config([1], [2]), placed, level=False)) is None
    change = change_of(found(town, config([1], [2]), placed))
    assert change is not None
    assert (sorted(change.voters), dict(change.learners)) == (["node1", "node2"], {})


def test_a_fourth_candidate_learns_and_does_not_vote() -> None:
    """It holds the log, and takes the place of a voter that leaves."""
    placed = [place(number) for number in range(1, 5)]
    town = Town(4)
    assert found(town, config([1, 2, 3], [4]), placed) == []
    no_candidate(town, 2)
    change = change_of(found(town, config([1, 2, 3], [4]), placed))
    assert change is not None
    assert sorted(change.voters) == ["node1", "node3"]
    change = change_of(found(town, config([1, 3], [4]), placed))
    assert change is not None
    assert sorted(change.voters) == ["node1", "node3", "node4"]


def test_one_that_is_no_candidate_any_more_is_removed_first_and_unmade_then() -> None:
    """While it is a member its daemon stays: a majority may need it."""
    town = Town(3)
    no_candidate(town, 3)
    placed = [place(1), place(2), place(3)]
    taken = found(town, config([1, 2, 3]), placed)
    change = change_of(taken)
    assert change is not None
    assert sorted(change.voters) == ["node1", "node2"]
    assert not [step for step in taken if isinstance(step, Unmake)]
    (unmake,) = found(town, config([1, 2]), placed)
    assert isinstance(unmake, Unmake)
    assert unmake.node is not None
    assert (unmake.place.name, unmake.node.name) == ("node3", "node3")


def test_a_new_disk_is_a_new_voter() -> None:
    """A member whose place names another storage is removed before it follows again."""
    placed = [place(1), place(2, storage=9)]
    change = change_of(found(Town(2), config([1, 2]), placed))
    assert change is not None
    assert list(change.voters) == ["node1"]
    change = change_of(found(Town(2), config([1]), placed))
    assert change is not None
    assert dict(change.learners) == {"node2": inc(9)}


def test_a_lost_node_is_left_as_it_is() -> None:
    """Silence removes nobody and promotes nobody: an operator says that a node is offline."""
    town = Town(3)
    nodes = town.cluster.nodes
    lost = msgspec.structs.replace(nodes[node_uuid(3)], lost=True)
    town.cluster = msgspec.structs.replace(town.cluster, nodes=nodes.set(lost.uuid, lost))
    placed = [place(1), place(2), place(3)]
    assert found(town, config([1, 2, 3]), placed) == []
    assert found(town, config([1, 2], [3]), placed) == []
    assert found(town, config([1, 2]), placed[:2]) == []


def test_a_cluster_that_wants_one_voter_has_one() -> None:
    """With `max_voters` 1 no other node holds the log, however many are candidates."""
    assert found(Town(5), config([1]), [place(1)], most=1) == []


def with_witness(candidates: int) -> Town:
    """So many candidates, and a witness, the last node."""
    town = Town(candidates)
    number = candidates + 1
    town.add_node(number, master_candidate=False, master_capable=False, vm_capable=False)
    town.carry_out(ADD, ClusterAddWitness(node_name=f"node{number}"))
    return town


def witnessed(now: Config, *numbers: int) -> Config:
    return replace(now, witnesses=frozenset(f"node{number}" for number in numbers))


def test_two_candidates_and_a_witness_vote_all_three() -> None:
    """It follows first, as any other; when it votes, it is said to be a witness."""
    town, placed = with_witness(2), [place(number) for number in (1, 2, 3)]
    made = [
        step.node.name for step in found(town, config([1, 2]), placed[:2]) if isinstance(step, Make)
    ]
    assert made == ["node3"]
    change = change_of(found(town, config([1, 2]), placed))
    assert change is not None
    assert (list(change.learners), change.witnesses) == (["node3"], frozenset())
    change = change_of(found(town, config([1, 2], [3]), placed))
    assert change is not None
    assert (sorted(change.voters), change.witnesses) == (["node1", "node2", "node3"], {"node3"})
    assert found(town, witnessed(config([1, 2, 3]), 3), placed) == []


def test_a_third_candidate_takes_the_place_of_the_witness() -> None:
    """First it votes too, then the witness learns: there are never fewer voters meanwhile."""
    town = with_witness(3)
    placed = [place(number) for number in (1, 2, 3, 4)]
    before = witnessed(config([1, 2, 4], [3]), 4)
    change = change_of(found(town, before, placed))
    assert change is not None
    assert sorted(change.voters) == ["node1", "node2", "node3", "node4"]
    assert change.witnesses == {"node4"}
    change = change_of(found(town, change, placed))
    assert change is not None
    assert sorted(change.voters) == ["node1", "node2", "node3"]
    assert (list(change.learners), change.witnesses) == (["node4"], frozenset())


def test_a_witness_that_is_given_up_leaves_the_log() -> None:
    """It is no member any more, then its files are removed."""
    town, placed = with_witness(2), [place(number) for number in (1, 2, 3)]
    town.carry_out(REMOVE, ClusterRemoveWitness(node_name="node3"))
    change = change_of(found(town, witnessed(config([1, 2, 3]), 3), placed))
    assert change is not None
    assert (sorted(change.voters), change.witnesses) == (["node1", "node2"], frozenset())
    (unmake,) = found(town, config([1, 2]), placed)
    assert isinstance(unmake, Unmake)


@pytest.mark.parametrize(
    ("flags", "says"),
    [({"master_capable": True}, "may lead"), ({"vm_capable": True}, "may hold instances")],
)
def test_a_node_that_does_more_is_no_witness(flags: dict[str, bool], says: str) -> None:
    """It is told what to give up; and a witness that wants to do more is told that it is one."""
    town = Town(2)
    none = {"master_candidate": False, "master_capable": False, "vm_capable": False}
    town.add_node(3, **{**none, **flags})
    with pytest.raises(Refused, match=says) as refused:
        town.decide(ADD, ClusterAddWitness(node_name="node3"))
    assert "gnt-node modify" in refused.value.hint
    with pytest.raises(Refused, match="is a witness"):
        with_witness(2).decide(MODIFY, NodeSetParams(node_name="node3", **flags))

"""Who counts as lost, and when: by what the leader could have heard."""

from __future__ import annotations

import msgspec
import pytest

from commands.master.telemetry import Telemetry
from projections.cluster import Cluster
from projections.events.configuration import NodeLost
from tests.commands.building import Town, node_uuid

LOST_AFTER_S = 5.0


class Leader:
    """Telemetry and a clock that the test moves, in steps of half a second."""

    def __init__(self, nodes: int = 3) -> None:
        self.town = Town(nodes)
        self.now_s = 100.0
        self.telemetry = Telemetry(lost_after_s=LOST_AFTER_S, now_s=self.now_s)

    @property
    def cluster(self) -> Cluster:
        return self.town.cluster

    def hear(self, *numbers: int) -> None:
        for number in numbers:
            self.telemetry.heard(self.town.status(node_uuid(number)))

    def listen(self, seconds: float) -> None:
        for _ in range(int(2 * seconds)):
            self.now_s += 0.5
            self.telemetry.listen(self.now_s)

    def stand_still(self, seconds: float) -> None:
        self.now_s += seconds
        self.telemetry.listen(self.now_s)

    def lost(self) -> set[str]:
        return {node for node, _ in self.telemetry.overdue(self.cluster)}


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_a_node_that_is_silent_too_long_is_lost(leader: Leader) -> None:
    """Not one that was heard meanwhile, nor one that counts as lost already."""
    leader.listen(3)
    leader.hear(1)
    leader.listen(3)
    assert leader.lost() == {node_uuid(2), node_uuid(3)}
    leader.town.fold("node", NodeLost(node=node_uuid(2), silent_s=6.0))
    assert leader.lost() == {node_uuid(3)}


def test_a_leader_that_stood_still_takes_nobody_for_lost(leader: Leader) -> None:
    """A minute without a turn counts as one second of silence; what is silent then is lost."""
    leader.hear(1, 2, 3)
    leader.stand_still(60.0)
    assert leader.lost() == set()
    leader.hear(1, 2)
    leader.listen(4.5)
    assert leader.lost() == {node_uuid(3)}


def test_after_a_change_of_leader_each_has_a_whole_interval(leader: Leader) -> None:
    """A follower hears nobody of its own account."""
    leader.listen(60)
    leader.telemetry.reign_began()
    assert leader.lost() == set()
    leader.listen(LOST_AFTER_S)
    assert len(leader.lost()) == 3


@pytest.mark.parametrize(("nodes", "at_once"), [(30, 10), (600, 15)])
def test_many_are_lost_a_few_at_a_time(nodes: int, at_once: int) -> None:
    """And in the end all of them."""
    leader = Leader(nodes)
    leader.listen(2 * LOST_AFTER_S)
    found: set[str] = set()
    turns = 0
    while lost := leader.lost():
        assert len(lost) <= at_once
        found |= lost
        turns += 1
        table = leader.cluster.nodes
        for node in lost:
            table = table.set(node, msgspec.structs.replace(table[node], lost=True))
        leader.town.cluster = msgspec.structs.replace(leader.cluster, nodes=table)
    assert len(found) == nodes
    assert turns == nodes // at_once

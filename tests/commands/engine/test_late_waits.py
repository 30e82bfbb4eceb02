"""Who waited in vain reads what did not come true, of what, and what helps."""

from __future__ import annotations

import pytest

from commands.engine.late_waits import late
from projections.conditions import KINDS
from projections.plans import Condition, Wait
from tests.commands.building import Town


@pytest.fixture
def town() -> Town:
    """Two nodes and a mirrored instance."""
    made = Town(2)
    made.add_instance(nodes=(1, 2), template="drbd")
    return made


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("node-joined", "node1 did not join within 60 s"),
        ("node-heard", "node1 was not heard within 60 s"),
        ("no-voter", "the master daemon on node1 was not taken out within 60 s"),
        ("duties-done", "duties-done of {node} did not come true within 60 s"),
    ],
)
def test_the_node_is_called_by_its_name(town: Town, kind: str, says: str) -> None:
    """The step and the code of a lateness are told with it."""
    node = town.node(1).uuid
    problem = late(Wait(id="w", until=Condition(kind=kind, subject=node)), town.cluster)
    assert problem.message == says.format(node=node)
    assert (problem.code, problem.step) == ("timeout", "w")


def test_the_disk_is_told_by_its_place(town: Town) -> None:
    """One disk or all of them; an instance that is gone is told as gone."""
    instance = town.cluster.instance("web1.example.net")

    def told(argument: str, subject: str = instance.uuid) -> str:
        until = Condition(kind="disk-synced", subject=subject, argument=argument)
        return late(Wait(id="w", until=until), town.cluster).message

    assert (
        told(instance.disks[0].uuid) == "disk 0 of web1.example.net did not get in sync within 60 s"
    )
    assert told("") == "the disks of web1.example.net did not get in sync within 60 s"
    assert told("", "gone").startswith("instance gone is gone")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_words_for_what_is_not_there(town: Town, kind: str) -> None:
    """What was removed meanwhile is called by its uuid."""
    until = Condition(kind=kind, subject="some-uuid", argument="x")
    assert "some-uuid" in late(Wait(id="w", until=until), town.cluster).message

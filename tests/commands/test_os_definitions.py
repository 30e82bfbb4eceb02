"""An OS that the node does not have is refused before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.instance_ops.create import HANDLER, InstanceCreate
from commands.instance_ops.set_params import HANDLER as MODIFY
from commands.instance_ops.set_params import InstanceSetParams
from nodeagent.calls import OsSeen
from projections.plans import Plan
from tests.commands.building import Town, ids, node_uuid

FILE = {"disk_template": "file", "disks": ({"size": 10240},)}


def order(os: str | None, **fields: Any) -> InstanceCreate:
    """Return an order for an instance, on node1 unless other nodes are given."""
    wanted: dict[str, Any] = {
        "instance_name": "mail.example.net",
        "disk_template": "plain",
        "disks": ({"size": 10240},),
        "os_type": os,
        "pnode": "node1",
    }
    return InstanceCreate(**{**wanted, **fields})


def refusal(town: Town, op: InstanceCreate | InstanceSetParams) -> Refused:
    """Return what an order is refused with."""
    with pytest.raises(Refused) as caught:
        town.decide(HANDLER if isinstance(op, InstanceCreate) else MODIFY, op)
    return caught.value


@pytest.mark.parametrize(
    ("os", "message", "hint"),
    [
        ("debain", "node node1 has no OS 'debain'", "did you mean debian?"),
        ("redhat+minmal", "no variant 'minmal' of OS redhat", "did you mean redhat+minimal"),
        ("solaris", "has no OS 'solaris'", "there are: debian, redhat, redhat+minimal"),
        ("debian+x", "no variant 'x' of OS debian", "did you mean debian?"),
    ],
)
def test_an_unknown_os_is_refused_with_the_nearest(os: str, message: str, hint: str) -> None:
    """Of the node that was named, variants too."""
    refused = refusal(Town(), order(os))
    assert message in refused.message
    assert hint in refused.hint


@pytest.mark.parametrize("os", ["debian", "redhat", "redhat+server"])
def test_an_os_that_is_there_is_taken(os: str) -> None:
    """With or without a variant."""
    assert "os" in ids(Town().decide(HANDLER, order(os)))


def test_an_invalid_definition_is_told_as_such() -> None:
    """With what is wrong with it."""
    town = Town()
    town.os[node_uuid(1)] = (OsSeen("debian", (), "there is no create"),)
    refused = refusal(town, order("debian"))
    assert "invalid definition of OS debian: there is no create" in refused.message


def test_what_a_node_has_not_told_is_no_reason() -> None:
    """An older agent: it looks itself before it installs."""
    town = Town()
    town.os[node_uuid(1)] = None
    assert "os" in ids(town.decide(HANDLER, order("solaris")))


def test_only_nodes_with_the_os_are_chosen() -> None:
    """The others are named with the reason, where the engine chooses."""
    town = Town()
    for number in (1, 2):
        town.os[node_uuid(number)] = (OsSeen("redhat"),)
    for template in ({}, FILE):
        plan = town.decide(HANDLER, order("debian", pnode=None, **template))
        assert isinstance(plan, Plan)
        (volume, *_) = ids(plan)
        assert volume.startswith("volume/node3")
        assert any("node1, node2: has no OS 'debian'" in line for line in plan.explanation)


def test_an_os_that_no_node_has_is_refused_as_a_wrong_name() -> None:
    """Not as a lack of room."""
    refused = refusal(Town(), order("debain", pnode=None))
    assert refused.message == "no node can install the OS 'debain'"
    assert refused.hint == "did you mean debian?"


@pytest.mark.parametrize("os", [None, ""])
def test_without_an_installation_no_os_is_needed(os: str | None) -> None:
    """And what nothing was installed on is not started, as in Ganeti."""
    assert "no operating system" in refusal(Town(), order(os)).message
    plan = Town().decide(HANDLER, order(os, no_install=True))
    assert isinstance(plan, Plan)
    assert not {"os", "start"} & set(ids(plan))
    assert "it is not started, since nothing is installed on it" in plan.explanation
    assert plan.reserves.nodes[0].memory_mib == 0
    assert "os" not in ids(Town().decide(HANDLER, order("unknown", no_install=True)))


def test_another_os_must_be_on_the_primary_node() -> None:
    """Unless by force, or if the node cannot say what it has."""
    town = Town()
    town.add_instance(1)
    wanted = InstanceSetParams(instance_name="web1", os_name="debain")
    assert "did you mean debian?" in refusal(town, wanted).hint
    forced = InstanceSetParams(instance_name="web1", os_name="debain", force=True)
    assert ids(town.decide(MODIFY, forced)) == ["modified"]

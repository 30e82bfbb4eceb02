"""OP_NODE_ADD, and the first facts of a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.node_ops.add import HANDLER, NodeAdd
from eventstore.events import KeyAdmitted, KeyRevoked
from projections.events.configuration import NodeJoined
from projections.plans import Plan, Record
from projections.registry import REGISTRY
from tests.commands.building import KEY, Town, founded, ids


def order(**fields: Any) -> NodeAdd:
    """Return a valid order for node4."""
    wanted: dict[str, Any] = {
        "node_name": "node4",
        "ticket_key": KEY,
        "primary_ip": "192.0.2.4",
    }
    return NodeAdd(**{**wanted, **fields})


def events(record: Record, *, undo: bool = False) -> list[Any]:
    """Return the facts of a record step."""
    them = record.undo if undo else record.facts
    return [REGISTRY.decode_data(each.kind, each.schema, each.data) for each in them]


def invited(town: Town) -> Plan:
    """Invite node4, and have it join."""
    plan = town.decide(HANDLER, order())
    assert isinstance(plan, Plan)
    return plan


def join(town: Town) -> None:
    """The agent shows its key, as the master daemon records it."""
    uuid = town.cluster.node("node4").uuid
    town.fold(f"node/{uuid}", NodeJoined(node=uuid, curve_key="j" * 40))


def test_a_node_is_invited_and_awaited() -> None:
    """The ticket's key is admitted with the invitation, and both are taken back together."""
    plan = invited(Town())
    assert ids(plan) == ["invited", "joined"]
    record = plan.steps[0]
    assert isinstance(record, Record)
    admitted, node = events(record)
    assert isinstance(admitted, KeyAdmitted)
    assert (admitted.role, admitted.name) == ("ticket", f"node:{node.node.uuid}")
    revoked, removed = events(record, undo=True)
    assert isinstance(revoked, KeyRevoked)
    assert revoked.curve_key == KEY
    assert removed.node == node.node.uuid


def test_a_node_that_joined_is_looked_at_and_added() -> None:
    """It is a member in the first group, and a master candidate while the pool has room."""
    town = Town()
    first = town.through(invited(town))
    join(town)
    second = town.decide(HANDLER, order(), so_far=(first,))
    assert ids(second) == ["keyed", "probe", "added"]
    assert isinstance(second, Plan)
    done = town.decide(HANDLER, order(), so_far=(first, town.through(second)))
    node = town.cluster.node("node4")
    assert node.joined
    assert node.master_candidate
    assert node.group == town.group.uuid
    assert done.result == {"uuid": node.uuid, "missing": []}  # type: ignore[union-attr]


def test_the_key_of_a_node_that_cannot_answer_is_revoked() -> None:
    """It is known only since the node joined, so the second plan says how to take it back."""
    town = Town()
    first = town.through(invited(town))
    join(town)
    second = town.decide(HANDLER, order(), so_far=(first,))
    assert isinstance(second, Plan)
    keyed = second.steps[0]
    assert isinstance(keyed, Record)
    (revoked,) = events(keyed, undo=True)
    assert isinstance(revoked, KeyRevoked)
    assert revoked.curve_key == "j" * 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_name": "node1"}, "there is a node node1 already"),
        ({"primary_ip": "192.0.2.2"}, "node2 has the address"),
        ({"ticket_key": ""}, "must have 40 characters"),
        ({"readd": True}, "readd is not supported yet"),
        ({"ndparams": {"oob": 1}}, "has no parameter oob"),
        ({"node_name": "no good"}, "cannot be the name of a node"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(changes: dict[str, Any], message: str) -> None:
    """Names, addresses and keys are looked at before anything is recorded."""
    with pytest.raises(Refused) as refusal:
        Town().decide(HANDLER, order(**changes))
    assert message in refusal.value.message
    assert refusal.value.hint


def test_the_pool_of_candidates_has_a_size() -> None:
    """A node beyond it is a regular one."""
    town = Town(3, candidate_pool_size=3)
    town.through(invited(town))
    assert not town.cluster.node("node4").master_candidate


def test_the_first_facts_make_a_cluster_of_one_invited_node() -> None:
    """A cluster with its group and its first node, which leads and has not joined yet."""
    cluster = founded()
    node = cluster.node("node1")
    assert cluster.settings.name == "town.example.net"
    assert cluster.settings.master == node.uuid
    assert cluster.group("default").uuid == node.group
    assert node.master_candidate
    assert not node.joined


@pytest.mark.parametrize(
    "info", [{"enabled_hypervisors": ("vax",)}, {"enabled_disk_templates": ("tape",)}]
)
def test_a_cluster_of_impossible_parts_is_refused(info: dict[str, Any]) -> None:
    """Hypervisors and disk templates are those there are."""
    with pytest.raises(Refused):
        founded(**info)

"""OP_INSTANCE_RECREATE_DISKS: lost disks are there again, here or elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.instance_ops.recreate_disks import HANDLER, InstanceRecreateDisks
from nodeagent.calls import EnsureReplicated
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked


def town_with_mirror(**fields: Any) -> Town:
    """web1 on node3 and node1, down."""
    town = Town(4)
    state = {"admin_state": ADMIN_DOWN, "disks_active": False}
    town.add_instance(1, nodes=(3, 1), template="drbd", **{**state, **fields})
    return town


def order(**fields: Any) -> InstanceRecreateDisks:
    """Return an order for web1."""
    return InstanceRecreateDisks(instance_name="web1", **fields)


def test_disks_are_made_anew_in_their_place() -> None:
    """New volumes, fresh mirrors of the same minors, shut down; what was left goes last."""
    town = town_with_mirror()
    before = town.instance()
    plan = town.decide(HANDLER, order())
    assert isinstance(plan, Plan)
    assert ids(plan)[:2] == ["unmirror/node3/0", "unmirror/node1/0"]
    assert ids(plan)[-5:] == [
        "replaced",
        "old/node3/0/data",
        "old/node3/0/meta",
        "old/node1/0/data",
        "old/node1/0/meta",
    ]
    mirror = unpacked(call_steps(plan)["mirror/node3/0"])
    assert isinstance(mirror, EnsureReplicated)
    assert mirror.fresh
    town.carry_out(HANDLER, order())
    after = town.instance()
    assert after.nodes == before.nodes
    assert after.generation == before.generation
    assert [side.minor for side in after.disks[0].sides] == [16, 16]
    assert after.disks[0].sides[0].volume != before.disks[0].sides[0].volume


def test_an_instance_moves_away_from_nodes_that_are_lost() -> None:
    """No call goes to a node that is off; the generation rises with the new primary."""
    town = town_with_mirror()
    town.set_node(3, offline=True)
    _, outcomes = town.carry_out(HANDLER, order(nodes=("node2", "node4")))
    assert all(step.node != node_uuid(3) for step in call_steps(outcomes[-1].plan).values())
    web = town.instance()
    assert (web.nodes, web.generation) == ((node_uuid(2), node_uuid(4)), 2)
    assert [side.node for side in web.disks[0].sides] == [node_uuid(2), node_uuid(4)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"disks": (5,)}, "has no disk 5"),
        ({"disks": ((0, {"size": 1}),)}, "is made anew as it was"),
        ({"nodes": ("node2",)}, "drbd needs 2 nodes"),
        ({"nodes": ("node2", "node2")}, "drbd needs 2 nodes"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(fields: dict[str, Any], message: str) -> None:
    """Before anything is touched."""
    with pytest.raises(Refused) as refusal:
        town_with_mirror().decide(HANDLER, order(**fields))
    assert message in refusal.value.message
    assert refusal.value.hint


def test_a_running_instance_keeps_its_disks() -> None:
    """It must be shut down first."""
    with pytest.raises(Refused, match="is meant to run"):
        town_with_mirror(admin_state="up", disks_active=True).decide(HANDLER, order())

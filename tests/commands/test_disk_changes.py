"""OP_INSTANCE_SET_PARAMS: disks that come, go, and change their name or mode."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.instance_ops.set_params import HANDLER, InstanceSetParams
from nodeagent.calls import EnsureReplicated, PlugDisk, RemoveReplicated, UnplugDisk
from projections.events.configuration import DiskStateSeen
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

WEB = "web1.example.net"
MORE = ("add", -1, {"size": "2G", "name": "data"})


def town_on(template: str, **fields: Any) -> Town:
    """web1 with two disks, on node3 and, if it is mirrored, node1."""
    town = Town()
    nodes = (3, 1) if template == "drbd" else (3,)
    town.add_instance(1, nodes=nodes, template=template, sizes_mib=(1024, 2048), **fields)
    return town


def change(*disks: Any, **fields: Any) -> InstanceSetParams:
    """Return an order about disks of web1."""
    return InstanceSetParams(instance_name=WEB, disks=disks, **fields)


def plan_of(town: Town, op: InstanceSetParams) -> Plan:
    """Return the plan of an order."""
    plan = town.decide(HANDLER, op)
    assert isinstance(plan, Plan)
    return plan


def test_a_running_guest_gets_a_new_disk() -> None:
    """Volume, active, recorded, plugged in; the record names it at its place."""
    town = town_on("plain")
    plan = plan_of(town, change(MORE))
    assert ids(plan) == ["volume/node3/2/data", "active/node3/2", "modified", "plug/2"]
    plugged, out = (unpacked(call_steps(plan)["plug/2"], undo=undo) for undo in (False, True))
    assert isinstance(plugged, PlugDisk)
    assert isinstance(out, UnplugDisk)
    assert plugged.disk == out.disk == plugged.instance.disks[2].uuid
    done, _ = town.carry_out(HANDLER, change(MORE))
    assert done.result == [("disk/2", "add:size=2048,mode=rw")]
    new = town.instance().disks[2]
    assert (new.size_mib, new.name, new.template) == (2048, "data", "plain")
    assert new.sides[0].node == node_uuid(3)


def test_a_new_mirror_stands_on_both_nodes() -> None:
    """With minors and a port of its own, which are reserved; its wait comes last."""
    town = town_on("drbd")
    plan = plan_of(town, change(MORE))
    assert ids(plan) == [
        "volume/node3/2/data", "volume/node3/2/meta", "volume/node1/2/data", "volume/node1/2/meta",
        "mirror/node3/2", "mirror/node1/2", "active/node3/2", "modified", "plug/2", "synced/2",
    ]  # fmt: skip
    assert "synced/2" not in ids(plan_of(town, change(MORE, wait_for_sync=False)))
    assert [len(each.minors) for each in plan.reserves.nodes] == [1, 1]
    town.carry_out(HANDLER, change(MORE))
    *old, new = town.instance().disks
    assert plan.reserves.ports == (new.port,)
    assert new.port not in {disk.port for disk in old}
    assert {side.node for side in new.sides} == {node_uuid(3), node_uuid(1)}


def test_a_disk_is_taken_from_the_guest_before_it_goes() -> None:
    """The guest lets go, mirror and volumes follow; until they are destroyed all can go back."""
    town = town_on("drbd")
    plan = plan_of(town, change(("remove", 0, {})))
    assert ids(plan) == [
        "unplug/0", "inactive/node3/0", "inactive/node1/0", "unmirror/node3/0", "unmirror/node1/0",
        "modified", "remove/node3/0/data", "remove/node3/0/meta", "remove/node1/0/data",
        "remove/node1/0/meta",
    ]  # fmt: skip
    calls = call_steps(plan)
    assert isinstance(unpacked(calls["unplug/0"]), UnplugDisk)
    assert not calls["unplug/0"].tolerate
    assert isinstance(unpacked(calls["unplug/0"], undo=True), PlugDisk)
    assert isinstance(unpacked(calls["unmirror/node1/0"]), RemoveReplicated)
    assert isinstance(unpacked(calls["unmirror/node1/0"], undo=True), EnsureReplicated)
    second = town.instance().disks[1]
    done, _ = town.carry_out(HANDLER, change(("remove", 0, {})))
    assert done.result == [("disk/0", "remove")]
    assert town.instance().disks == (second,)


def test_a_guest_that_is_down_is_asked_nothing() -> None:
    """Its new disk ends inactive, like the others."""
    town = town_on("drbd", admin_state=ADMIN_DOWN, disks_active=False)
    plan = plan_of(town, change(MORE, ("remove", 0, {})))
    assert not any(step.startswith(("plug", "unplug", "active", "synced")) for step in ids(plan))
    assert [each for each in ids(plan) if "down" in each] == ["down/node3/1", "down/node1/1"]


def test_what_is_not_taken_or_not_removed_is_told() -> None:
    """The configuration has changed; a person knows what is left."""
    town = town_on("plain")
    order = change(MORE, ("remove", 0, {}))
    done, _ = town.carry_out(HANDLER, order, fail=["plug/1", "remove/node3/0/data"])
    assert done.result == [
        ("disk/0", "remove"),
        ("disk/1", "add:size=2048,mode=rw"),
        ("hotplug/plug/1", "from the next start on: it broke"),
        ("remove/node3/0/data", "left there, see gnt-cluster verify: it broke"),
    ]
    assert len(town.instance().disks) == 2


def test_name_and_mode_are_only_recorded() -> None:
    """No node is asked; what was last seen of the mirror stays."""
    town = town_on("drbd")
    disk = town.instance().disks[1]
    bad = DiskStateSeen(
        instance=town.instance().uuid, disk=disk.uuid, node=node_uuid(1), state="degraded"
    )
    plan = plan_of(town, change(("modify", 1, {"mode": "ro", "name": "data"})))
    assert ids(plan) == ["modified"]
    town.fold(f"instance/{bad.instance}", bad)
    town.through(plan)
    changed = town.instance().disks[1]
    assert (changed.mode, changed.name) == ("ro", "data")
    assert changed.health == {node_uuid(1): "degraded"}
    done, _ = town.carry_out(HANDLER, change(("modify", "data", {"name": "none"})))
    assert done.result == [("disk.name/1", "")]


@pytest.mark.parametrize(
    ("template", "order", "message"),
    [
        ("plain", change(("remove", 0, {}), hotplug=False), "runs, and uses disk 0"),
        ("plain", change(("remove", 0, {}), ("remove", 0, {})), "left without a disk"),
        ("plain", change(("remove", 7, {})), "no disk of web1.example.net 7"),
        ("plain", change(("move", 0, {})), "'move' is no change"),
        ("plain", change(("detach", 0, {})), "cannot be detached"),
        ("plain", change(("attach", -1, {"name": "data"})), "cannot be attached"),
        ("plain", change(("modify", 0, {"size": "9G"})), "the size of a disk cannot be changed"),
        ("plain", change(("modify", 0, {"mode": "r"})), "'r'"),
        ("plain", change(("modify", 0, {"mode": "rw"})), "nothing would change"),
        ("plain", change(("add", -1, {})), "has no size"),
        ("plain", change(("add", -1, {"size": 4, "adopt": "x"})), "adopt: volumes are taken over"),
        ("plain", change(("add", 9, {"size": 4})), "no disk of web1.example.net 9"),
        ("plain", change(*[("add", -1, {"size": 4})] * 15), "17 disks are too many"),
        ("plain", change(("add", -1, {"size": "900G"})), "too little disk space"),
        ("drbd", change(("add", -1, {"size": "900G"})), "too little disk space"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    template: str, order: InstanceSetParams, message: str
) -> None:
    """Before anything is done."""
    with pytest.raises(Refused) as refusal:
        town_on(template).decide(HANDLER, order)
    assert message in refusal.value.message
    assert refusal.value.hint


def test_a_new_disk_is_wiped_where_the_cluster_wants_it() -> None:
    """Before the guest has it; of an instance that is down it is woken for that."""
    settings = {"prealloc_wipe_disks": True}
    for active, expected in (
        (True, ["active/node1/1", "wipe/node1/1", "modified"]),
        (False, ["wake/node1/1", "wipe/node1/1", "down/node1/1", "modified"]),
    ):
        town = Town(**settings)
        state = {} if active else {"admin_state": "down", "disks_active": False}
        town.add_instance(1, nodes=(1,), **state)
        plan = ids(town.decide(HANDLER, change(("add", -1, {"size": 1024}))))
        assert plan[: len(expected) + 1] == ["volume/node1/1/data", *expected]


def test_block_devices_do_not_come_one_by_one() -> None:
    """They are taken over when their instance is created."""
    town = Town(enabled_disk_templates=("plain", "blockdev"))
    town.add_instance(1, nodes=(1,), template="blockdev")
    with pytest.raises(Refused, match="taken over when it is created"):
        town.decide(HANDLER, change(("add", -1, {"size": 1024})))


def test_an_instance_without_disks_gets_none() -> None:
    """It has no template that could say how."""
    town = Town()
    town.add_instance(1, template="diskless")
    with pytest.raises(Refused, match="is diskless"):
        town.decide(HANDLER, change(MORE))


def test_a_node_out_of_reach_is_named() -> None:
    """Neither can a volume be made there, nor one be removed."""
    for order in (change(MORE), change(("remove", 0, {}))):
        town = town_on("drbd")
        town.lose(1)
        with pytest.raises(Refused, match="node1 is not heard of"):
            town.decide(HANDLER, order)

"""OP_INSTANCE_SET_PARAMS, GROW_DISK, RENAME, ACTIVATE_DISKS and DEACTIVATE_DISKS."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.errors import Refused
from commands.instance_ops import activate_disks, deactivate_disks, grow_disk, rename
from commands.instance_ops.set_params import HANDLER, InstanceSetParams
from nodeagent.calls import BalloonMemory, Device, EnsureReplicated, PlugNic, RenameOs
from projections.objects import ADMIN_DOWN, ADMIN_OFFLINE
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

WEB = "web1.example.net"


def plain_town(**fields: Any) -> Town:
    """web1 on node1."""
    town = Town()
    town.add_instance(1, nodes=(1,), **fields)
    return town


def mirror_town(**fields: Any) -> Town:
    """web1 on node3 and node1."""
    town = Town()
    town.add_instance(1, nodes=(3, 1), template="drbd", **fields)
    return town


def down_town() -> Town:
    """web1 mirrored, and down."""
    return mirror_town(admin_state=ADMIN_DOWN, disks_active=False)


def change(**fields: Any) -> InstanceSetParams:
    """Return an order for web1."""
    return InstanceSetParams(instance_name=WEB, **fields)


def plan_of(town: Town, handler: Any, op: Any) -> Plan:
    """Return the plan of an order."""
    plan = town.decide(handler, op)
    assert isinstance(plan, Plan)
    return plan


def test_what_changed_is_told_in_pairs() -> None:
    """Ganeti's result: the parameter and its new value."""
    town = plain_town(hvparams={})
    done, _ = town.carry_out(HANDLER, change(beparams={"memory": 256, "vcpus": 2}))
    assert done.result == [("be/maxmem", "256"), ("be/minmem", "256"), ("be/vcpus", "2")]
    assert town.instance().beparams == {"maxmem": 256, "minmem": 256, "vcpus": 2}


def test_interfaces_are_added_changed_and_removed() -> None:
    """By index, or -1 for the end; an address that stays keeps its uuid."""
    town = plain_town()
    old = town.instance().nics[0]
    town.carry_out(HANDLER, change(nics=(("add", -1, {"link": "br7"}),)))
    first, second = town.instance().nics
    assert first == old
    assert second.params == {"link": "br7"}
    assert second.mac != old.mac
    town.carry_out(HANDLER, change(nics=(("modify", 1, {"ip": "192.0.2.9"}), ("remove", 0, {}))))
    (left,) = town.instance().nics
    assert (left.uuid, left.mac, left.ip) == (second.uuid, second.mac, "192.0.2.9")


def test_a_running_guest_gets_the_change_at_once() -> None:
    """What goes or changes is taken out before the record, what is new plugged in after it."""
    town = plain_town()
    town.carry_out(HANDLER, change(nics=(("add", -1, {"link": "br7"}),), hotplug=False))
    order = change(
        beparams={"vcpus": 4},
        nics=(("modify", 1, {"link": "br8"}), ("remove", 0, {}), ("add", -1, {"link": "br9"})),
    )
    _, outcomes = town.carry_out(HANDLER, order)
    assert ids(outcomes[-1].plan) == [
        "take-out/0", "take-out/1", "modified", "plug-in/0", "plug-in/1", "vcpus",
    ]  # fmt: skip
    new = town.instance().nics[1]
    plugged = unpacked(call_steps(outcomes[-1].plan)["plug-in/1"])
    assert isinstance(plugged, PlugNic)
    assert (plugged.nic, plugged.instance.nics[1].link) == (new.uuid, "br9")


def test_what_the_guest_does_not_notice_is_only_recorded() -> None:
    """A name, fewer processors, anything with hotplug off or while it is down."""
    quiet = (
        (plain_town(), change(nics=(("modify", 0, {"name": "lan"}),))),
        (plain_town(), change(beparams={"memory": 256}, nics=(), hotplug=True)),
        (plain_town(), change(nics=(("remove", 0, {}),), hotplug=False)),
        (down_town(), change(nics=(("remove", 0, {}),))),
    )
    for town, order in quiet:
        _, outcomes = town.carry_out(HANDLER, order)
        assert ids(outcomes[-1].plan) == ["modified"]


def test_what_the_guest_does_not_take_is_told() -> None:
    """The change is recorded all the same, and holds from the next start on."""
    town = plain_town()
    order = change(nics=(("remove", 0, {}),))
    done, _ = town.carry_out(HANDLER, order, fail=["take-out/0"])
    assert done.result == [
        ("nic.count", "0"),
        ("hotplug/take-out/0", "from the next start on: it broke"),
    ]
    assert town.instance().nics == ()


def test_an_instance_is_taken_out_of_management_and_back() -> None:
    """Offline and down again; only while it does not run."""
    town = down_town()
    town.carry_out(HANDLER, change(offline=True))
    assert town.instance().admin_state == ADMIN_OFFLINE
    town.carry_out(HANDLER, change(offline=False))
    assert town.instance().admin_state == ADMIN_DOWN
    with pytest.raises(Refused, match="is meant to run"):
        plain_town().decide(HANDLER, change(offline=True))


def test_the_memory_of_a_running_guest_is_changed_and_can_be_taken_back() -> None:
    """Within minmem and maxmem; the undo gives it what it was seen to have."""
    town = plain_town(beparams={"minmem": 256, "maxmem": 1024})
    plan = plan_of(town, HANDLER, change(runtime_mem=512))
    assert ids(plan) == ["balloon", "modified"]
    back = unpacked(call_steps(plan)["balloon"], undo=True)
    assert isinstance(back, BalloonMemory)
    assert back.memory_mib == 1024
    with pytest.raises(Refused, match="outside minmem and maxmem"):
        town.decide(HANDLER, change(runtime_mem=2048))
    more = plan_of(town, HANDLER, change(beparams={"maxmem": 2048}, runtime_mem=2048))
    assert ids(more) == ["balloon", "modified"]
    with pytest.raises(Refused, match="does not run"):
        down_town().decide(HANDLER, change(runtime_mem=512))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing would change"),
        ({"beparams": {"maxmem": 512}}, "nothing would change"),
        ({"beparams": {"memory": "20G"}}, "too little memory"),
        ({"nics": (("remove", 4, {}),)}, "no interface of web1.example.net 4"),
        ({"nics": (("move", 0, {}),)}, "'move' is no change"),
        ({"hvparams": {"acpi": True}}, "has no parameter acpi"),
        ({"disk_template": "drbd"}, "disk_template is not supported yet"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(fields: dict[str, Any], message: str) -> None:
    """Before anything is recorded."""
    with pytest.raises(Refused) as refusal:
        plain_town().decide(HANDLER, change(**fields))
    assert message in refusal.value.message
    assert refusal.value.hint


def test_too_much_memory_can_be_forced() -> None:
    """It counts from the next start on."""
    town = plain_town()
    town.carry_out(HANDLER, change(beparams={"memory": "20G"}, force=True))
    assert town.instance().beparams["maxmem"] == 20480


def grow(**fields: Any) -> grow_disk.InstanceGrowDisk:
    """Return an order to grow web1's disk."""
    return grow_disk.InstanceGrowDisk(**{"instance_name": WEB, "disk": 0, "amount": 1024, **fields})


def test_a_mirror_grows_once_both_sides_have_room() -> None:
    """Volumes first, then the follower, then the leader, then the record."""
    town = mirror_town()
    plan = plan_of(town, grow_disk.HANDLER, grow())
    assert ids(plan) == [
        "volume/node3/0",
        "volume/node1/0",
        "mirror/node1/0",
        "mirror/node3/0",
        "grown",
        "synced/0",
    ]
    order = unpacked(call_steps(plan)["mirror/node3/0"])
    assert isinstance(order, EnsureReplicated)
    assert order.disk.size_mib == 11264
    town.carry_out(grow_disk.HANDLER, grow(amount=20480, absolute=True))
    assert town.instance().disks[0].size_mib == 20480


def test_a_disk_that_was_inactive_ends_inactive() -> None:
    """It is up only for the growth."""
    plan = plan_of(down_town(), grow_disk.HANDLER, grow())
    assert ids(plan)[-3:] == ["grown", "inactive/node3/0", "inactive/node1/0"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"disk": 3}, "has no disk 3"),
        ({"amount": 0}, "has 10240 MiB already"),
        ({"amount": 512, "absolute": True}, "has 10240 MiB already"),
        ({"amount": 200_000}, "too little disk space"),
    ],
)
def test_a_disk_never_shrinks_nor_grows_beyond_its_node(
    fields: dict[str, Any], message: str
) -> None:
    """What would fit is told."""
    with pytest.raises(Refused, match=message):
        mirror_town().decide(grow_disk.HANDLER, grow(**fields))


def test_a_renaming_can_be_taken_back_in_the_guest_too() -> None:
    """The script runs with the disks up; its undo renames back."""
    town = down_town()
    op = rename.InstanceRename(instance_name=WEB, new_name="WWW.example.net")
    plan = plan_of(town, rename.HANDLER, op)
    assert ids(plan) == [
        "active/node1/0",
        "active/node3/0",
        "os",
        "inactive/node3/0",
        "inactive/node1/0",
        "renamed",
    ]
    back = unpacked(call_steps(plan)["os"], undo=True)
    assert isinstance(back, RenameOs)
    assert (back.old_name, back.instance.name) == ("www.example.net", WEB)
    done, _ = town.carry_out(rename.HANDLER, op)
    assert done.result == "www.example.net"
    assert town.cluster.instance("www.example.net").uuid == town.instance().uuid


@pytest.mark.parametrize(
    ("make", "new_name", "message"),
    [
        (down_town, WEB, "has that name already"),
        (mirror_town, "x.example.net", "is meant to run"),
        (down_town, "no good", "cannot be the name"),
    ],
)
def test_a_name_that_cannot_be_is_refused(make: Any, new_name: str, message: str) -> None:
    """The instance must be down, and the name free."""
    op = rename.InstanceRename(instance_name=WEB, new_name=new_name)
    with pytest.raises(Refused, match=message):
        make().decide(rename.HANDLER, op)


def test_activation_tells_the_devices() -> None:
    """Ganeti's result: node, disk, path."""
    town = down_town()
    op = activate_disks.InstanceActivateDisks(instance_name=WEB)
    first = town.through(plan_of(town, activate_disks.HANDLER, op))
    path = msgspec.msgpack.encode(Device(path="/dev/drbd0"))
    first.results["active/node3/0"] = msgspec.Raw(path)
    done = town.decide(activate_disks.HANDLER, op, so_far=(first,))
    assert done.result == [("node3", "disk/0", "/dev/drbd0")]  # type: ignore[union-attr]
    assert town.instance().disks_active


def test_disks_of_a_running_instance_stay_active() -> None:
    """Unless the node is to decide."""
    town = mirror_town()
    op = deactivate_disks.InstanceDeactivateDisks(instance_name=WEB)
    with pytest.raises(Refused, match="runs on node3"):
        town.decide(deactivate_disks.HANDLER, op)
    forced = deactivate_disks.InstanceDeactivateDisks(instance_name=WEB, force=True)
    assert ids(town.decide(deactivate_disks.HANDLER, forced))[-1] == "recorded"
    assert town.node(3).uuid == node_uuid(3)

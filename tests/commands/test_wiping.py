"""Where the cluster wants it, new disks are emptied before anybody gets them."""

from __future__ import annotations

from typing import Any

from commands.instance_ops import create, grow_disk, recreate_disks
from nodeagent.calls import VolumeFound, WipeDisk
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, unpacked

NEW: dict[str, Any] = {
    "instance_name": "mail.example.net", "os_type": "debian", "disk_template": "plain",
    "disks": ({"size": 1024}, {"size": 2048}), "pnode": "node1",
}  # fmt: skip


def test_new_disks_are_empty_before_the_os_comes() -> None:
    """Each is wiped whole once it is active, and the OS waits for all of them."""
    town = Town(prealloc_wipe_disks=True)
    plan = town.decide(create.HANDLER, create.InstanceCreate(**NEW))
    assert isinstance(plan, Plan)
    steps = call_steps(plan)
    assert set(steps["os"].after) >= {"wipe/node1/0", "wipe/node1/1"}
    wiped = unpacked(steps["wipe/node1/0"])
    assert isinstance(wiped, WipeDisk)
    assert wiped.from_mib == 0
    assert set(steps["wipe/node1/0"].after) >= {"active/node1/0"}


def test_disks_that_are_not_to_start_are_shut_down_after_it() -> None:
    """Both of them wait for both wipes."""
    town = Town(prealloc_wipe_disks=True)
    order = create.InstanceCreate(**NEW, start=False, no_install=True)
    plan = town.decide(create.HANDLER, order)
    assert isinstance(plan, Plan)
    for shut in ("inactive/node1/0", "inactive/node1/1"):
        assert set(call_steps(plan)[shut].after) >= {"wipe/node1/0", "wipe/node1/1"}


def test_what_was_taken_over_is_never_wiped() -> None:
    """Its data are why it was taken over."""
    town = Town(prealloc_wipe_disks=True)
    town.volumes = (VolumeFound(name="xenvg/theirs", size_mib=2048),)
    order = create.InstanceCreate(**{**NEW, "disks": ({"adopt": "theirs"},)})
    first = town.decide(create.HANDLER, order)
    assert isinstance(first, Plan)
    then = town.decide(create.HANDLER, order, so_far=(town.through(first),))
    assert not [each for each in ids(then) if each.startswith("wipe/")]


def test_what_a_disk_grows_by_is_empty() -> None:
    """From its old size on; one that is not active is made so, and shut down again."""
    town = Town(prealloc_wipe_disks=True)
    town.add_instance(1, nodes=(1,), admin_state=ADMIN_DOWN, disks_active=False)
    had_mib = town.instance().disks[0].size_mib
    order = grow_disk.InstanceGrowDisk(instance_name="web1.example.net", disk=0, amount=1024)
    plan = town.decide(grow_disk.HANDLER, order)
    assert ids(plan) == [
        "volume/node1/0",
        "wake/node1/0",
        "wipe/node1/0",
        "grown",
        "inactive/node1/0",
    ]
    assert isinstance(plan, Plan)
    wiped = unpacked(call_steps(plan)["wipe/node1/0"])
    assert isinstance(wiped, WipeDisk)
    assert (wiped.from_mib, wiped.disk.size_mib) == (had_mib, had_mib + 1024)


def test_disks_made_anew_are_empty() -> None:
    """They are woken for it, and shut down before they count."""
    town = Town(prealloc_wipe_disks=True)
    town.add_instance(1, nodes=(1,), admin_state=ADMIN_DOWN, disks_active=False)
    order = recreate_disks.InstanceRecreateDisks(instance_name="web1.example.net")
    plan = ids(town.decide(recreate_disks.HANDLER, order))
    assert plan[:5] == [
        "volume/node1/0/data",
        "wake/node1/0",
        "wipe/node1/0",
        "inactive/node1/0",
        "replaced",
    ]


def test_nothing_is_wiped_unless_the_cluster_wants_it() -> None:
    """It takes long, and is off by default."""
    plan = Town().decide(create.HANDLER, create.InstanceCreate(**NEW))
    assert not [each for each in ids(plan) if each.startswith("wipe/")]

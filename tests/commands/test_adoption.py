"""Instances on disks that are there already: what is planned, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.instance_ops import grow_disk, recreate_disks
from commands.instance_ops.create import HANDLER, InstanceCreate
from nodeagent.calls import AdoptVolume, DescribeVolumes, ReleaseVolume, VolumeFound
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

DEVICE = "/dev/disk/by-id/wwn-1"


def order(**fields: Any) -> InstanceCreate:
    """Return an order that takes over `theirs` on node1, with changes."""
    wanted: dict[str, Any] = {
        "instance_name": "mail.example.net",
        "disk_template": "plain",
        "disks": ({"adopt": "theirs"},),
        "os_type": "debian",
        "pnode": "node1",
    }
    return InstanceCreate(**{**wanted, **fields})


DISK = {"disk_template": "blockdev", "disks": ({"adopt": DEVICE},)}


@pytest.fixture
def town() -> Town:
    """A person has made a volume in each of two groups, and connected a disk."""
    town = Town(enabled_disk_templates=("plain", "blockdev", "file"))
    town.volumes = tuple(
        VolumeFound(name=name, size_mib=4096) for name in ("xenvg/theirs", "ssd/theirs", DEVICE)
    )
    return town


def test_the_node_is_asked_before_anything_is_taken(town: Town) -> None:
    """Then each disk is taken over, nothing is made or installed, and going back gives it back."""
    first = town.decide(HANDLER, order())
    assert ids(first) == ["ask/volumes"]
    assert isinstance(first, Plan)
    asked = unpacked(call_steps(first)["ask/volumes"])
    assert asked == DescribeVolumes(kind="lvm", names=("xenvg/theirs",))
    then = town.decide(HANDLER, order(), so_far=(town.through(first),))
    assert isinstance(then, Plan)
    assert ids(then) == ["adopt/node1/0", "active/node1/0", "created", "start"]
    step = call_steps(then)["adopt/node1/0"]
    taken, back = unpacked(step), unpacked(step, undo=True)
    assert isinstance(taken, AdoptVolume)
    assert isinstance(back, ReleaseVolume)
    assert (taken.source, taken.volume.size_mib) == ("xenvg/theirs", 4096)
    assert taken.volume.name.startswith("xenvg/")
    assert taken.volume.name.endswith(".disk0")
    assert (back.source, back.volume, back.owner) == (taken.source, taken.volume, taken.owner)
    assert not any(held.disk_mib for held in then.reserves.nodes)


def test_its_size_is_what_was_found(town: Town) -> None:
    """So it stands in the configuration, in the group that was named."""
    town.carry_out(HANDLER, order(disks=({"adopt": "theirs", "vg": "ssd"},)))
    (disk,) = town.cluster.instance("mail.example.net").disks
    assert disk.size_mib == 4096
    assert disk.sides[0].volume.startswith("ssd/")


def test_a_device_keeps_its_name(town: Town) -> None:
    """It has one side, which other nodes may use too: the instance can move."""
    town.carry_out(HANDLER, order(**{**DISK, "disks": ({"adopt": f"{DEVICE}/../wwn-1"},)}))
    (disk,) = town.cluster.instance("mail.example.net").disks
    assert [side.volume for side in disk.sides] == [DEVICE]


def test_two_orders_for_a_device_exclude_each_other(town: Town) -> None:
    """However its path was written; and what an instance has is refused to the next."""
    spelled = order(**{**DISK, "disks": ({"adopt": "/dev/disk//by-id/./wwn-1"},)})
    for one in (order(**DISK), spelled):
        alone = {each.name for each in HANDLER.locks(one, town.cluster) if not each.shared}
        assert f"device{DEVICE}" in alone
    town.carry_out(HANDLER, order(**DISK))
    with pytest.raises(Refused, match=r"is a disk of mail\.example\.net"):
        town.decide(HANDLER, order(**DISK, instance_name="two.example.net", pnode="node2"))


REFUSALS = [
    ({"disks": ({"adopt": "theirs"}, {"size": 1024})}, "some disks are to be taken over"),
    ({"disks": ({"adopt": "theirs"}, {"adopt": "theirs"})}, "one volume for two disks"),
    ({"disks": ({"adopt": "theirs", "size": 1024},)}, "has a size already"),
    ({"disks": ({"adopt": "other/theirs"},)}, "no name of a logical volume"),
    ({"disks": ({"adopt": "nosuch"},)}, "there is no xenvg/nosuch"),
    ({"disk_template": "file"}, "a disk of template file cannot be taken over"),
    ({"disk_template": "blockdev", "disks": ({"size": 1024},)}, "never made, only taken over"),
    ({"disk_template": "blockdev", "disks": ({"adopt": "/dev/sdb"},)}, "is not below /dev/disk/"),
    (
        {"disk_template": "blockdev", "disks": ({"adopt": "/dev/disk/../sdb"},)},
        "is not below /dev/disk/",
    ),
    ({"pnode": None}, "no node was named"),
    ({"pnode": None, "iallocator": "hail"}, "no node was named"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS)
def test_what_ganeti_refuses_is_refused(town: Town, changes: dict[str, Any], message: str) -> None:
    """The message says what is wrong, the hint what would be accepted."""
    with pytest.raises(Refused) as refusal:
        town.carry_out(HANDLER, order(**changes))
    assert message in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"in_use": "mounted on /srv"}, "xenvg/theirs is in use: mounted on /srv"),
        ({"owner": "d9"}, "xenvg/theirs belongs to disk d9"),
    ],
)
def test_what_others_have_is_refused(town: Town, found: dict[str, str], message: str) -> None:
    """What the node says of it is told."""
    town.volumes = (VolumeFound(name="xenvg/theirs", size_mib=4096, **found),)
    with pytest.raises(Refused) as refusal:
        town.carry_out(HANDLER, order())
    assert refusal.value.message == message


def test_devices_are_neither_grown_nor_made_anew(town: Town) -> None:
    """Each is refused with what to do instead."""
    town.carry_out(HANDLER, order(**DISK, start=False))
    mail = town.cluster.instance("mail.example.net")
    assert mail.admin_state == ADMIN_DOWN
    assert mail.primary == node_uuid(1)
    grow = grow_disk.InstanceGrowDisk(instance_name=mail.name, disk=0, amount=1024)
    with pytest.raises(Refused, match="never grown"):
        town.decide(grow_disk.HANDLER, grow)
    again = recreate_disks.InstanceRecreateDisks(instance_name=mail.name)
    with pytest.raises(Refused, match="never made"):
        town.decide(recreate_disks.HANDLER, again)

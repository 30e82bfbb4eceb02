"""Real LVM and DRBD in the test bed keep the contracts that the simulated ones keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from nodeagent.calls import DiskSpec, VolumeSpec
from nodeagent.errors import NoRoom, NoSuchThing, StateMismatch
from nodeagent.storage.disks import Disks
from nodeagent.storage.drbd import PREFIX, Drbd
from nodeagent.storage.lvm import Lvm
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_mirrors import (
    MirrorContract,
    Pair,
    StorageNode,
    Until,
    replicate,
    states,
)
from tests.nodeagent.contract_volumes import VolumeContract
from tests.nodeagent.specs import volume
from tests.real.node_system import NodeContent, NodeSystem
from tools.testbed.bed import Bed
from tools.testbed.layout import DISKS, VOLUME_GROUP, address_of
from tools.testbed.machine import Machine

SIZE_MIB = 128  # of a mirrored disk: a full sync takes some seconds
META_MIB = 4
_WITHIN_S = 300.0


class RealNode:
    """The storage of one node VM."""

    def __init__(self, machine: Machine) -> None:
        self.uuid = f"uuid-{machine.name}"
        self.machine = machine
        self.system = NodeSystem(machine)
        self.content = NodeContent(machine)
        self.volumes = Lvm(self.system, VOLUME_GROUP)
        self.mirrors = Drbd(self.system, secret=lambda disk: f"known to both sides of {disk.uuid}")
        self.disks = Disks((self.volumes,), self.mirrors, in_use=lambda _: False)

    def disk(
        self, peer: StorageNode, *, uuid: str = "d1", part: str = "", larger: bool = False,
        slow: bool = False,
    ) -> DiskSpec:  # fmt: skip
        """See StorageNode."""
        size_mib = 2 * SIZE_MIB if larger else SIZE_MIB
        other = peer.uuid.removeprefix("uuid-")
        return DiskSpec(
            uuid=uuid, instance="i1", index=0, template="drbd", size_mib=size_mib,
            volume=volume(f"{VOLUME_GROUP}/{uuid}.data{part}", size_mib),
            meta=volume(f"{VOLUME_GROUP}/{uuid}.meta{part}", META_MIB),
            minor=0, port=11000, peer=peer.uuid, peer_address=address_of(other),
            own_address=address_of(self.machine.name), peer_key="k",
            params={"resync-rate": 12_288 if slow else 61_440},
        )  # fmt: skip

    def clean(self) -> None:
        """No mirror, no volume."""
        script = (
            f"for r in $(drbdsetup show | sed -n 's/^resource \\({PREFIX}[^ ]*\\) .*/\\1/p'); "
            "do drbdsetup down $r; done; "
            f"lvremove --quiet --force {VOLUME_GROUP}"
        )
        self.machine.check("sh", "-c", script)


@pytest.fixture
def pair(bed: Bed) -> Iterator[Pair]:
    nodes = RealNode(bed.nodes["node1"]), RealNode(bed.nodes["node2"])
    yield nodes
    for node in nodes:
        node.clean()


@pytest.fixture
def node(bed: Bed) -> Iterator[RealNode]:
    node = RealNode(bed.nodes["node3"])
    yield node
    node.clean()


class TestLvm(VolumeContract):
    """The volume group of a node VM."""

    @pytest.fixture
    def kind(self) -> str:
        return "lvm"

    @pytest.fixture
    def name(self) -> str:
        return f"{VOLUME_GROUP}/d1.data"

    @pytest.fixture
    def driver(self, node: RealNode) -> Lvm:
        return node.volumes

    @pytest.fixture
    def content(self, node: RealNode) -> NodeContent:
        return node.content

    def test_each_effect_is_one_command(self, node: RealNode, name: str) -> None:
        """Making, growing, shutting and removing a volume; what is true already costs none."""
        driver = node.volumes
        driver.space()
        node.system.commands.clear()
        for size_mib in (256, 256, 512):
            driver.ensure(volume(name, size_mib), owner="d1", scope=TaskScope())
        driver.activate(volume(name))
        driver.deactivate(volume(name))
        driver.activate(volume(name))
        driver.remove(volume(name), owner="d1", scope=TaskScope())
        ran = [argv[0] for argv in node.system.commands]
        assert ran == ["lvcreate", "lvextend", "lvchange", "lvchange", "lvremove"]
        assert driver.volumes() == ()

    def test_stripes_lie_on_as_many_disks(self, node: RealNode, name: str) -> None:
        """Two stripes use both disks, and the room that is remembered is what LVM says."""
        driver = node.volumes
        driver.space()
        striped = VolumeSpec(name=name, kind="lvm", size_mib=250, stripes=2)
        driver.ensure(striped, owner="d1", scope=TaskScope())
        remembered = driver.space()
        lvs = ["lvs", "--noheadings", "-o", "devices", name]
        assert all(disk in node.machine.check(*lvs) for disk in DISKS)
        assert Lvm(node.system, VOLUME_GROUP).space() == remembered

    def test_an_exclusive_volume_has_its_disks_for_itself(self, node: RealNode, name: str) -> None:
        """It takes empty disks only; when none is left it is refused."""
        driver = node.volumes
        for number in range(2):
            alone = VolumeSpec(name=f"{name}{number}", kind="lvm", size_mib=256, exclusive=True)
            driver.ensure(alone, owner="d1", scope=TaskScope())
        pvs = ["pvs", "--noheadings", "-o", "lv_name", "-S", "lv_name!=''"]
        assert len(node.machine.check(*pvs).split()) == 2
        third = VolumeSpec(name=f"{name}3", kind="lvm", size_mib=256, exclusive=True)
        with pytest.raises(NoRoom, match="0 disks"):
            driver.ensure(third, owner="d1", scope=TaskScope())

    def test_a_volume_of_a_person_is_taken_over_or_left(self, node: RealNode, name: str) -> None:
        """It is listed as nobody's, not removed, and taken over by its new name, once."""
        driver, theirs = node.volumes, f"{VOLUME_GROUP}/theirs"
        node.machine.check("lvcreate", "--quiet", "-y", "-L", "256m", "-n", "theirs", VOLUME_GROUP)
        assert [(each.name, each.owner) for each in driver.volumes()] == [(theirs, "")]
        with pytest.raises(StateMismatch, match="nobody"):
            driver.ensure(volume(theirs, 256), owner="d1", scope=TaskScope())
        driver.remove(volume(theirs), owner="d1", scope=TaskScope())
        node.content.write(f"/dev/{theirs}", b"precious")
        for _ in range(2):
            driver.adopt(theirs, volume(name, 256), owner="d1", scope=TaskScope())
        assert [(each.name, each.owner) for each in driver.volumes()] == [(name, "d1")]
        assert node.content.read(driver.activate(volume(name)).path, 8) == b"precious"

    def test_a_volume_that_is_open_is_not_removed(self, node: RealNode, name: str) -> None:
        """It is refused as in use, and still there."""
        driver = node.volumes
        driver.ensure(volume(name, 64), owner="d1", scope=TaskScope())
        node.machine.check("sh", "-c", f"sleep 60 </dev/{name} >/dev/null 2>&1 & echo $! >/run/pid")
        try:
            with pytest.raises(StateMismatch, match="in use"):
                driver.remove(volume(name), owner="d1", scope=TaskScope())
        finally:
            node.machine.check("sh", "-c", "kill $(cat /run/pid)")
        assert driver.owner(volume(name)) == "d1"

    def test_what_was_made_by_hand_is_seen_when_it_matters(self, node: RealNode, name: str) -> None:
        """A volume that another made or removed behind the driver's back misleads nobody."""
        driver = node.volumes
        driver.space()
        short = name.partition("/")[2]
        make = ["lvcreate", "--quiet", "-y", "-L", "64m", "-n", short, VOLUME_GROUP]
        node.machine.check(*make)
        with pytest.raises(StateMismatch, match="nobody"):
            driver.ensure(volume(name, 64), owner="d1", scope=TaskScope())
        node.machine.check("lvremove", "--quiet", "--force", name)
        driver.ensure(volume(name, 64), owner="d1", scope=TaskScope())
        node.machine.check("lvremove", "--quiet", "--force", name)
        driver.ensure(volume(name, 64), owner="d1", scope=TaskScope())
        assert [each.owner for each in driver.volumes()] == ["d1"]

    def test_a_group_that_is_not_there_is_named(self, node: RealNode) -> None:
        """What is missing is said, and how to make it."""
        (need,) = Lvm(node.system, "nosuch").needs()
        assert "vgcreate nosuch" in need
        with pytest.raises(NoSuchThing, match="nosuch"):
            node.volumes.ensure(volume("nosuch/d1", 64), owner="d1", scope=TaskScope())


class TestDrbd(MirrorContract):
    """Two node VMs with DRBD 8.4."""

    @pytest.fixture
    def until(self) -> Until:
        def wait(condition: Callable[[], bool]) -> None:
            deadline = time.monotonic() + _WITHIN_S
            while not condition():
                assert time.monotonic() < deadline, "it did not come true"
                time.sleep(0.2)

        return wait

    def test_a_new_side_can_be_attached_after_a_crash(self, mirror: Pair) -> None:
        """Its metadata as they lie on the disk while it is up, which is what a loss of power would
        leave: their activity log is one that DRBD can apply."""
        for node, peer in (mirror, mirror[::-1]):
            assert isinstance(node, RealNode)
            meta = node.disk(peer).meta
            assert meta is not None
            left, copy = f"/dev/{meta.name}", f"/dev/{VOLUME_GROUP}/left"
            lvcreate = ["lvcreate", "--quiet", "-y", "-Wn", "-L", f"{META_MIB}m"]
            node.machine.check(*lvcreate, "-n", "left", VOLUME_GROUP)
            dd = ["dd", f"if={left}", f"of={copy}", "bs=1M", "iflag=direct", "oflag=direct"]
            node.machine.check(*dd)
            drbdmeta = ["drbdmeta", "/dev/drbd7", "v08", copy, "flex-external"]
            node.machine.check(*drbdmeta, "apply-al")
            assert "al-stripes" in node.machine.check(*drbdmeta, "dump-md")

    def test_parameters_act_on_a_mirror_that_is_up(self, mirror: Pair) -> None:
        """A changed rate is in force on both sides, and the size and the devices stay."""
        one, two = mirror
        for node, peer in ((one, two), (two, one)):
            replicate(node, peer, slow=True)
        for node in mirror:
            assert isinstance(node, RealNode)
            shown = node.machine.check("drbdsetup", "show")
            assert "12288k" in shown
            assert f"{SIZE_MIB * 2048}s" in shown
        assert states(mirror) == ("ok", "ok")

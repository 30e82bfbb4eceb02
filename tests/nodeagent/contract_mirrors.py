"""What every mirror driver promises. A driver's tests subclass this and give it the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nodeagent.calls import (
    EnsureActive,
    EnsureInactive,
    EnsureReplicated,
    EnsureVolume,
    RemoveReplicated,
    RemoveVolume,
)
from nodeagent.errors import NodeAgentError, NoSuchThing, StateMismatch
from nodeagent.task_scope import TaskScope
from tests.nodeagent.simulated_lab import LabNode
from tests.nodeagent.specs import drbd_disk

Pair = tuple[LabNode, LabNode]
Pass = Callable[[float], None]  # let so many seconds pass


def scope() -> TaskScope:
    return TaskScope()


def make_volumes(node: LabNode, peer: LabNode, part: str = "") -> None:
    """The volumes of one side."""
    disk = drbd_disk(peer.uuid, part=part)
    for volume in (disk.volume, disk.meta):
        assert volume is not None
        node.disks.ensure_volume(EnsureVolume(volume=volume, owner="d1"), scope())


def replicate(node: LabNode, peer: LabNode, *, part: str = "", **how: bool) -> None:
    """The mirror of one side."""
    call = EnsureReplicated(disk=drbd_disk(peer.uuid, part=part), **how)
    node.disks.ensure_replicated(call, scope())


def activate(node: LabNode, peer: LabNode, *, primary: bool, dual: bool = False) -> str:
    """The role of one side; returns the path of its device."""
    call = EnsureActive(disk=drbd_disk(peer.uuid), primary=primary, dual=dual)
    return node.disks.ensure_active(call, scope()).path


class MirrorContract:
    """Fixtures: `pair`, two nodes without any mirror; `passing`, which lets time pass."""

    @pytest.fixture
    def mirror(self, pair: Pair) -> Pair:
        """A fresh mirror, up on both nodes, the first one primary."""
        for node, peer in (pair, pair[::-1]):
            make_volumes(node, peer)
        for node, peer in (pair, pair[::-1]):
            for _ in range(2):
                replicate(node, peer, fresh=True)
        activate(*pair, primary=True)
        return pair

    def test_a_fresh_mirror_is_in_sync(self, mirror: Pair) -> None:
        """Both sides are ok at once; one is primary, the other secondary; the minors are taken."""
        seen = [node.disks.seen()[0] for node in mirror]
        assert [(disk.state, disk.role) for disk in seen] == [
            ("ok", "primary"),
            ("ok", "secondary"),
        ]
        assert [node.disks.minors() for node in mirror] == [{0: "d1"}, {0: "d1"}]

    def test_one_primary_at_a_time(self, mirror: Pair) -> None:
        """The other side cannot become primary until this one is secondary."""
        one, two = mirror
        with pytest.raises(StateMismatch, match="primary"):
            activate(two, one, primary=True)
        activate(one, two, primary=False)
        activate(two, one, primary=True)
        assert two.disks.seen()[0].role == "primary"

    def test_what_is_written_is_read_on_the_other_side(self, mirror: Pair) -> None:
        """After a change of roles the data are there."""
        one, two = mirror
        with Path(activate(one, two, primary=True)).open("r+b") as file:
            file.write(b"precious")
        activate(one, two, primary=False)
        assert Path(activate(two, one, primary=True)).read_bytes()[:8] == b"precious"

    def test_a_side_without_data_is_synced_from_the_other(
        self, mirror: Pair, passing: Pass
    ) -> None:
        """New volumes under a mirror are filled from its peer, with progress, then ok."""
        one, two = mirror
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new")
        seen = two.disks.seen()[0]
        assert seen.state == one.state() == "syncing"
        assert seen.sync_percent is not None
        assert seen.sync_eta_s is not None
        passing(seen.sync_eta_s / 2)
        later = two.disks.seen()[0]
        assert later.sync_percent is not None
        assert seen.sync_percent < later.sync_percent < 100
        passing(seen.sync_eta_s)
        assert two.state() == one.state() == "ok"

    def test_the_volumes_that_a_mirror_has_left_can_be_removed(self, mirror: Pair) -> None:
        """Those that it stands on cannot."""
        one, two = mirror
        old = drbd_disk(one.uuid).volume
        with pytest.raises(StateMismatch, match="in use"):
            two.disks.remove_volume(RemoveVolume(volume=old, owner="d1"), scope())
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new")
        two.disks.remove_volume(RemoveVolume(volume=old, owner="d1"), scope())
        assert old.name not in {volume.name for volume in two.disks.volumes()}

    def test_a_peer_that_goes_away_leaves_it_degraded(self, mirror: Pair, passing: Pass) -> None:
        """The primary goes on; the peer catches up quickly when it is back."""
        one, two = mirror
        disk = drbd_disk(one.uuid)
        two.disks.ensure_inactive(EnsureInactive(disk=disk), scope())
        assert (one.state(), two.state()) == ("degraded", "inactive")
        activate(two, one, primary=False)
        assert one.state() == "syncing"
        passing(1024 / 100 / 2)  # far less than a full sync takes
        assert (one.state(), two.state()) == ("ok", "ok")

    def test_split_brain_is_reported_and_never_resolved(self, mirror: Pair) -> None:
        """Both sides went on alone: joining them is refused, on either side."""
        one, two = mirror
        one.disks.ensure_inactive(EnsureInactive(disk=drbd_disk(two.uuid)), scope())
        activate(two, one, primary=True)
        assert two.state() == "degraded"
        two.disks.ensure_inactive(EnsureInactive(disk=drbd_disk(one.uuid)), scope())
        activate(one, two, primary=True)
        assert one.state() == "degraded"
        with pytest.raises(StateMismatch, match="split brain"):
            activate(two, one, primary=False)
        with pytest.raises(StateMismatch, match="split brain"):
            replicate(one, two)

    def test_a_side_in_the_middle_of_a_sync_cannot_lead_alone(
        self, mirror: Pair, passing: Pass
    ) -> None:
        """Half a copy is no data: without its peer it may not become primary."""
        one, two = mirror
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new")
        passing(1.0)
        assert two.state() == "syncing"
        one.disks.ensure_inactive(EnsureInactive(disk=drbd_disk(two.uuid)), scope())
        call = EnsureActive(disk=drbd_disk(one.uuid, part=".new"), primary=True)
        with pytest.raises(StateMismatch, match="no good data"):
            two.disks.ensure_active(call, scope())

    def test_two_primaries_only_if_both_are_told_so(self, mirror: Pair) -> None:
        """For a live migration both sides are primary, and afterwards one."""
        one, two = mirror
        activate(one, two, primary=True, dual=True)
        activate(two, one, primary=True, dual=True)
        assert {node.disks.seen()[0].role for node in mirror} == {"primary"}
        activate(one, two, primary=False)
        activate(two, one, primary=True)
        assert [node.disks.seen()[0].role for node in mirror] == ["secondary", "primary"]
        assert (one.state(), two.state()) == ("ok", "ok")

    def test_it_grows(self, mirror: Pair) -> None:
        """A larger size is taken over; the mirror stays in sync."""
        for node, peer in (mirror, mirror[::-1]):
            disk = drbd_disk(peer.uuid, size_mib=2048)
            node.disks.ensure_volume(EnsureVolume(volume=disk.volume, owner="d1"), scope())
            node.disks.ensure_replicated(EnsureReplicated(disk=disk), scope())
        assert [node.state() for node in mirror] == ["ok", "ok"]
        assert all(volume.size_mib == 2048 for volume in mirror[0].volumes.volumes()[:1])

    def test_minors_and_ports_are_not_shared(self, mirror: Pair) -> None:
        """Another disk with the same minor is refused."""
        one, two = mirror
        other = drbd_disk(two.uuid, uuid="d2", minor=0)
        one.disks.ensure_volume(EnsureVolume(volume=other.volume, owner="d2"), scope())
        assert other.meta is not None
        one.disks.ensure_volume(EnsureVolume(volume=other.meta, owner="d2"), scope())
        with pytest.raises(StateMismatch, match="minor 0"):
            one.disks.ensure_replicated(EnsureReplicated(disk=other, fresh=True), scope())

    def test_a_removed_mirror_leaves_the_volumes(self, mirror: Pair) -> None:
        """Removed twice, its minor is free, its volumes are there, and it cannot be promoted."""
        one, two = mirror
        for _ in range(2):
            one.disks.remove_replicated(RemoveReplicated(disk=drbd_disk(two.uuid)), scope())
        assert one.disks.minors() == {}
        assert len(one.disks.volumes()) == 2
        with pytest.raises((NoSuchThing, NodeAgentError)):
            one.mirrors.set_role(drbd_disk(two.uuid), primary=True, dual=False, scope=scope())
        assert two.state() == "degraded"

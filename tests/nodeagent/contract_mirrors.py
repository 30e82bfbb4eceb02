"""What every mirror driver promises. A driver's tests subclass this and give it the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from nodeagent.calls import (
    DiskSpec,
    EnsureActive,
    EnsureInactive,
    EnsureReplicated,
    EnsureVolume,
    RemoveReplicated,
    RemoveVolume,
)
from nodeagent.errors import NodeAgentError, NoSuchThing, StateMismatch
from nodeagent.storage.contract import MirrorDriver
from nodeagent.storage.disks import Disks
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_volumes import Content


class StorageNode(Protocol):
    """A node with volumes and mirrors: simulated, or a VM of the test bed."""

    @property
    def uuid(self) -> str:
        """The node."""

    @property
    def disks(self) -> Disks:
        """Its storage."""

    @property
    def mirrors(self) -> MirrorDriver:
        """Its mirrors."""

    @property
    def content(self) -> Content:
        """What is on its devices."""

    def disk(
        self, peer: StorageNode, *, uuid: str = "d1", part: str = "", larger: bool = False,
        slow: bool = False,
    ) -> DiskSpec:  # fmt: skip
        """The side of a disk on this node. `part` tells a second set of volumes from the first;
        `larger`: twice the size; `slow`: a full sync takes some seconds."""


Pair = tuple[StorageNode, StorageNode]
Until = Callable[[Callable[[], bool]], None]  # let time pass until this is so


def scope() -> TaskScope:
    return TaskScope()


def make_volumes(node: StorageNode, peer: StorageNode, part: str = "") -> None:
    """The volumes of one side."""
    disk = node.disk(peer, part=part)
    for volume in (disk.volume, disk.meta):
        assert volume is not None
        node.disks.ensure_volume(EnsureVolume(volume=volume, owner="d1"), scope())


def replicate(
    node: StorageNode, peer: StorageNode, *, part: str = "", fresh: bool = False, slow: bool = False
) -> None:
    """The mirror of one side."""
    call = EnsureReplicated(disk=node.disk(peer, part=part, slow=slow), fresh=fresh)
    node.disks.ensure_replicated(call, scope())


def activate(node: StorageNode, peer: StorageNode, *, primary: bool, dual: bool = False) -> str:
    """The role of one side; returns the path of its device."""
    call = EnsureActive(disk=node.disk(peer), primary=primary, dual=dual)
    return node.disks.ensure_active(call, scope()).path


def deactivate(node: StorageNode, peer: StorageNode) -> None:
    """Shut one side down."""
    node.disks.ensure_inactive(EnsureInactive(disk=node.disk(peer)), scope())


def state(node: StorageNode, disk: str = "d1") -> str:
    """The state of a disk as a node sees it."""
    return {seen.uuid: seen.state for seen in node.disks.seen()}[disk]


def states(pair: Pair) -> tuple[str, str]:
    """The state of the disk on both nodes."""
    return state(pair[0]), state(pair[1])


def percent(node: StorageNode) -> float:
    """How far the sync is, 0 if there is none."""
    return node.disks.seen()[0].sync_percent or 0.0


class MirrorContract:
    """Fixtures: `pair`, two nodes without any mirror; `until`, which lets time pass."""

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

    def test_a_fresh_mirror_is_in_sync(self, mirror: Pair, until: Until) -> None:
        """Without any sync both sides are ok; one is primary, the other secondary; the minors are
        taken."""
        until(lambda: "degraded" not in states(mirror))
        seen = [node.disks.seen()[0] for node in mirror]
        assert [(disk.state, disk.role) for disk in seen] == [
            ("ok", "primary"),
            ("ok", "secondary"),
        ]
        assert [node.disks.minors() for node in mirror] == [{0: "d1"}, {0: "d1"}]

    def test_one_primary_at_a_time(self, mirror: Pair, until: Until) -> None:
        """The other side cannot become primary until this one is secondary."""
        one, two = mirror
        until(lambda: states(mirror) == ("ok", "ok"))
        with pytest.raises(StateMismatch, match="primary"):
            activate(two, one, primary=True)
        activate(one, two, primary=False)
        activate(two, one, primary=True)
        assert two.disks.seen()[0].role == "primary"

    def test_what_is_written_is_read_on_the_other_side(self, mirror: Pair, until: Until) -> None:
        """After a change of roles the data are there."""
        one, two = mirror
        until(lambda: states(mirror) == ("ok", "ok"))
        one.content.write(activate(one, two, primary=True), b"precious")
        activate(one, two, primary=False)
        assert two.content.read(activate(two, one, primary=True), 8) == b"precious"

    def test_a_side_without_data_is_synced_from_the_other(self, mirror: Pair, until: Until) -> None:
        """New volumes under a mirror are filled from its peer, with progress, then ok."""
        one, two = mirror
        one.content.write(activate(one, two, primary=True), b"precious")
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new", slow=True)
        until(lambda: states(mirror) == ("syncing", "syncing") and percent(two) > 0)
        first = two.disks.seen()[0]
        assert first.sync_percent is not None
        assert first.sync_eta_s is not None
        until(lambda: percent(two) > (first.sync_percent or 0) or state(two) == "ok")
        until(lambda: states(mirror) == ("ok", "ok"))
        activate(one, two, primary=False)
        call = EnsureActive(disk=two.disk(one, part=".new"), primary=True)
        assert two.content.read(two.disks.ensure_active(call, scope()).path, 8) == b"precious"

    def test_the_volumes_that_a_mirror_has_left_can_be_removed(self, mirror: Pair) -> None:
        """Those that it stands on cannot."""
        one, two = mirror
        old = two.disk(one).volume
        with pytest.raises(StateMismatch, match="in use"):
            two.disks.remove_volume(RemoveVolume(volume=old, owner="d1"), scope())
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new")
        two.disks.remove_volume(RemoveVolume(volume=old, owner="d1"), scope())
        assert old.name not in {volume.name for volume in two.disks.volumes()}

    def test_a_peer_that_goes_away_leaves_it_degraded(self, mirror: Pair, until: Until) -> None:
        """The primary goes on; the peer catches up when it is back."""
        one, two = mirror
        until(lambda: states(mirror) == ("ok", "ok"))
        deactivate(two, one)
        until(lambda: states(mirror) == ("degraded", "inactive"))
        one.content.write(activate(one, two, primary=True), b"meanwhile")
        activate(two, one, primary=False)
        until(lambda: states(mirror) == ("ok", "ok"))
        activate(one, two, primary=False)
        assert two.content.read(activate(two, one, primary=True), 9) == b"meanwhile"

    def test_split_brain_is_reported_and_never_resolved(self, mirror: Pair, until: Until) -> None:
        """Both sides went on alone: joining them is refused, on either side, and each keeps what
        was written there."""
        one, two = mirror
        until(lambda: states(mirror) == ("ok", "ok"))
        deactivate(one, two)
        two.content.write(activate(two, one, primary=True), b"two")
        assert state(two) == "degraded"
        deactivate(two, one)
        one.content.write(activate(one, two, primary=True), b"one")
        assert state(one) == "degraded"
        with pytest.raises(StateMismatch, match="split brain"):
            activate(two, one, primary=False)
        with pytest.raises(StateMismatch, match="split brain"):
            replicate(one, two)
        device = one.disks.device(one.disk(two))
        assert one.content.read(device.path, 3) == b"one"

    def test_a_side_in_the_middle_of_a_sync_cannot_lead_alone(
        self, mirror: Pair, until: Until
    ) -> None:
        """Half a copy is no data: without its peer it may not become primary."""
        one, two = mirror
        make_volumes(two, one, part=".new")
        replicate(two, one, part=".new", slow=True)
        until(lambda: state(two) == "syncing" and percent(two) > 0)
        deactivate(one, two)
        call = EnsureActive(disk=two.disk(one, part=".new"), primary=True)
        with pytest.raises(StateMismatch, match="no good data"):
            two.disks.ensure_active(call, scope())

    def test_two_primaries_only_if_both_are_told_so(self, mirror: Pair, until: Until) -> None:
        """For a live migration both sides are primary, and afterwards one."""
        one, two = mirror
        until(lambda: states(mirror) == ("ok", "ok"))
        activate(one, two, primary=True, dual=True)
        activate(two, one, primary=True, dual=True)
        assert {node.disks.seen()[0].role for node in mirror} == {"primary"}
        activate(one, two, primary=False)
        activate(two, one, primary=True)
        assert [node.disks.seen()[0].role for node in mirror] == ["secondary", "primary"]
        assert states(mirror) == ("ok", "ok")
        with pytest.raises(StateMismatch, match="primary"):
            activate(one, two, primary=True)

    def test_it_grows(self, mirror: Pair, until: Until) -> None:
        """A larger size is taken over on both sides, whichever is asked first."""
        until(lambda: states(mirror) == ("ok", "ok"))
        for node, peer in (mirror, mirror[::-1]):
            call = EnsureVolume(volume=node.disk(peer, larger=True).volume, owner="d1")
            node.disks.ensure_volume(call, scope())
        for node, peer in (mirror[::-1], mirror):
            call_mirror = EnsureReplicated(disk=node.disk(peer, larger=True))
            node.disks.ensure_replicated(call_mirror, scope())
        until(lambda: states(mirror) == ("ok", "ok"))
        sizes = {volume.name: volume.size_mib for volume in mirror[0].disks.volumes()}
        grown = mirror[0].disk(mirror[1], larger=True)
        assert sizes[grown.volume.name] == grown.size_mib

    def test_minors_and_ports_are_not_shared(self, mirror: Pair) -> None:
        """Another disk with the same minor is refused."""
        one, two = mirror
        other = one.disk(two, uuid="d2")
        assert other.meta is not None
        for volume in (other.volume, other.meta):
            one.disks.ensure_volume(EnsureVolume(volume=volume, owner="d2"), scope())
        with pytest.raises(StateMismatch, match="minor 0"):
            one.disks.ensure_replicated(EnsureReplicated(disk=other, fresh=True), scope())

    def test_a_removed_mirror_leaves_the_volumes(self, mirror: Pair, until: Until) -> None:
        """Removed twice, its minor is free, its volumes are there, and it cannot be promoted."""
        one, two = mirror
        activate(one, two, primary=False)
        for _ in range(2):
            one.disks.remove_replicated(RemoveReplicated(disk=one.disk(two)), scope())
        assert one.disks.minors() == {}
        assert len(one.disks.volumes()) == 2
        with pytest.raises((NoSuchThing, NodeAgentError)):
            one.mirrors.set_role(one.disk(two), primary=True, dual=False, scope=scope())
        until(lambda: state(two) == "degraded")

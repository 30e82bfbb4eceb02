"""What every driver promises that keeps a moment of a volume. Tests subclass this."""

from __future__ import annotations

import pytest

from nodeagent.errors import NoRoom, NoSuchThing, StateMismatch
from nodeagent.storage.contract import Snapshotting, VolumeDriver
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_volumes import Content, LocalContent
from tests.nodeagent.specs import volume

SCOPE = TaskScope()


class SnapshotContract:
    """Fixtures: `driver`, an empty pool of at least 1 GiB; `kind`, of its volumes; `name`, a name
    that it accepts. `content` where the driver acts on another machine."""

    @pytest.fixture
    def content(self) -> Content:
        """What is on the devices."""
        return LocalContent()

    @pytest.fixture
    def snapshots(self, driver: VolumeDriver) -> Snapshotting:
        """The part of the driver that this is about."""
        assert driver.snapshots is not None
        return driver.snapshots

    def test_a_snapshot_keeps_what_was(
        self, driver: VolumeDriver, snapshots: Snapshotting, kind: str, name: str, content: Content
    ) -> None:
        """Whatever is written to the disk later; asked for twice, it is that of the first time."""
        disk, kept = volume(name, 64, kind), volume(f"{name}-kept", 64, kind)
        driver.ensure(disk, owner="d1", scope=SCOPE)
        device = driver.activate(disk)
        content.write(device.path, b"before")
        snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        content.write(device.path, b"after!")
        snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert content.read(driver.activate(kept).path, 6) == b"before"
        assert content.read(driver.activate(disk).path, 6) == b"after!"
        assert (driver.owner(disk), driver.owner(kept)) == ("d1", "s1")

    def test_it_goes_alone(
        self, driver: VolumeDriver, snapshots: Snapshotting, kind: str, name: str, content: Content
    ) -> None:
        """Removed, the disk is as it was, and the room is free again."""
        disk, kept = volume(name, 64, kind), volume(f"{name}-kept", 64, kind)
        driver.ensure(disk, owner="d1", scope=SCOPE)
        content.write(driver.activate(disk).path, b"data")
        free_mib = driver.space().free_mib
        snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert driver.space().free_mib < free_mib
        for _ in range(2):
            driver.remove(kept, owner="s1", scope=SCOPE)
        assert driver.owner(kept) is None
        assert driver.space().free_mib == free_mib
        assert content.read(driver.activate(disk).path, 4) == b"data"

    def test_what_is_not_there_or_anothers_is_refused(
        self, driver: VolumeDriver, snapshots: Snapshotting, kind: str, name: str
    ) -> None:
        """There is nothing to keep, or the name is taken: nothing is made, nothing changes."""
        disk, kept = volume(name, 64, kind), volume(f"{name}-kept", 64, kind)
        with pytest.raises(NoSuchThing):
            snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert driver.volumes() == ()
        driver.ensure(disk, owner="d1", scope=SCOPE)
        driver.ensure(kept, owner="d2", scope=SCOPE)
        with pytest.raises(StateMismatch, match="d2"):
            snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert driver.owner(kept) == "d2"

    def test_a_full_pool_is_said(
        self, driver: VolumeDriver, snapshots: Snapshotting, kind: str, name: str
    ) -> None:
        """A snapshot may grow as large as its disk; without that room it is refused."""
        size_mib = driver.space().free_mib // 4 * 3
        disk, kept = volume(name, size_mib, kind), volume(f"{name}-kept", size_mib, kind)
        driver.ensure(disk, owner="d1", scope=SCOPE)
        with pytest.raises(NoRoom):
            snapshots.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert driver.owner(kept) is None

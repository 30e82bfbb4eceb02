"""What every volume driver promises. A driver's tests subclass this and give it the fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from nodeagent.errors import NoRoom, NoSuchThing, StateMismatch
from nodeagent.storage.contract import VolumeDriver
from nodeagent.task_scope import TaskScope
from tests.nodeagent.specs import volume


class Content(Protocol):
    """What is on devices of the node that the driver acts on."""

    def write(self, path: str, data: bytes) -> None:
        """Write at the start of a device."""

    def read(self, path: str, size: int) -> bytes:
        """Read from the start of a device."""


class LocalContent:
    """Devices of this machine."""

    def write(self, path: str, data: bytes) -> None:
        """See Content."""
        with Path(path).open("r+b") as file:
            file.write(data)

    def read(self, path: str, size: int) -> bytes:
        """See Content."""
        with Path(path).open("rb") as file:
            return file.read(size)


class VolumeContract:
    """Fixtures: `driver`, an empty pool of at least 8 GiB; `kind`, of its volumes; `name`, a name
    that it accepts. `content` is another one where the driver acts on another machine."""

    @pytest.fixture
    def content(self) -> Content:
        """What is on the devices."""
        return LocalContent()

    def test_a_volume_is_made_once(self, driver: VolumeDriver, kind: str, name: str) -> None:
        """Asked twice, the volume is there once, with its owner and at least its size."""
        wanted = volume(name, 1024, kind)
        before_mib = driver.space().free_mib
        for _ in range(2):
            driver.ensure(wanted, owner="d1", scope=TaskScope())
        (found,) = driver.volumes()
        assert (found.name, found.kind, found.owner) == (name, kind, "d1")
        assert found.size_mib >= 1024
        assert before_mib - driver.space().free_mib == found.size_mib

    def test_a_volume_grows_and_never_shrinks(
        self, driver: VolumeDriver, kind: str, name: str
    ) -> None:
        """A larger size is made true, a smaller one is true already."""
        for size_mib, expected_mib in ((1024, 1024), (2048, 2048), (512, 2048)):
            driver.ensure(volume(name, size_mib, kind), owner="d1", scope=TaskScope())
            assert driver.volumes()[0].size_mib == expected_mib

    def test_anothers_volume_is_never_touched(
        self, driver: VolumeDriver, kind: str, name: str
    ) -> None:
        """A volume of another owner is neither taken over, nor grown, nor removed."""
        driver.ensure(volume(name, 1024, kind), owner="d1", scope=TaskScope())
        with pytest.raises(StateMismatch, match="d1"):
            driver.ensure(volume(name, 2048, kind), owner="d2", scope=TaskScope())
        driver.remove(volume(name, 1024, kind), owner="d2", scope=TaskScope())
        assert driver.owner(volume(name, 1024, kind)) == "d1"
        assert [(v.owner, v.size_mib) for v in driver.volumes()] == [("d1", 1024)]

    def test_a_full_pool_says_what_is_free(
        self, driver: VolumeDriver, kind: str, name: str
    ) -> None:
        """Too large a volume is refused with the free space, and leaves nothing behind."""
        free_mib = driver.space().free_mib
        with pytest.raises(NoRoom, match=f"{free_mib} MiB"):
            driver.ensure(volume(name, free_mib + 1024, kind), owner="d1", scope=TaskScope())
        assert driver.volumes() == ()

    def test_an_active_volume_has_a_path(
        self, driver: VolumeDriver, kind: str, name: str, content: Content
    ) -> None:
        """Once active it can be written to; inactive it has no device, and keeps its data."""
        wanted = volume(name, 1024, kind)
        driver.ensure(wanted, owner="d1", scope=TaskScope())
        for _ in range(2):
            device = driver.activate(wanted)
        content.write(device.path, b"data")
        driver.deactivate(wanted)
        assert driver.device(wanted) is None
        assert content.read(driver.activate(wanted).path, 4) == b"data"

    def test_what_is_not_there(self, driver: VolumeDriver, kind: str, name: str) -> None:
        """It cannot be activated; removing and deactivating it is done already."""
        missing = volume(name, 1024, kind)
        with pytest.raises(NoSuchThing):
            driver.activate(missing)
        driver.deactivate(missing)
        assert driver.owner(missing) is None
        driver.remove(missing, owner="d1", scope=TaskScope())

    def test_a_removed_volume_gives_its_room_back(
        self, driver: VolumeDriver, kind: str, name: str, content: Content
    ) -> None:
        """Removed twice, it is gone, and a new one of its name is empty."""
        wanted, free_mib = volume(name, 1024, kind), driver.space().free_mib
        driver.ensure(wanted, owner="d1", scope=TaskScope())
        content.write(driver.activate(wanted).path, b"old data")
        for _ in range(2):
            driver.remove(wanted, owner="d1", scope=TaskScope())
        assert driver.space().free_mib == free_mib
        driver.ensure(wanted, owner="d2", scope=TaskScope())
        assert content.read(driver.activate(wanted).path, 3) != b"old"

    def test_it_says_what_it_needs(self, driver: VolumeDriver, kind: str, name: str) -> None:
        """A driver that works lacks nothing, and serves the kind that it is asked for."""
        assert driver.needs() == ()
        assert kind in driver.kinds

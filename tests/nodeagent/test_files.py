"""File storage on a real file system."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodeagent.calls import DiskSeen
from nodeagent.errors import BadCall, StateMismatch
from nodeagent.storage.contract import Space
from nodeagent.storage.files import Files
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_volumes import VolumeContract
from tests.nodeagent.specs import volume

SCOPE = TaskScope()


@pytest.fixture(autouse=True)
def _quiet_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write to the real one: here 16 GiB are free, whatever they do."""
    quiet = SimpleNamespace(f_frsize=4096, f_blocks=1 << 23, f_bavail=1 << 22)
    monkeypatch.setattr(os, "statvfs", lambda _: quiet)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    pool = tmp_path / "pool"
    pool.mkdir()
    return pool


class TestFiles(VolumeContract):
    """A directory of this node."""

    @pytest.fixture
    def kind(self) -> str:
        return "file"

    @pytest.fixture
    def name(self, pool: Path) -> str:
        return str(pool / "web1" / "disk.0")

    @pytest.fixture
    def driver(self, pool: Path) -> Files:
        return Files([str(pool)], kind="file")

    def test_a_persons_file_is_left_alone(self, driver: Files, name: str) -> None:
        """It is listed as nobody's, neither taken nor removed."""
        path = Path(name)
        path.parent.mkdir()
        path.write_bytes(b"theirs")
        with pytest.raises(StateMismatch, match="nobody"):
            driver.ensure(volume(name, 8, "file"), owner="d1", scope=SCOPE)
        driver.remove(volume(name, 8, "file"), owner="d1", scope=SCOPE)
        assert [(each.name, each.owner) for each in driver.volumes()] == [(name, "")]
        assert path.read_bytes() == b"theirs"
        assert driver.seen() == ()

    def test_one_that_was_shut_down_is_seen_and_grows(self, driver: Files, name: str) -> None:
        """Inactive it still has its owner and its size."""
        driver.ensure(volume(name, 8, "file"), owner="d1", scope=SCOPE)
        driver.deactivate(volume(name, 8, "file"))
        assert driver.seen() == (DiskSeen("d1", "inactive", ""),)
        driver.ensure(volume(name, 16, "file"), owner="d1", scope=SCOPE)
        assert driver.volumes()[0].size_mib == 16
        assert driver.device(volume(name, 16, "file")) is None
        driver.activate(volume(name, 16, "file"))
        assert driver.seen() == (DiskSeen("d1", "ok", ""),)

    def test_the_directory_of_an_instance_goes_with_its_last_disk(
        self, driver: Files, name: str, pool: Path
    ) -> None:
        """Not before, and never the pool."""
        second = name.replace("disk.0", "disk.1")
        for each in (name, second, str(pool / "lone")):
            driver.ensure(volume(each, 8, "file"), owner="d1", scope=SCOPE)
        for each in (name, str(pool / "lone")):
            driver.remove(volume(each, 8, "file"), owner="d1", scope=SCOPE)
        assert Path(second).exists()
        driver.remove(volume(second, 8, "file"), owner="d1", scope=SCOPE)
        assert list(pool.iterdir()) == []

    @pytest.mark.parametrize(
        "name", ["/etc/shadow", "{}/../secret", "{}/link/x", "relative", "{}/a.owner"]
    )
    def test_paths_elsewhere_are_refused(self, driver: Files, pool: Path, name: str) -> None:
        """Also by a symbolic link, and those that mean something here."""
        (pool / "link").symlink_to("/etc")
        with pytest.raises(BadCall):
            driver.ensure(volume(name.format(pool), 8, "file"), owner="d1", scope=SCOPE)

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        """What to make is said; there is no room, and no error."""
        bare = Files([str(tmp_path / "none")], kind="file")
        assert "none is missing" in bare.needs()[0]
        assert bare.space() == Space(0, 0)
        assert bare.volumes() == ()


def test_a_shared_file_stays_where_other_nodes_find_it(pool: Path) -> None:
    """Shut down on one node, it is still there for the others; its owner is known to all."""
    one, two = (Files([str(pool)], kind="sharedfile") for _ in range(2))
    wanted = volume(str(pool / "d1"), 8, "sharedfile")
    one.ensure(wanted, owner="d1", scope=SCOPE)
    one.deactivate(wanted)
    assert two.device(wanted) is not None
    assert two.owner(wanted) == "d1"
    assert one.capabilities.shared

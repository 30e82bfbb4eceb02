"""Adopted block devices, on loop devices of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodeagent.errors import BadCall, NoSuchThing, StateMismatch
from nodeagent.storage.block_devices import BlockDevices
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_adoption import AdoptionContract
from tests.nodeagent.specs import volume

SCOPE = TaskScope()

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root"),
]


class Keyboard:
    """Connects loop devices, and names them as udev does; implements `Person`."""

    def __init__(self, root: Path, images: Path) -> None:
        self._root, self._images = root, images
        self.loops: list[str] = []

    def make(self, *, size_mib: int) -> str:
        """See Person."""
        image = self._images / f"image{len(self.loops)}"
        with image.open("wb") as file:
            file.truncate(size_mib << 20)
        ran = subprocess.run(
            ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
        )
        self.loops.append(ran.stdout.strip())
        name = self._root / image.name
        name.symlink_to(self.loops[-1])
        return str(name)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """See Person."""
        handle = os.open(name, os.O_RDONLY | os.O_EXCL)
        try:
            yield
        finally:
            os.close(handle)

    def device(self, name: str) -> str:
        """See Person."""
        return name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "by-id"
    root.mkdir()
    return root


@pytest.fixture
def person(root: Path, tmp_path: Path) -> Iterator[Keyboard]:
    keyboard = Keyboard(root, tmp_path)
    yield keyboard
    for loop in keyboard.loops:
        subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.fixture
def driver(root: Path) -> BlockDevices:
    return BlockDevices(str(root))


class TestBlockDevices(AdoptionContract):
    """Loop devices."""

    @pytest.fixture
    def kind(self) -> str:
        return "blockdev"


def test_who_holds_it_is_said(driver: BlockDevices, person: Keyboard, tmp_path: Path) -> None:
    """A mounted file system is named with where it is, and what is on it stays."""
    name, mounted = person.make(size_mib=16), tmp_path / "mounted"
    mounted.mkdir()
    subprocess.run(["mkfs.ext4", "-q", name], check=True)
    subprocess.run(["mount", "-o", "ro", name, mounted], check=True)
    try:
        found = driver.found(name)
        assert found is not None
        assert found.in_use == f"mounted on {mounted}"
    finally:
        subprocess.run(["umount", mounted], check=True)
    found = driver.found(name)
    assert found is not None
    assert found.in_use == ""


def test_a_device_is_never_made_grown_or_removed(driver: BlockDevices, person: Keyboard) -> None:
    """What is not there, or too small, is refused; removing leaves it where and as it is."""
    name = person.make(size_mib=16)
    Path(name).write_bytes(b"precious")
    wanted = volume(name, 16, "blockdev")
    driver.ensure(wanted, owner="d1", scope=SCOPE)
    with pytest.raises(StateMismatch, match="16 MiB, not 32"):
        driver.ensure(volume(name, 32, "blockdev"), owner="d1", scope=SCOPE)
    driver.remove(wanted, owner="d1", scope=SCOPE)
    with Path(driver.activate(wanted).path).open("rb") as device:
        assert device.read(8) == b"precious"
    missing = volume(f"{name}x", 16, "blockdev")
    for call in (
        lambda: driver.ensure(missing, owner="d1", scope=SCOPE),
        lambda: driver.activate(missing),
    ):
        with pytest.raises(NoSuchThing):
            call()
    assert driver.device(missing) is None
    assert driver.owner(missing) is None


def test_other_names_are_refused(driver: BlockDevices, root: Path, tmp_path: Path) -> None:
    """A path elsewhere, also by way of `..`, a file, and another name for a device."""
    (root / "file").write_bytes(b"")
    for name in ("/dev/sda", f"{root}/../sda", str(root), str(root / "file")):
        with pytest.raises(BadCall):
            driver.found(name)
    with pytest.raises(BadCall, match="cannot become"):
        driver.adopt(f"{root}/a", volume(f"{root}/b", 16, "blockdev"), owner="d1", scope=SCOPE)

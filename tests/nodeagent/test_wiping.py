"""Wiping, on files and on loop devices of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.calls import WipeDisk
from nodeagent.errors import Missing, StateMismatch, Stopped
from nodeagent.storage.disks import Disks
from nodeagent.storage.wiping import wipe
from nodeagent.task_scope import Progress, TaskScope
from tests.nodeagent.simulated_lab import Clock, LabNode
from tests.nodeagent.specs import plain_disk, volume

MIB = 1 << 20
OLD = b"old data" * (MIB // 8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    image.write_bytes(OLD * 40)
    return image


@pytest.fixture
def device(image: Path) -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    ran = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    yield ran.stdout.strip()
    subprocess.run(["losetup", "--detach", ran.stdout.strip()], check=True)


def content(path: str) -> bytes:
    """What is on it, past any cache."""
    return Path(path).read_bytes()


def test_a_file_reads_as_zeros_and_takes_no_room(image: Path) -> None:
    """From the given place on; its size stays, and so does what is before."""
    wipe(str(image), name="disk 0", from_mib=3, scope=TaskScope())
    assert content(str(image)) == OLD * 3 + bytes(37 * MIB)
    assert image.stat().st_blocks * 512 <= 4 * MIB
    wipe(str(image), name="disk 0", from_mib=41, scope=TaskScope())
    assert image.stat().st_size == 40 * MIB


@pytest.mark.acceptance
def test_a_device_is_zero_and_says_how_far_it_is(device: str) -> None:
    """Percent rises to 100, and the time that is left falls to nothing."""
    said: list[Progress] = []
    ticks = iter(range(100))
    wipe(
        device, name="disk 0", from_mib=4, scope=TaskScope(said.append),
        now=lambda: float(next(ticks)),
    )  # fmt: skip
    assert content(device) == OLD * 4 + bytes(36 * MIB)
    assert [line.text for line in said] == [
        f"disk 0: {mib} of 40 MiB wiped" for mib in (20, 36, 40)
    ]
    assert [round(line.percent or 0) for line in said] == [44, 89, 100]
    assert said[0].eta_s == pytest.approx(1.25)
    assert said[-1].eta_s == 0.0


@pytest.mark.acceptance
def test_a_stopped_wipe_says_how_far_it_came(device: str) -> None:
    """What it has not reached is as it was; asked for again it is done whole."""
    scope = TaskScope(lambda _: scope.stop("stopped", "withdrawn"))
    with pytest.raises(Stopped, match="disk 0 is wiped up to 16 of 40 MiB"):
        wipe(device, name="disk 0", from_mib=0, scope=scope)
    assert content(device) == bytes(16 * MIB) + OLD * 24
    wipe(device, name="disk 0", from_mib=0, scope=TaskScope())
    assert content(device) == bytes(40 * MIB)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """With the system's own words."""
    with pytest.raises(Missing, match=r"disk 0 .* No such file"):
        wipe(str(tmp_path / "nosuch"), name="disk 0", from_mib=0, scope=TaskScope())


def test_a_disk_that_a_guest_uses_is_wiped_only_beyond_what_it_had(tmp_path: Path) -> None:
    """All of it is refused; the part that it has grown by is not in use yet."""
    node = LabNode(tmp_path, "node1", Clock())
    disks = Disks((node.volumes,), node.mirrors, in_use=lambda disk: disk == "d1")
    node.volumes.ensure(volume(), owner="d1", scope=TaskScope())
    path = Path(node.volumes.activate(volume()).path)
    path.write_bytes(OLD)
    with pytest.raises(StateMismatch, match="in use"):
        disks.wipe(WipeDisk(disk=plain_disk()), TaskScope())
    disks.wipe(WipeDisk(disk=plain_disk(), from_mib=1024), TaskScope())
    assert path.read_bytes() == OLD
    node.lab.release()

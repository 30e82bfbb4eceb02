"""Moments of volumes: files, simulated volumes, LVM's command lines, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodeagent.calls import DiskSpec, EnsureSnapshot
from nodeagent.errors import BadCall, NoRoom, StateMismatch, Stopped
from nodeagent.simulated.volumes import SimulatedVolumes
from nodeagent.storage import file_copy
from nodeagent.storage.block_devices import BlockDevices
from nodeagent.storage.disks import Disks
from nodeagent.storage.files import Files
from nodeagent.storage.lvm import Lvm
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_snapshots import SCOPE, SnapshotContract
from tests.nodeagent.scripted_system import ScriptedSystem, failed
from tests.nodeagent.simulated_lab import Clock, LabNode
from tests.nodeagent.specs import drbd_disk, plain_disk, volume
from tests.nodeagent.test_lvm import REPORT, report

MIB = 1 << 20


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write to the real file system: here 1 GiB is free, whatever they do."""
    room = SimpleNamespace(f_frsize=4096, f_blocks=1 << 19, f_bavail=1 << 18)
    monkeypatch.setattr(os, "statvfs", lambda _: room)


class TestSimulated(SnapshotContract):
    """A pool of a volume group."""

    @pytest.fixture(params=["lvm", "file", "sharedfile"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def name(self, kind: str) -> str:
        return "xenvg/d1.data" if kind == "lvm" else "/srv/ganeti/file-storage/i1/disk0"

    @pytest.fixture
    def driver(self, tmp_path: Path, kind: str) -> SimulatedVolumes:
        return SimulatedVolumes(
            tmp_path / "pool", tmp_path / "pool.json", kinds=(kind,), total_mib=1024
        )


@pytest.mark.usefixtures("quiet")
class TestFiles(SnapshotContract):
    """A directory of this node."""

    @pytest.fixture
    def kind(self) -> str:
        return "file"

    @pytest.fixture
    def name(self, tmp_path: Path) -> str:
        return str(tmp_path / "pool" / "web1" / "disk.0")

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Files:
        (tmp_path / "pool").mkdir()
        return Files([str(tmp_path / "pool")], kind="file")

    def test_a_file_in_use_is_cloned_or_refused(
        self, driver: Files, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A copy of it would be no moment; nothing is left behind."""
        disk, kept = volume(name, 64, "file"), volume(f"{name}-kept", 64, "file")
        driver.ensure(disk, owner="d1", scope=SCOPE)

        def cannot(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(fcntl, "ioctl", cannot)
        with pytest.raises(StateMismatch, match="cannot clone"):
            driver.snapshot(disk, kept, owner="s1", in_use=True, scope=SCOPE)
        assert [each.owner for each in driver.volumes()] == ["d1"]
        monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)  # one that can
        driver.snapshot(disk, kept, owner="s1", in_use=True, scope=SCOPE)
        assert [each.owner for each in driver.volumes()] == ["d1", "s1"]

    def test_a_copy_that_was_stopped_is_seen_and_removed(self, driver: Files, name: str) -> None:
        """It says how far it came; it is listed with its owner, begun anew, or removed."""
        disk, kept = volume(name, 64, "file"), volume(f"{name}-kept", 64, "file")
        driver.ensure(disk, owner="d1", scope=SCOPE)
        with Path(name).open("r+b") as file:
            file.write(b"x" * (40 * MIB))
        scope = TaskScope(lambda _: scope.stop("stopped", "withdrawn"))
        with pytest.raises(Stopped, match="copied up to 16 of 64 MiB"):
            driver.snapshot(disk, kept, owner="s1", in_use=False, scope=scope)
        assert [(each.name, each.owner) for each in driver.volumes()][1] == (kept.name, "s1")
        assert driver.device(kept) is None
        driver.snapshot(disk, kept, owner="s1", in_use=False, scope=SCOPE)
        assert Path(kept.name).read_bytes() == Path(name).read_bytes()
        driver.remove(kept, owner="s1", scope=SCOPE)
        assert [each.owner for each in driver.volumes()] == ["d1"]


def test_a_copy_keeps_its_holes(tmp_path: Path) -> None:
    """Only what was written is read, and percent says how far it is."""
    old, new = tmp_path / "old", tmp_path / "new"
    with old.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(20 * MIB)
        file.write(b"data")
    said: list[float | None] = []
    file_copy.copy(old, new, TaskScope(lambda line: said.append(line.percent)))
    assert new.read_bytes() == old.read_bytes()
    assert new.stat().st_blocks * 512 <= MIB
    assert said[-1] == 100.0
    assert said == sorted(said, key=lambda percent: percent or 0.0)


def test_lvm_keeps_a_moment_by_one_command(system: ScriptedSystem, lvm: Lvm) -> None:
    """With room for all of it to change, and its owner's tag."""
    lvm.snapshot(volume("xenvg/d1"), volume("xenvg/s1"), owner="u2", in_use=True, scope=SCOPE)
    (line,) = [line for line in system.commands if not line.startswith(REPORT)]
    assert line == (
        "lvcreate --quiet --yes --snapshot --size 1040m --name s1 --addtag cairn.disk=u2 xenvg/d1"
    )


def test_what_lvm_refuses_of_a_snapshot_is_explained(system: ScriptedSystem, lvm: Lvm) -> None:
    """There already, full, another's, of another volume, of another group."""
    there = failed("lvcreate", '  Logical Volume "s1" already exists in volume group "xenvg"\n')
    full = failed("lvcreate", '  Volume group "xenvg" has insufficient free space (1 extents)\n')
    disk, kept = volume("xenvg/d1", 64), volume("xenvg/s1", 64)

    def ask() -> None:
        lvm.snapshot(disk, kept, owner="u2", in_use=True, scope=SCOPE)

    system.answers["lvcreate"] = there
    system.answers[REPORT] = report(
        ("d1", 64, "cairn.disk=u1"), ("s1", 64, "cairn.disk=u2"), origin="d1"
    )
    ask()
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"), ("s1", 64, "cairn.disk=u2"))
    with pytest.raises(StateMismatch, match="no snapshot of"):
        ask()
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"), ("s1", 64, "cairn.disk=u3"))
    with pytest.raises(StateMismatch, match="u3"):
        ask()
    system.answers["lvcreate"] = full
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"), free_mib=16)
    with pytest.raises(NoRoom, match="16 MiB of 16376 MiB are free"):
        ask()
    with pytest.raises(BadCall, match="another group"):
        lvm.snapshot(disk, volume("ssd/s1"), owner="u2", in_use=True, scope=SCOPE)


def test_a_volume_with_snapshots_is_not_removed(system: ScriptedSystem, lvm: Lvm) -> None:
    """`lvremove` would take them along; the command itself does not choose an origin either."""
    disk = volume("xenvg/d1", 64)
    system.answers[REPORT] = report(
        ("d1", 64, "cairn.disk=u1"), ("s1", 64, "cairn.disk=u2"), origin="d1"
    )
    lvm.volumes()
    with pytest.raises(StateMismatch, match="has snapshots: xenvg/s1"):
        lvm.remove(disk, owner="u1", scope=SCOPE)
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"))
    lvm.remove(disk, owner="u1", scope=SCOPE)
    assert 'lv_attr=~"^[^oO]"' in system.commands[-1]


@pytest.fixture
def system() -> ScriptedSystem:
    system = ScriptedSystem()
    system.answers[REPORT] = report()
    return system


@pytest.fixture
def lvm(system: ScriptedSystem) -> Lvm:
    return Lvm(system, "xenvg")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LabNode]:
    node = LabNode(tmp_path, "node1", Clock())
    yield node
    node.lab.release()


@pytest.mark.parametrize("disk", [plain_disk(), drbd_disk(None)], ids=["plain", "drbd"])
def test_a_disk_is_kept_by_its_volume_here(node: LabNode, disk: DiskSpec) -> None:
    """Of a mirror too: the snapshot is one of this side's volume."""
    node.volumes.ensure(disk.volume, owner=disk.uuid, scope=SCOPE)
    kept = volume("xenvg/s1")
    node.disks.ensure_snapshot(EnsureSnapshot(disk=disk, snapshot=kept, owner="s1"), SCOPE)
    assert node.volumes.owner(kept) == "s1"


def test_disks_without_snapshots_are_refused_with_the_reason(node: LabNode, tmp_path: Path) -> None:
    """Diskless, block devices, another kind of volume."""
    disks = Disks((node.volumes, BlockDevices(str(tmp_path))), node.mirrors, in_use=lambda _: False)
    for template, kind in (("diskless", "lvm"), ("blockdev", "blockdev")):
        disk = DiskSpec(
            uuid="d1", instance="i1", index=0, template=template, size_mib=64,
            volume=volume("xenvg/d1", 64, kind),
        )  # fmt: skip
        with pytest.raises(BadCall, match=f"template {template} has no snapshots"):
            disks.ensure_snapshot(
                EnsureSnapshot(disk=disk, snapshot=volume("xenvg/s1", 64, kind), owner="s1"), SCOPE
            )
    order = EnsureSnapshot(disk=plain_disk(), snapshot=volume("/srv/s1", 64, "file"), owner="s1")
    with pytest.raises(BadCall, match="cannot be file"):
        disks.ensure_snapshot(order, SCOPE)

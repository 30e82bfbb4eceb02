"""OS definitions as Debian ships them, not changed in any way: noop and debootstrap."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from nodeagent.calls import Device, InstanceSpec
from nodeagent.errors import CommandFailed
from nodeagent.os_interface import OsInterface
from nodeagent.task_scope import Progress, TaskScope
from tests.acceptance.debian_os import SUITE, make_mirror, with_own_files
from tests.nodeagent.specs import instance, plain_disk

DEFINITIONS = Path("/usr/share/ganeti/os")
DISK_BYTES = 700 << 20
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make file systems and mount them"),
    pytest.mark.skipif(
        not all((DEFINITIONS / name / "create").exists() for name in ("noop", "debootstrap")),
        reason="ganeti-os-noop or ganeti-instance-debootstrap is not installed",
    ),
]


@pytest.fixture
def definitions(tmp_path: Path) -> OsInterface:
    return OsInterface(
        [DEFINITIONS], log_directory=tmp_path / "logs", lock_directory=tmp_path / "locks"
    )


def spec(os_name: str) -> InstanceSpec:
    hvparams = {"serial_console": True, "disk_type": "paravirtual"}
    return msgspec.structs.replace(instance(plain_disk(), os=os_name), hvparams=hvparams)


def disk(path: Path, size_bytes: int) -> Device:
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return Device(path=str(path))


def test_both_are_valid(definitions: OsInterface) -> None:
    """With the versions of the interface that they state."""
    found = {status.name: status for status in definitions.definitions()}
    assert {found[name].problem for name in ("noop", "debootstrap")} == {""}
    assert found["noop"].api_versions == (10,)
    assert found["debootstrap"].api_versions == (20, 15, 10)
    assert found["debootstrap"].parameters == ("filesystem",)
    assert found["debootstrap"].variants == ("default",)


def test_noop_does_all_that_an_os_does(definitions: OsInterface, tmp_path: Path) -> None:
    """It installs nothing, renames nothing, and copies a disk byte for byte."""
    guest, scope = spec("noop"), TaskScope()
    here, there = disk(tmp_path / "here", 1 << 20), disk(tmp_path / "there", 1 << 20)
    definitions.create(guest, [here], reinstall=False, debug_level=0, scope=scope)
    definitions.rename(guest, [here], old_name="old.example.net", scope=scope)
    Path(here.path).write_bytes(os.urandom(1 << 20))
    with (tmp_path / "dump").open("w+b") as dump:
        exported = definitions.export_disk(
            guest, [here], index=0, copy=here, sink=dump.fileno(), scope=scope
        )
        dump.seek(0)
        definitions.import_disk(guest, [there], index=0, source=dump.fileno(), scope=scope)
    assert exported.expected_bytes in (None, 1 << 20)
    assert Path(there.path).read_bytes() == Path(here.path).read_bytes()


def test_debootstrap_installs_a_debian(definitions: OsInterface, tmp_path: Path) -> None:
    """From a mirror of the test, onto a disk without partitions; what it says is told while it
    works; the guest has its name, can be renamed, and a file system that is clean."""
    shown = site(tmp_path, make_mirror(tmp_path / "mirror"))
    device, said = disk(tmp_path / "disk", DISK_BYTES), list[Progress]()
    guest = msgspec.structs.replace(spec("debootstrap+default"), osparams={"filesystem": "ext4"})
    scope = TaskScope(said.append)
    with_own_files(
        shown,
        lambda: definitions.create(guest, [device], reinstall=False, debug_level=0, scope=scope),
    )
    assert "Base system installed successfully" in "".join(line.text for line in said)
    assert guest_file(device, "/etc/hostname") == "i1.example.net\n"
    assert guest_file(device, "/etc/debian_version").startswith("12")
    renamed = msgspec.structs.replace(guest, name="new.example.net")
    with_own_files(
        shown,
        lambda: definitions.rename(renamed, [device], old_name="i1.example.net", scope=TaskScope()),
    )
    assert guest_file(device, "/etc/hostname") == "new.example.net\n"
    subprocess.run(["e2fsck", "-fn", device.path], check=True, stdout=subprocess.DEVNULL)
    loops = subprocess.run(["losetup", "-j", device.path], check=True, stdout=subprocess.PIPE)
    assert loops.stdout == b"", "the loop device was left"


def test_debootstrap_refuses_what_it_cannot_do(definitions: OsInterface, tmp_path: Path) -> None:
    """A file system that it does not know, before anything is done; a disk that is too small."""
    small = disk(tmp_path / "disk", 1 << 20)
    wrong = msgspec.structs.replace(spec("debootstrap"), osparams={"filesystem": "fat"})
    for guest, reason in ((wrong, "Invalid value 'fat'"), (spec("debootstrap"), "too small")):
        with pytest.raises(CommandFailed) as failed:
            definitions.create(guest, [small], reinstall=False, debug_level=0, scope=TaskScope())
        assert reason in failed.value.failure().output


def site(tmp_path: Path, mirror: str) -> dict[str, Path]:
    """The site's configuration, its empty cache, and no key of Debian's for our own mirror."""
    for name in ("cache", "keyrings"):
        (tmp_path / name).mkdir()
    defaults = tmp_path / "defaults"
    defaults.write_text(
        f"MIRROR={mirror}\nSUITE={SUITE}\nPARTITION_STYLE=none\nGENERATE_CACHE=no\n"
    )
    return {
        "/etc/default/ganeti-instance-debootstrap": defaults,
        "/var/cache/ganeti-instance-debootstrap": tmp_path / "cache",
        "/usr/share/keyrings": tmp_path / "keyrings",
    }


def guest_file(device: Device, path: str) -> str:
    """Read a file of the guest without mounting its disk."""
    argv = ["debugfs", "-R", f"cat {path}", device.path]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

"""Block devices that a person has made and gives to an instance: adopted, never made (edge).

A device is named by a path below `/dev/disk`, whose names stay when disks are found in another
order. Nothing on the device says whose it is: what an instance has there is its own, from the first
byte. So who may have it is known from the configuration alone (one instance of the cluster at
most), and this driver keeps the host's own users out:

    mounted, swap, part of an array, under a mirror   somebody holds it: refused, with whom
    a partition of it is held                         as if the whole were
    a logical volume, a mirror                        LVM or DRBD keep it: refused, with what to do

The kernel's word counts: whoever may not open it alone (`O_EXCL`) is not the only user. The device
is never written to, grown or removed here: when its instance goes, its data stay.

What can go wrong: no such device on this node; the path leads to a file, or out of `/dev/disk` by
`..`; the device is smaller than the disk of the instance says (it was replaced).
Sources: open(2) on O_EXCL with block devices, proc_pid_mountinfo(5), sysfs (block/*/holders).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from nodeagent.calls import Device, DiskSeen, OwnedVolume, VolumeFound, VolumeSpec
from nodeagent.errors import BadCall, NoSuchThing, StateMismatch
from nodeagent.storage.contract import Adopting, Space, VolumeCapabilities
from nodeagent.task_scope import TaskScope

_MIB = 1 << 20
_SECTORS_PER_MIB = 2048
_DRBD_MAJOR = 147


class BlockDevices:
    """The devices of one node; implements `VolumeDriver`. `root`: where their names are."""

    kinds = ("blockdev",)
    capabilities = VolumeCapabilities(grows=False, shared=True)
    snapshots = None

    def __init__(self, root: str = "/dev/disk") -> None:
        self._root = Path(root)

    @property
    def adopting(self) -> Adopting:
        """See VolumeDriver."""
        return self

    def needs(self) -> tuple[str, ...]:
        """See VolumeDriver. The names are udev's; a node without any has no such disks."""
        return ()

    def found(self, name: str) -> VolumeFound | None:
        """See Adopting."""
        number = self._number(name)
        if number is None:
            return None
        return VolumeFound(name=name, size_mib=_size_mib(number), in_use=_user(Path(name), number))

    def adopt(self, source: str, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. Nothing changes on the node: it is looked at once more."""
        if source != volume.name:
            raise BadCall(f"{source} cannot become {volume.name}", hint="a device keeps its name")
        found = self.found(source)
        if found is None:
            raise NoSuchThing(f"there is no block device {source} to be taken over")
        if found.in_use:
            raise StateMismatch(
                f"block device {source} is in use: {found.in_use}", hint="end that use first"
            )
        self._require_size(volume, found.size_mib)

    def release(self, volume: VolumeSpec, source: str, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. There is nothing to be taken back."""

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver. A device is not made: it is there and large enough, or not."""
        number = self._number(volume.name)
        if number is None:
            raise NoSuchThing(
                f"there is no block device {volume.name}", hint="connect it; it is never made"
            )
        self._require_size(volume, _size_mib(number))

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver. A device is nobody's here, and stays with its data."""

    def activate(self, volume: VolumeSpec) -> Device:
        """See VolumeDriver."""
        device = self.device(volume)
        if device is None:
            raise NoSuchThing(f"there is no block device {volume.name}", hint="connect it")
        return device

    def deactivate(self, volume: VolumeSpec) -> None:
        """See VolumeDriver. A device can always be opened."""

    def device(self, volume: VolumeSpec) -> Device | None:
        """See VolumeDriver."""
        return Device(path=volume.name) if self._number(volume.name) is not None else None

    def owner(self, volume: VolumeSpec) -> str | None:
        """See VolumeDriver. Nothing on a device says so."""
        return "" if self._number(volume.name) is not None else None

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """See VolumeDriver. Devices are no pool: none is listed."""
        return ()

    def seen(self) -> tuple[DiskSeen, ...]:
        """See VolumeDriver."""
        return ()

    def space(self) -> Space:
        """See VolumeDriver. Nothing can be made here."""
        return Space(0, 0)

    def _number(self, name: str) -> tuple[int, int] | None:
        """Return major and minor of a device. Raises BadCall for a name that cannot be one's."""
        path = Path(name)
        if ".." in path.parts or not path.is_relative_to(self._root) or path == self._root:
            raise BadCall(
                f"{name!r} does not name a block device", hint=f"a path below {self._root}"
            )
        if not path.exists():
            return None
        if not path.is_block_device():
            raise BadCall(f"{name} is no block device", hint=f"see ls -l {self._root}")
        return _numbers(path)

    def _require_size(self, volume: VolumeSpec, size_mib: int) -> None:
        if size_mib < volume.size_mib:
            raise StateMismatch(
                f"block device {volume.name} has {size_mib} MiB, not {volume.size_mib}",
                hint="is it still the same device? it is never grown here",
            )


def _numbers(path: Path) -> tuple[int, int]:
    number = path.stat().st_rdev
    return os.major(number), os.minor(number)


def _sysfs(number: tuple[int, int]) -> Path:
    return Path("/sys/dev/block") / "{}:{}".format(*number)


def _size_mib(number: tuple[int, int]) -> int:
    return int((_sysfs(number) / "size").read_text()) // _SECTORS_PER_MIB


def _user(path: Path, number: tuple[int, int]) -> str:
    """Return who uses a device, or keeps it; empty if nobody does."""
    kept = _keeper(number)
    if kept:
        return kept
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as failed:
        if failed.errno == errno.EBUSY:
            return "; ".join(_holders(number)) or "something on this node holds it alone"
        return os.strerror(failed.errno or errno.EIO)
    return ""


def _keeper(number: tuple[int, int]) -> str:
    if number[0] == _DRBD_MAJOR:
        return "it is a DRBD mirror"
    mapped = _sysfs(number) / "dm" / "uuid"
    if mapped.exists() and mapped.read_text().startswith("LVM-"):
        return "it is a logical volume: take it over as disk template plain"
    return ""


def _holders(number: tuple[int, int]) -> Iterator[str]:
    """Yield what is known of those that hold a device or a partition of it."""
    here = _sysfs(number)
    parts = [here, *(each.parent for each in here.glob("*/partition"))]
    numbers = {(part / "dev").read_text().strip() for part in parts}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] in numbers:
            yield f"mounted on {fields[4]}"
    for line in Path("/proc/swaps").read_text().splitlines()[1:]:
        swap = Path(line.split()[0])
        if swap.is_block_device() and "{}:{}".format(*_numbers(swap)) in numbers:
            yield f"{swap} is swap space"
    for part in parts:
        for holder in sorted((part / "holders").glob("*")):
            yield f"{holder.name} stands on it"

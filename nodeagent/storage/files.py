"""Volumes that are files, in directories of this node or of one that all nodes share (edge).

A volume is named by its absolute path and must lie in one of the directories that the node allows:
what is given by an order must not reach `/etc`. Beside each file stands its owner, in a file of its
own that is made first and removed last, so that a file without one was made by a person.

    <path>            sparse, as large as the disk
    <path>.owner      the uuid of the disk, one line
    <path>.off        a file that was shut down: renamed, so that it cannot be opened by its name
    <path>.part       a snapshot that is being copied

Sizes count as promised, not as used: a file that could not grow to its size would break its guest.
So room is what the file system has free, less what the files here have not taken yet.

What can go wrong: no room, a path that leaves the directories (also by a symbolic link), a file of
another owner, a full or read-only file system.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from nodeagent.calls import Device, DiskSeen, OwnedVolume, VolumeSpec
from nodeagent.errors import BadCall, Missing, NoRoom, NoSuchThing, StateMismatch
from nodeagent.storage.contract import Snapshotting, Space, VolumeCapabilities
from nodeagent.storage.file_copy import clone, copy
from nodeagent.task_scope import TaskScope

_MIB = 1 << 20
_OWNER, _OFF, _PART = ".owner", ".off", ".part"


class Files:
    """The files of one kind; implements `VolumeDriver`. The first directory is the main pool."""

    def __init__(self, directories: Sequence[str], *, kind: str) -> None:
        self.kinds = (kind,)
        self.adopting = None
        self.snapshots: Snapshotting = self
        self.capabilities = VolumeCapabilities(shared=kind == "sharedfile")
        self._directories = tuple(Path(directory) for directory in directories)
        self._lock = threading.Lock()  # between looking for room and taking it

    def needs(self) -> tuple[str, ...]:
        """See VolumeDriver."""
        return tuple(
            f"directory {directory} is missing: make it on the file system meant for disks"
            for directory in self._directories
            if not directory.is_dir()
        )

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        path = self._path(volume)
        with self._lock:
            present = _present(path)
            if present is not None:
                self._expect_owner(path, owner)
            had_mib = _size_mib(present) if present is not None else 0
            if present is not None and had_mib >= volume.size_mib:
                return
            self._expect_room(path, volume.size_mib - had_mib)
            try:
                _make(present or path, path, owner, volume.size_mib)
            except OSError as failed:
                raise Missing(f"{path}: {failed.strerror}", hint="repair the file system") from None

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        path = self._path(volume)
        with self._lock:
            if _owner(path) != owner:
                return
            for name in (path, *(_with(path, suffix) for suffix in (_OFF, _PART, _OWNER))):
                name.unlink(missing_ok=True)
            if path.parent not in self._directories and not any(path.parent.iterdir()):
                path.parent.rmdir()  # of the instance whose last disk this was

    def snapshot(
        self,
        source: VolumeSpec,
        snapshot: VolumeSpec,
        *,
        owner: str,
        in_use: bool,
        scope: TaskScope,
    ) -> None:
        """See Snapshotting. A clone where the file system can do that, else a copy, which takes
        time: it is no moment of a file that is written to meanwhile."""
        path, origin = self._path(snapshot), _present(self._path(source))
        if origin is None:
            raise NoSuchThing(f"there is no file {source.name}")
        part = _with(path, _PART)
        try:
            with self._lock:
                if _present(path) is not None:
                    self._expect_owner(path, owner)
                    return
                self._expect_room(path, _size_mib(origin))
                _make(part, path, owner, _size_mib(origin))  # its room is taken from here on
            if not clone(origin, part):
                if in_use:
                    self.remove(snapshot, owner=owner, scope=scope)
                    raise StateMismatch(
                        f"file {origin} is in use, and its file system cannot clone files: a "
                        "copy would hold parts of different moments",
                        hint="stop the instance first; or keep the disks on XFS or Btrfs",
                    )
                copy(origin, part, scope)
            part.rename(path)
        except OSError as failed:
            raise Missing(f"{path}: {failed.strerror}", hint="repair the file system") from None

    def activate(self, volume: VolumeSpec) -> Device:
        """See VolumeDriver."""
        path = self._path(volume)
        present = _present(path)
        if present is None:
            raise NoSuchThing(f"there is no file {path}")
        if present != path:
            present.rename(path)
        return Device(path=str(path))

    def deactivate(self, volume: VolumeSpec) -> None:
        """See VolumeDriver."""
        path = self._path(volume)
        # On shared storage the file may be active on another node: its name is not ours alone.
        if path.exists() and not self.capabilities.shared:
            path.rename(_with(path, _OFF))

    def device(self, volume: VolumeSpec) -> Device | None:
        """See VolumeDriver."""
        path = self._path(volume)
        return Device(path=str(path)) if path.exists() else None

    def owner(self, volume: VolumeSpec) -> str | None:
        """See VolumeDriver."""
        path = self._path(volume)
        there = _present(path) is not None or _with(path, _PART).exists()
        return _owner(path) if there else None

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """See VolumeDriver."""
        return tuple(
            OwnedVolume(
                name=str(path), kind=self.kinds[0], size_mib=_size_mib(present), owner=_owner(path)
            )
            for path, present in self._files()
        )

    def seen(self) -> tuple[DiskSeen, ...]:
        """See VolumeDriver."""
        return tuple(
            DiskSeen(owner, "ok" if path == present else "inactive", "")
            for path, present in self._files()
            if (owner := _owner(path))
        )

    def space(self) -> Space:
        """See VolumeDriver."""
        if not self._directories or not self._directories[0].is_dir():
            return Space(0, 0)
        return self._space(self._directories[0])

    def _expect_owner(self, path: Path, owner: str) -> None:
        if _owner(path) != owner:
            raise StateMismatch(
                f"file {path} belongs to {_owner(path) or 'nobody of this cluster'}",
                hint="choose another name; a file is never taken over",
            )

    def _expect_room(self, path: Path, more_mib: int) -> None:
        space = self._space(path.parent)
        if more_mib > space.free_mib:
            raise NoRoom(
                f"file {path} needs {more_mib} MiB, "
                f"{space.free_mib} MiB of {space.total_mib} MiB are free",
                hint="choose a node with more room, or a smaller disk",
            )

    def _path(self, volume: VolumeSpec) -> Path:
        path = Path(volume.name)
        if path.suffix in (_OWNER, _OFF, _PART) or ".." in path.parts or not path.is_absolute():
            raise BadCall(f"{volume.name!r} does not name a file", hint="an absolute path")
        real = path.parent.resolve()
        for directory in self._directories:
            if real.is_relative_to(directory.resolve()):
                return path
        allowed = ", ".join(map(str, self._directories)) or "none"
        raise BadCall(f"{path} is in none of the directories for disks", hint=f"they are {allowed}")

    def _files(self) -> list[tuple[Path, Path]]:
        """Return each volume's path, and the file that it is in now."""
        found = {}
        for directory in self._directories:
            for folder, _, names in os.walk(directory):
                for name in names:
                    path = Path(folder, name)
                    if path.suffix == _OFF:
                        found[path.with_name(name.removesuffix(_OFF))] = path
                    elif path.suffix == _PART:
                        found.setdefault(path.with_name(name.removesuffix(_PART)), path)
                    elif path.suffix != _OWNER:
                        found[path] = path
        return sorted(found.items())

    def _space(self, directory: Path) -> Space:
        while not directory.is_dir():
            directory = directory.parent
        system = os.statvfs(directory)
        promised = sum(
            max(status.st_size - status.st_blocks * 512, 0)
            for _, present in self._files()
            for status in (present.stat(),)
        )
        total, free = (blocks * system.f_frsize for blocks in (system.f_blocks, system.f_bavail))
        return Space(total // _MIB, max(free - promised, 0) // _MIB)


def _make(present: Path, path: Path, owner: str, size_mib: int) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    _with(path, _OWNER).write_text(f"{owner}\n")
    handle = os.open(present, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(handle, size_mib * _MIB)
    finally:
        os.close(handle)


def _present(path: Path) -> Path | None:
    """Return the file that a volume is in, under its own name or shut down."""
    return next((each for each in (path, _with(path, _OFF)) if each.exists()), None)


def _owner(path: Path) -> str:
    try:
        return _with(path, _OWNER).read_text().strip()
    except FileNotFoundError:
        return ""


def _size_mib(path: Path) -> int:
    return path.stat().st_size // _MIB


def _with(path: Path, suffix: str) -> Path:
    return Path(f"{path}{suffix}")

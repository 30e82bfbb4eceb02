"""Simulated volumes: a pool with a size, and a small real file for each volume (edge).

The file is what an OS script writes to: sparse, and capped, since a lab of fifty nodes shall not
fill a disk. The size that counts is the one recorded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from nodeagent.calls import Device, DiskSeen, OwnedVolume, VolumeSpec
from nodeagent.errors import NoRoom, NoSuchThing, StateMismatch
from nodeagent.simulated.state_file import Counted, StateFile
from nodeagent.storage.contract import Adopting, Snapshotting, Space, VolumeCapabilities
from nodeagent.task_scope import TaskScope

_FILE_BYTES = 1 << 20  # of the file that stands for a volume, at most
_MIB = 1 << 20


class Volume(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A volume of the pool."""

    kind: str
    size_mib: int
    owner: str
    active: bool = False
    broken: bool = False
    in_use: str = ""  # by what, where that is not a guest


class VolumeState(Counted, kw_only=True):
    """The pool."""

    volumes: dict[str, Volume] = {}


class SimulatedVolumes:
    """A pool of volumes; implements `VolumeDriver`."""

    capabilities = VolumeCapabilities(stripes=True)

    def __init__(
        self, directory: Path, state: Path, *, kinds: tuple[str, ...], total_mib: int,
        shared: bool = False,
    ) -> None:  # fmt: skip
        self.kinds = kinds
        self._directory = directory
        self._total_mib = total_mib
        self._file = StateFile(state, VolumeState)
        if shared:
            self.capabilities = VolumeCapabilities(shared=True)
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def adopting(self) -> Adopting | None:
        """See VolumeDriver."""
        return None

    @property
    def snapshots(self) -> Snapshotting | None:
        """See VolumeDriver."""
        return self

    def needs(self) -> tuple[str, ...]:
        """Nothing is missing: it is simulated."""
        return ()

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        with self._file.change() as state:
            present = state.volumes.get(volume.name)
            if present is not None and present.owner != owner:
                raise StateMismatch(
                    f"volume {volume.name} belongs to {present.owner or 'nobody of this cluster'}",
                    hint="choose another name; a volume is never taken over",
                )
            had_mib = present.size_mib if present is not None else 0
            if present is not None and had_mib >= volume.size_mib:
                return
            free_mib = self._free_mib(state)
            if volume.size_mib - had_mib > free_mib:
                raise NoRoom(
                    f"volume {volume.name} needs {volume.size_mib - had_mib} MiB, "
                    f"{free_mib} MiB of {self._total_mib} MiB are free",
                    hint="choose a node with more room, or a smaller disk",
                )
            self._make_file(volume)
            if present is None:
                state.volumes[volume.name] = Volume(
                    kind=volume.kind, size_mib=volume.size_mib, owner=owner
                )
                state.effect("create-volume", volume.name)
            else:
                present.size_mib = volume.size_mib
                state.effect("grow-volume", volume.name)

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        with self._file.change() as state:
            present = state.volumes.get(volume.name)
            if present is None or present.owner != owner:
                return
            del state.volumes[volume.name]
            state.effect("remove-volume", volume.name)
            self._path(volume.name).unlink(missing_ok=True)

    def snapshot(
        self,
        source: VolumeSpec,
        snapshot: VolumeSpec,
        *,
        owner: str,
        in_use: bool,
        scope: TaskScope,
    ) -> None:
        """See Snapshotting. A simulated guest writes nothing, so a copy is as good."""
        origin = self._file.read().volumes.get(source.name)
        if origin is None:
            raise NoSuchThing(f"there is no volume {source.name}")
        made = snapshot.name not in self._file.read().volumes
        wanted = msgspec.structs.replace(snapshot, size_mib=origin.size_mib)
        self.ensure(wanted, owner=owner, scope=scope)
        if made:
            shutil.copyfile(self._path(source.name), self._path(snapshot.name))

    def activate(self, volume: VolumeSpec) -> Device:
        """See VolumeDriver."""
        present = self._file.read().volumes.get(volume.name)
        if present is None:
            raise NoSuchThing(f"there is no volume {volume.name}")
        if not present.active:
            with self._file.change() as state:
                state.volumes[volume.name].active = True
                state.effect("activate-volume", volume.name)
        return Device(path=str(self._path(volume.name)))

    def deactivate(self, volume: VolumeSpec) -> None:
        """See VolumeDriver."""
        present = self._file.read().volumes.get(volume.name)
        if present is not None and present.active:
            with self._file.change() as state:
                state.volumes[volume.name].active = False
                state.effect("deactivate-volume", volume.name)

    def device(self, volume: VolumeSpec) -> Device | None:
        """See VolumeDriver."""
        present = self._file.read().volumes.get(volume.name)
        if present is None or not present.active:
            return None
        return Device(path=str(self._path(volume.name)))

    def owner(self, volume: VolumeSpec) -> str | None:
        """See VolumeDriver."""
        present = self._file.read().volumes.get(volume.name)
        return present.owner if present is not None else None

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """See VolumeDriver."""
        return tuple(
            OwnedVolume(name=name, kind=volume.kind, size_mib=volume.size_mib, owner=volume.owner)
            for name, volume in sorted(self._file.read().volumes.items())
        )

    def seen(self) -> tuple[DiskSeen, ...]:
        """See VolumeDriver."""
        states: dict[str, str] = {}
        for volume in self._file.read().volumes.values():
            if volume.broken:
                states[volume.owner] = "faulty"
            elif states.get(volume.owner) != "faulty":
                states[volume.owner] = "ok" if volume.active else "inactive"
        return tuple(DiskSeen(disk, state, "") for disk, state in sorted(states.items()))

    def space(self) -> Space:
        """See VolumeDriver."""
        return Space(self._total_mib, self._free_mib(self._file.read()))

    # What only a simulated pool has.

    def lose_power(self) -> None:
        """No volume is active any more."""
        with self._file.change() as state:
            for volume in state.volumes.values():
                volume.active = False

    def break_disk(self, disk: str, *, broken: bool = True) -> tuple[str, ...]:
        """Make every volume of a disk unreadable, or readable again; returns their names."""
        with self._file.change() as state:
            hit = [name for name, volume in state.volumes.items() if volume.owner == disk]
            for name in hit:
                state.volumes[name].broken = broken
            return tuple(hit)

    def broken_paths(self) -> frozenset[str]:
        """The device paths behind which nothing can be read."""
        volumes = self._file.read().volumes
        return frozenset(str(self._path(name)) for name, volume in volumes.items() if volume.broken)

    def effects(self) -> dict[str, int]:
        """How often each effect happened."""
        return dict(self._file.read().effects)

    def _free_mib(self, state: VolumeState) -> int:
        return self._total_mib - sum(volume.size_mib for volume in state.volumes.values())

    def _path(self, name: str) -> Path:
        # A volume's name may be a path or longer than a file's name; the digest keeps it unique.
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        plain = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name[-60:])
        return self._directory / f"{digest}-{plain}"

    def _make_file(self, volume: VolumeSpec) -> None:
        handle = os.open(self._path(volume.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, min(volume.size_mib * _MIB, _FILE_BYTES))
        finally:
            os.close(handle)

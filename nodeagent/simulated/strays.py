"""Simulated volumes that a person made, and that can be taken over (edge).

Real ones are what LVM or the kernel finds on the node; here somebody plants them: a test, the lab.
"""

from __future__ import annotations

from pathlib import Path

from nodeagent.calls import DiskSeen, OwnedVolume, VolumeFound, VolumeSpec
from nodeagent.errors import NoSuchThing, StateMismatch
from nodeagent.simulated.volumes import SimulatedVolumes, Volume
from nodeagent.storage.contract import Adopting, VolumeCapabilities
from nodeagent.task_scope import TaskScope


class SimulatedGroup(SimulatedVolumes):
    """Volume groups, in which a person may have made volumes of their own.

    There are the cluster's group, as soon as the node knows it, and every group that holds a
    volume. They share one room.
    """

    _main = ""

    def use_group(self, name: str) -> None:
        """The cluster's volume group is this one; empty: none is known yet, and any will do."""
        self._main = name

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        group = volume.name.partition("/")[0]
        if self._main not in ("", group) and not self._holds(f"{group}/"):
            raise NoSuchThing(f"there is no volume group {group}", hint=f"vgcreate {group} DISK...")
        super().ensure(volume, owner=owner, scope=scope)

    def _holds(self, beginning: str) -> bool:
        return any(name.startswith(beginning) for name in self._file.read().volumes)

    @property
    def adopting(self) -> Adopting:
        """See VolumeDriver."""
        return self

    def plant(self, name: str, *, size_mib: int, in_use: str = "") -> None:
        """A person has made this volume. `in_use`: by what it is held."""
        self._make_file(VolumeSpec(name=name, kind=self.kinds[0], size_mib=size_mib))
        with self._file.change() as state:
            state.volumes[name] = Volume(
                kind=self.kinds[0], size_mib=size_mib, owner="", in_use=in_use
            )

    def found(self, name: str) -> VolumeFound | None:
        """See Adopting."""
        present = self._file.read().volumes.get(name)
        if present is None:
            return None
        return VolumeFound(
            name=name, size_mib=present.size_mib, owner=present.owner, in_use=present.in_use
        )

    def adopt(self, source: str, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See Adopting."""
        with self._file.change() as state:
            present = state.volumes.get(volume.name)
            if present is not None and present.owner == owner:
                return
            if source != volume.name and present is not None:
                raise StateMismatch(f"there is a volume {volume.name} already")
            require_adoptable(state.volumes.get(source), source, volume)
            self._rename(state.volumes, source, volume.name, owner=owner)
            state.effect("adopt-volume", volume.name)

    def release(self, volume: VolumeSpec, source: str, *, owner: str, scope: TaskScope) -> None:
        """See Adopting."""
        with self._file.change() as state:
            present = state.volumes.get(volume.name)
            if present is not None and present.owner == owner:
                self._rename(state.volumes, volume.name, source, owner="")
                state.effect("release-volume", source)

    def _rename(self, volumes: dict[str, Volume], old: str, new: str, *, owner: str) -> None:
        volumes[new] = volumes.pop(old)
        volumes[new].owner = owner
        volumes[new].active = False
        self._path(old).rename(self._path(new))


class SimulatedBlockDevices(SimulatedGroup):
    """Devices that were connected to the node; none is made, and none removed.

    As on a real node nothing on a device says whose it is: the configuration alone knows.
    """

    capabilities = VolumeCapabilities(grows=False, shared=True)

    @property
    def snapshots(self) -> None:
        """See VolumeDriver."""
        return None

    def __init__(self, directory: Path, state: Path) -> None:
        super().__init__(directory, state, kinds=("blockdev",), total_mib=0)

    def adopt(self, source: str, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. Nothing changes on the node."""
        require_adoptable(self._file.read().volumes.get(source), source, volume)

    def release(self, volume: VolumeSpec, source: str, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. There is nothing to be taken back."""

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver. The device stays with its data."""

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """See VolumeDriver. Devices are no pool: none is listed."""
        return ()

    def seen(self) -> tuple[DiskSeen, ...]:
        """See VolumeDriver."""
        return ()


def require_adoptable(stray: Volume | None, source: str, wanted: VolumeSpec) -> None:
    """Raise NoSuchThing or StateMismatch for what cannot become the wanted volume."""
    if stray is None:
        raise NoSuchThing(f"there is no volume {source} to be taken over")
    if stray.owner or stray.in_use:
        why = stray.in_use or f"it belongs to {stray.owner}"
        raise StateMismatch(f"volume {source} cannot be taken over: {why}")
    if stray.size_mib < wanted.size_mib:
        raise StateMismatch(f"volume {source} has {stray.size_mib} MiB, not {wanted.size_mib}")

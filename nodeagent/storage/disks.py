"""Disks of instances, made of volumes and mirrors: what each storage call does (edge).

A template says what a disk is made of here; which driver does it follows from the volume's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from nodeagent.calls import (
    AdoptVolume,
    DescribeVolumes,
    Device,
    DiskSeen,
    DiskSpec,
    EnsureActive,
    EnsureInactive,
    EnsureReplicated,
    EnsureSnapshot,
    EnsureVolume,
    OwnedVolume,
    ReleaseVolume,
    RemoveReplicated,
    RemoveVolume,
    VolumesFound,
    VolumeSpec,
    WipeDisk,
)
from nodeagent.errors import BadCall, Missing, StateMismatch
from nodeagent.storage.contract import Adopting, MirrorDriver, Space, VolumeDriver
from nodeagent.storage.wiping import wipe
from nodeagent.task_scope import TaskScope

T = TypeVar("T")
MIRRORED = frozenset({"drbd"})
NOTHING = frozenset({"diskless"})  # templates without any storage


class Disks:
    """The storage of one node. `in_use` says whether a guest here has a disk (uuid) open."""

    def __init__(
        self,
        volumes: Iterable[VolumeDriver],
        mirrors: MirrorDriver,
        *,
        in_use: Callable[[str], bool],
    ) -> None:
        self._drivers = tuple(volumes)
        self._of_kind = {kind: driver for driver in self._drivers for kind in driver.kinds}
        self._mirrors = mirrors
        self._in_use = in_use

    def lacks(self) -> dict[str, tuple[str, ...]]:
        """What is missing, by the first kind of volume that needs it, and for `drbd`."""
        lacks = {driver.kinds[0]: driver.needs() for driver in self._drivers}
        return lacks | {"drbd": self._mirrors.needs()}

    def ensure_volume(self, call: EnsureVolume, scope: TaskScope) -> None:
        """See EnsureVolume."""
        if call.volume.size_mib <= 0:
            raise BadCall(f"volume {call.volume.name} of {call.volume.size_mib} MiB")
        self._driver(call.volume).ensure(call.volume, owner=call.owner, scope=scope)

    def remove_volume(self, call: RemoveVolume, scope: TaskScope) -> None:
        """See RemoveVolume."""
        driver = self._driver(call.volume)
        if driver.owner(call.volume) != call.owner:
            return  # gone, or another's: nothing of ours to remove
        device = driver.device(call.volume)
        if device is not None and self._is_used(call.owner, device):
            raise StateMismatch(f"volume {call.volume.name} is in use here", hint="stop its user")
        driver.remove(call.volume, owner=call.owner, scope=scope)

    def describe_volumes(self, call: DescribeVolumes) -> VolumesFound:
        """See DescribeVolumes."""
        adopting = self._adopting(call.kind)
        found = (adopting.found(name) for name in call.names)
        return VolumesFound(volumes=tuple(each for each in found if each is not None))

    def adopt_volume(self, call: AdoptVolume, scope: TaskScope) -> None:
        """See AdoptVolume."""
        adopting = self._adopting(call.volume.kind)
        adopting.adopt(call.source, call.volume, owner=call.owner, scope=scope)

    def release_volume(self, call: ReleaseVolume, scope: TaskScope) -> None:
        """See ReleaseVolume."""
        adopting = self._adopting(call.volume.kind)
        if self._in_use(call.owner):
            raise StateMismatch(f"volume {call.volume.name} is in use here", hint="stop its user")
        adopting.release(call.volume, call.source, owner=call.owner, scope=scope)

    def ensure_snapshot(self, call: EnsureSnapshot, scope: TaskScope) -> None:
        """See EnsureSnapshot. Of a mirror it is one of this side's volume."""
        disk = call.disk
        able = None if disk.template in NOTHING else self._driver(disk.volume).snapshots
        if able is None:
            raise BadCall(
                f"a disk of template {disk.template} has no snapshots",
                hint="plain, drbd, file and sharedfile disks have",
            )
        if call.snapshot.kind != disk.volume.kind:
            raise BadCall(f"a snapshot of {disk.volume.kind} cannot be {call.snapshot.kind}")
        able.snapshot(
            disk.volume,
            call.snapshot,
            owner=call.owner,
            in_use=self._in_use(disk.uuid),
            scope=scope,
        )

    def wipe(self, call: WipeDisk, scope: TaskScope) -> None:
        """See WipeDisk."""
        disk = call.disk
        if call.from_mib == 0 and self._in_use(disk.uuid):
            raise StateMismatch(f"disk {disk.uuid} is in use by a guest here", hint="stop it first")
        device = self.device(disk)
        if not device.path:
            raise BadCall(f"disk {disk.uuid} is no device that could be wiped")
        wipe(device.path, name=f"disk {disk.index}", from_mib=call.from_mib, scope=scope)

    def ensure_replicated(self, call: EnsureReplicated, scope: TaskScope) -> None:
        """See EnsureReplicated."""
        self._raise_mirror(call.disk, fresh=call.fresh, source=call.source, scope=scope)

    def remove_replicated(self, call: RemoveReplicated, scope: TaskScope) -> None:
        """See RemoveReplicated."""
        _expect_mirror(call.disk)
        self._mirrors.remove(call.disk, scope=scope)

    def ensure_active(self, call: EnsureActive, scope: TaskScope) -> Device:
        """See EnsureActive."""
        disk = call.disk
        if disk.template in NOTHING:
            return Device()
        if disk.template not in MIRRORED:
            return self._driver(disk.volume).activate(disk.volume)
        self._raise_mirror(disk, fresh=False, source=False, scope=scope)
        return self._mirrors.set_role(disk, primary=call.primary, dual=call.dual, scope=scope)

    def ensure_inactive(self, call: EnsureInactive, scope: TaskScope) -> None:
        """See EnsureInactive."""
        disk = call.disk
        if disk.template in NOTHING:
            return
        if self._in_use(disk.uuid):
            raise StateMismatch(f"disk {disk.uuid} is in use by a guest here", hint="stop it first")
        if disk.template in MIRRORED:
            self._mirrors.down(disk, scope=scope)
        for volume in (disk.volume, disk.meta):
            if volume is not None:
                self._driver(volume).deactivate(volume)

    def device(self, disk: DiskSpec) -> Device:
        """Where an active disk is. Raises StateMismatch if it is not active here."""
        if disk.template in NOTHING:
            return Device()
        if disk.template in MIRRORED:
            device = self._mirrors.device(disk)
        else:
            device = self._driver(disk.volume).device(disk.volume)
        if device is None:
            raise StateMismatch(
                f"disk {disk.index} ({disk.uuid}) is not active here",
                hint="activate the instance's disks first",
            )
        return device

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """Every volume on the node; there is none of a driver whose tools are missing (`lacks`)."""
        nothing: tuple[OwnedVolume, ...] = ()
        found = (_there(driver.volumes, nothing) for driver in self._drivers)
        return tuple(volume for volumes in found for volume in volumes)

    def minors(self) -> dict[int, str]:
        """Minors that are taken, and by which disk; none if DRBD's tools are missing."""
        return _there(self._mirrors.minors, {})

    def seen(self) -> tuple[DiskSeen, ...]:
        """The state of each disk: of its mirror if it has one, else of its volume."""
        mirrored = {seen.uuid: seen for seen in self._mirrors.seen()}
        alone = (
            seen
            for driver in self._drivers
            if not driver.capabilities.shared
            for seen in driver.seen()
            if seen.uuid not in mirrored
        )
        return (*mirrored.values(), *alone)

    def space(self, kind: str) -> Space:
        """Room in the pool that serves a kind of volume; none if no driver does."""
        driver = self._of_kind.get(kind)
        return driver.space() if driver is not None else Space(0, 0)

    def _driver(self, volume: VolumeSpec) -> VolumeDriver:
        return self._serving(volume.kind)

    def _serving(self, kind: str) -> VolumeDriver:
        driver = self._of_kind.get(kind)
        if driver is None:
            known = ", ".join(sorted(self._of_kind))
            raise BadCall(f"no driver here for volumes of kind {kind!r}", hint=f"known: {known}")
        return driver

    def _adopting(self, kind: str) -> Adopting:
        adopting = self._serving(kind).adopting
        if adopting is None:
            raise BadCall(
                f"volumes of kind {kind} are made, never taken over",
                hint="logical volumes and block devices can be taken over",
            )
        return adopting

    def _raise_mirror(self, disk: DiskSpec, *, fresh: bool, source: bool, scope: TaskScope) -> None:
        _expect_mirror(disk)
        data = self._driver(disk.volume).activate(disk.volume)
        meta = self._driver(disk.meta).activate(disk.meta) if disk.meta is not None else None
        self._mirrors.ensure(disk, data=data, meta=meta, fresh=fresh, source=source, scope=scope)

    def _is_used(self, disk: str, device: Device) -> bool:
        if disk in self._mirrors.minors().values():
            return self._mirrors.holds(device)  # not so a volume that its mirror has left
        return self._in_use(disk)


def _expect_mirror(disk: DiskSpec) -> None:
    if disk.template not in MIRRORED:
        raise BadCall(f"disk {disk.uuid} is {disk.template}, not a mirror")


def _there(look: Callable[[], T], nothing: T) -> T:
    """Return what is there; nothing can be where the driver's tools are not."""
    try:
        return look()
    except Missing:
        return nothing

"""Logical volumes, through the tools of LVM2 (edge).

A volume's owner is a tag on it, set in the command that makes it, so no moment exists in which it
is nobody's. It is removed by a selection on that tag: what another took over meanwhile is not hit.

Each command costs up to seconds, so what LVM said last is remembered, and kept right over our own
changes. It is never trusted to do harm or to refuse: making a volume that is there already fails
in LVM itself, and before anything is refused the driver looks again. What people change by hand is
seen within a minute; `volumes()`, on which verification rests, always looks.

Commands: make 1, grow 1, remove 1, take over 2, snapshot 1, activate or deactivate 1, nothing to
do 0; taking over, giving back and a snapshot look besides.

What can go wrong: the group is full (NoRoom with what is free); the volume is another's or in use
(StateMismatch); a disk under it is missing (its state is faulty).
Sources: lvcreate(8), lvremove(8), lvextend(8), lvmreport(7).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

from nodeagent.calls import Device, DiskSeen, OwnedVolume, VolumeFound, VolumeSpec
from nodeagent.errors import (
    BadCall,
    CommandFailed,
    NodeAgentError,
    NoRoom,
    NoSuchThing,
    StateMismatch,
)
from nodeagent.storage.contract import Adopting, Snapshotting, Space, VolumeCapabilities
from nodeagent.storage.lvm_report import OWNER_TAG, REPORT, LogicalVolume, LvmState, read_report
from nodeagent.storage.system import System
from nodeagent.task_scope import TaskScope

LOOK_AGAIN_S = 60.0
_SNAPSHOT_EXTRA = 64  # one part in so many of a snapshot's room says which blocks are in it
_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*/[A-Za-z0-9+_.][A-Za-z0-9+_.-]*")


class Lvm:
    """The volume groups of one node; implements `VolumeDriver`. `group`: the main one, "" while
    none is known."""

    kinds = ("lvm",)
    capabilities = VolumeCapabilities(stripes=True)

    def __init__(
        self, system: System, group: str = "", *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._system, self._group, self._now = system, group, now
        self._lock = threading.Lock()
        self._state: LvmState | None = None
        self._looked_at = 0.0
        self._looking = False

    def use_group(self, group: str) -> None:
        """Another group is the main one from now on."""
        self._group = group

    @property
    def adopting(self) -> Adopting:
        """See VolumeDriver."""
        return self

    @property
    def snapshots(self) -> Snapshotting:
        """See VolumeDriver."""
        return self

    def needs(self) -> tuple[str, ...]:
        """See VolumeDriver."""
        if not self._system.has_tool("lvm"):
            return ("lvm is missing: install the package lvm2",)
        group = self._group
        if group and group not in self._recent().groups and group not in self._look().groups:
            return (f"volume group {group} is missing: vgcreate {group} DISK...",)
        return ()

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        _check_name(volume.name)
        present = self._present(volume.name)
        if present is None:
            failed = self._create(volume, owner, scope)
            if failed is None:
                return
            present = self._look().volumes.get(volume.name)
            if present is None:
                raise self._refused(volume, volume.size_mib, failed)
        self._expect_owner(volume.name, present, owner)
        if present.size_mib < volume.size_mib:
            self._extend(volume, present, scope)

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See VolumeDriver."""
        _check_name(volume.name)
        group, name = volume.name.split("/")
        self._expect_no_snapshots(volume.name)
        # An origin takes its snapshots with it, whoever owns them: it is not chosen either.
        chosen = f'lv_name="{name}" && lv_tags={{{OWNER_TAG}{owner}}} && lv_attr=~"^[^oO]"'
        try:
            self._system.run(["lvremove", "--quiet", "--force", "-S", chosen, group], scope=scope)
        except CommandFailed as failed:
            if "in use" in failed.output:
                raise StateMismatch(
                    f"volume {volume.name} is in use", hint="stop its user"
                ) from None
            if group in self._look().groups:
                raise
        self._forget(volume.name)

    def found(self, name: str) -> VolumeFound | None:
        """See Adopting."""
        _check_name(name)
        present = self._look().volumes.get(name)
        if present is None:
            return None
        in_use = "it is open" if present.is_open else ""
        return VolumeFound(name=name, size_mib=present.size_mib, owner=present.owner, in_use=in_use)

    def adopt(self, source: str, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. The tag comes before the new name: whoever repeats it after a crash finds
        one or the other."""
        for name in (source, volume.name):
            _check_name(name)
        if _group(source) != _group(volume.name):
            raise BadCall(f"{source} cannot become {volume.name}", hint="a volume keeps its group")
        state = self._look()
        if volume.name in state.volumes:
            self._expect_owner(volume.name, state.volumes[volume.name], owner)
            return
        present = state.volumes.get(source)
        if present is None:
            raise NoSuchThing(f"there is no volume {source} to be taken over")
        if present.is_open:
            raise StateMismatch(
                f"volume {source} is in use", hint="unmount it, or stop whatever has it open"
            )
        if present.size_mib < volume.size_mib:
            raise StateMismatch(
                f"volume {source} has {present.size_mib} MiB, not {volume.size_mib}"
            )
        if present.owner != owner:
            self._expect_owner(source, present, "")
            tag = ["lvchange", "--quiet", "--addtag", OWNER_TAG + owner, source]
            self._system.run(tag, scope=scope)
        self._system.run(["lvrename", "--quiet", source, volume.name], scope=scope)
        self._look()

    def release(self, volume: VolumeSpec, source: str, *, owner: str, scope: TaskScope) -> None:
        """See Adopting. The name goes first, as it came last."""
        for name in (source, volume.name):
            _check_name(name)
        volumes = self._look().volumes
        named = volumes.get(volume.name)
        if named is not None and named.owner == owner:
            if named.is_open:
                raise StateMismatch(f"volume {volume.name} is in use", hint="stop its user")
            self._system.run(["lvrename", "--quiet", volume.name, source], scope=scope)
        elif source not in volumes or volumes[source].owner != owner:
            return
        tag = ["lvchange", "--quiet", "--deltag", OWNER_TAG + owner, source]
        self._system.run(tag, scope=scope)
        self._look()

    def snapshot(
        self,
        source: VolumeSpec,
        snapshot: VolumeSpec,
        *,
        owner: str,
        in_use: bool,
        scope: TaskScope,
    ) -> None:
        """See Snapshotting. It has room for every block of its origin to change, so it never
        becomes invalid; LVM takes less where that is enough."""
        for volume in (source, snapshot):
            _check_name(volume.name)
        group, name = snapshot.name.split("/")
        if group != _group(source.name):
            raise BadCall(f"{snapshot.name} cannot be a snapshot of {source.name}: another group")
        size_mib = snapshot.size_mib + max(snapshot.size_mib // _SNAPSHOT_EXTRA, 4)
        argv = ["lvcreate", "--quiet", "--yes", "--snapshot", "--size", f"{size_mib}m"]
        argv += ["--name", name, "--addtag", OWNER_TAG + owner, source.name]
        try:
            self._system.run(argv, scope=scope)
        except CommandFailed as failed:
            state = self._look()
            if source.name not in state.volumes:
                raise NoSuchThing(f"there is no volume {source.name}") from None
            present = state.volumes.get(snapshot.name)
            if present is None:
                raise self._refused(snapshot, size_mib, failed) from None
            self._expect_owner(snapshot.name, present, owner)
            if present.origin != _short(source.name):
                raise StateMismatch(f"{snapshot.name} is no snapshot of {source.name}") from None
        else:
            self._look()

    def activate(self, volume: VolumeSpec) -> Device:
        """See VolumeDriver."""
        device = self.device(volume)
        if device is not None:
            return device
        _check_name(volume.name)
        try:
            self._system.run(["lvchange", "--quiet", "-ay", volume.name], scope=TaskScope())
        except CommandFailed:
            if volume.name in self._look().volumes:
                raise
            raise NoSuchThing(f"there is no volume {volume.name}") from None
        return Device(path=_path(volume.name))

    def deactivate(self, volume: VolumeSpec) -> None:
        """See VolumeDriver."""
        if self.device(volume) is None:
            return
        try:
            self._system.run(["lvchange", "--quiet", "-an", volume.name], scope=TaskScope())
        except CommandFailed as failed:
            if "in use" in failed.output:
                raise StateMismatch(
                    f"volume {volume.name} is in use", hint="stop its user"
                ) from None
            raise

    def device(self, volume: VolumeSpec) -> Device | None:
        """See VolumeDriver."""
        path = _path(volume.name)
        return Device(path=path) if self._system.exists(path) else None

    def owner(self, volume: VolumeSpec) -> str | None:
        """See VolumeDriver."""
        present = self._present(volume.name) or self._look().volumes.get(volume.name)
        return present.owner if present is not None else None

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """See VolumeDriver. Of groups beside the main one, those in which a volume is ours."""
        volumes = self._look().volumes
        ours = {_group(name) for name, volume in volumes.items() if volume.owner}
        ours.add(self._group)
        return tuple(
            OwnedVolume(name=name, kind="lvm", size_mib=volume.size_mib, owner=volume.owner)
            for name, volume in sorted(volumes.items())
            if _group(name) in ours
        )

    def seen(self) -> tuple[DiskSeen, ...]:
        """See VolumeDriver. Costs one look at a name for each volume, no command."""
        states: dict[str, str] = {}
        for name, volume in self._recent().volumes.items():
            if not volume.owner:
                continue
            if volume.faulty:
                states[volume.owner] = "faulty"
            elif states.get(volume.owner) != "faulty":
                active = self._system.exists(_path(name))
                states[volume.owner] = "ok" if active else "inactive"
        return tuple(DiskSeen(disk, state, "") for disk, state in sorted(states.items()))

    def space(self) -> Space:
        """See VolumeDriver."""
        group = self._recent().groups.get(self._group)
        return Space(group.size_mib, group.free_mib) if group is not None else Space(0, 0)

    def disk_sizes_mib(self) -> tuple[int, ...]:
        """How large the physical volumes of its main pool are, the smallest first."""
        group = self._recent().groups.get(self._group)
        return group.sizes_mib if group is not None else ()

    # --- what LVM said last -------------------------------------------------------------------

    def _look(self) -> LvmState:
        """Ask LVM."""
        state = read_report(self._system.run(REPORT, scope=TaskScope()))
        with self._lock:
            self._state, self._looked_at = state, self._now()
        return state

    def _recent(self) -> LvmState:
        """Return what is remembered, at once; a look in the background makes an old one new."""
        with self._lock:
            state, old = self._state, self._now() - self._looked_at > LOOK_AGAIN_S
            begin = state is not None and old and not self._looking
            self._looking |= begin
        if begin:
            threading.Thread(target=self._look_aside, name="lvm-look", daemon=True).start()
        if state is not None:
            return state
        try:
            return self._look()
        except NodeAgentError:
            return LvmState({}, {})  # `needs` says what is wrong

    def _look_aside(self) -> None:
        try:
            self._look()
        except NodeAgentError as failed:
            _log.warning("LVM could not be looked at: %s", failed)
        finally:
            with self._lock:
                self._looking = False

    def _present(self, name: str) -> LogicalVolume | None:
        """Return a volume that is remembered, if there still is something of its name."""
        with self._lock:
            known = self._state.volumes.get(name) if self._state is not None else None
        return known if known is not None and self._system.exists(_path(name)) else None

    def _remember(self, name: str, volume: LogicalVolume) -> None:
        """A change of ours is made; its group's room shrinks by what it took."""
        with self._lock:
            if self._state is None:
                return
            before = self._state.volumes.get(name)
            self._state.volumes[name] = volume
            group = self._state.groups.get(_group(name))
            if group is not None:
                took = volume.size_mib - (before.size_mib if before is not None else 0)
                self._state.groups[_group(name)] = group._replace(free_mib=group.free_mib - took)

    def _forget(self, name: str) -> None:
        with self._lock:
            if self._state is None or name not in self._state.volumes:
                return
            size_mib = self._state.volumes.pop(name).size_mib
            group = self._state.groups.get(_group(name))
            if group is not None:
                free_mib = group.free_mib + size_mib
                self._state.groups[_group(name)] = group._replace(free_mib=free_mib)

    # --- commands -----------------------------------------------------------------------------

    def _create(self, volume: VolumeSpec, owner: str, scope: TaskScope) -> CommandFailed | None:
        """Make the volume; return why LVM did not."""
        group, name = volume.name.split("/")
        argv = ["lvcreate", "--quiet", "--yes", "--wipesignatures", "y", "--zero", "y"]
        argv += ["--size", f"{volume.size_mib}m", "--name", name, "--addtag", OWNER_TAG + owner]
        if volume.stripes > 1:
            argv += ["--stripes", str(volume.stripes)]
        argv.append(group)
        if volume.exclusive:
            argv += self._whole_disks(volume)
        try:
            self._system.run(argv, scope=scope)
        except CommandFailed as failed:
            return failed
        self._remember(volume.name, self._rounded(volume, owner))
        return None

    def _extend(self, volume: VolumeSpec, present: LogicalVolume, scope: TaskScope) -> None:
        argv = ["lvextend", "--quiet", "--size", f"{volume.size_mib}m", volume.name]
        try:
            self._system.run(argv, scope=scope)
        except CommandFailed as failed:
            now = self._look().volumes.get(volume.name)
            if now is None or now.size_mib < volume.size_mib:  # else another call was quicker
                more_mib = volume.size_mib - present.size_mib
                raise self._refused(volume, more_mib, failed) from None
        else:
            self._remember(volume.name, self._rounded(volume, present.owner))

    def _whole_disks(self, volume: VolumeSpec) -> list[str]:
        """Return physical volumes that are to hold this volume and nothing else.

        As many as `spindles` says, else as few as it takes. Raises NoRoom.
        """
        group = self._look().groups.get(_group(volume.name))
        if group is None:
            return []  # LVM says it better
        wanted = max(volume.spindles, volume.stripes)
        while wanted <= len(group.empty):
            if sum(group.empty_mib[:wanted]) >= volume.size_mib:
                return list(group.empty[:wanted])
            wanted += 1
        raise NoRoom(
            f"volume {volume.name} needs {volume.size_mib} MiB on at least "
            f"{max(volume.spindles, volume.stripes)} disks of its own, {len(group.empty)} disks "
            f"with {sum(group.empty_mib)} MiB are empty",
            hint="this node keeps instances on disks of their own (exclusive_storage)",
        )

    def _refused(self, volume: VolumeSpec, more_mib: int, failed: CommandFailed) -> NodeAgentError:
        """Return what LVM meant by refusing; what was looked at just now is fresh."""
        group = self._recent().groups.get(_group(volume.name))
        if group is None:
            name = _group(volume.name)
            return NoSuchThing(f"there is no volume group {name}", hint=f"vgcreate {name} DISK...")
        if "nsufficient" not in failed.output:
            return failed
        return NoRoom(
            f"volume {volume.name} needs {more_mib} MiB, {group.free_mib} MiB of "
            f"{group.size_mib} MiB are free",
            hint="choose a node with more room, or a smaller disk",
        )

    def _rounded(self, volume: VolumeSpec, owner: str) -> LogicalVolume:
        """Return the volume as LVM makes it: whole extents, on each stripe as many."""
        with self._lock:
            group = self._state.groups.get(_group(volume.name)) if self._state else None
        unit_mib = (group.extent_mib if group is not None else 1) * volume.stripes
        size_mib = -(-volume.size_mib // unit_mib) * unit_mib
        return LogicalVolume(size_mib, owner, faulty=False)

    def _expect_no_snapshots(self, name: str) -> None:
        def there(state: LvmState) -> list[str]:
            return [
                other
                for other, volume in state.volumes.items()
                if volume.origin == _short(name) and _group(other) == _group(name)
            ]

        if there(self._recent()) and (snapshots := there(self._look())):
            raise StateMismatch(
                f"volume {name} has snapshots: {', '.join(sorted(snapshots))}",
                hint="remove them first",
            )

    def _expect_owner(self, name: str, present: LogicalVolume, owner: str) -> None:
        if present.owner == owner:
            return
        present = self._look().volumes.get(name, present)
        if present.owner != owner:
            raise StateMismatch(
                f"volume {name} belongs to {present.owner or 'nobody of this cluster'}",
                hint="choose another name; a volume is never taken over",
            )


def _path(name: str) -> str:
    return f"/dev/{name}"


def _group(name: str) -> str:
    return name.partition("/")[0]


def _short(name: str) -> str:
    return name.partition("/")[2]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadCall(f"{name!r} does not name a logical volume", hint="GROUP/VOLUME")

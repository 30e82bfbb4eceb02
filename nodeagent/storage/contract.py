"""What the agent asks of storage: volumes on this node, and mirrors over them (pure).

Two kinds of driver, because a mirror is made *of* volumes:

- a **volume driver** keeps pieces of local or shared storage: LVM, files, a shared directory,
  adopted block devices, RBD, an external provider. One serves one or more `VolumeSpec.kind`s;
- a **mirror driver** joins a volume here with one on a peer: DRBD 8.4, DRBD 9.

Every method states a wanted result: it looks first, changes what differs, and does nothing the
second time. An agent that died in the middle calls it again. None decides *which* volume or node.

What never happens, whatever is asked: a volume of another owner is changed or removed; a volume is
shrunk; a mirror whose two sides both went on alone is joined by guessing (StateMismatch instead).

Drivers are called from several threads, but for one resource by one at a time.
Errors: NoRoom, StateMismatch, NoSuchThing, Missing, BadCall, CommandFailed, Stopped.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nodeagent.calls import Device, DiskSeen, DiskSpec, OwnedVolume, VolumeFound, VolumeSpec
from nodeagent.task_scope import TaskScope


class VolumeCapabilities(NamedTuple):
    """What a volume driver can do beyond what all of them can."""

    grows: bool = True
    stripes: bool = False
    shared: bool = False  # the same volumes are seen on every node (sharedfile, RBD)
    user_space: bool = False  # may have a URI and no path (RBD, Gluster)


class Space(NamedTuple):
    """Room in the pool of a driver, MiB."""

    total_mib: int
    free_mib: int


class Adopting(Protocol):
    """The part of a volume driver that takes over what a person made."""

    def found(self, name: str) -> VolumeFound | None:
        """What there is of this name now, whoever owns it; None if there is nothing."""

    def adopt(self, source: str, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """What was `source` is now `volume` and belongs to `owner`; its data stay.

        Raises NoSuchThing, StateMismatch if it is somebody's, too small, or in use.
        """

    def release(self, volume: VolumeSpec, source: str, *, owner: str, scope: TaskScope) -> None:
        """`owner` does not have it: it is nobody's, and named as before. Nothing happens to one
        that was not taken over. Raises StateMismatch while it is in use."""


class Snapshotting(Protocol):
    """The part of a volume driver that keeps a moment of a volume."""

    def snapshot(
        self,
        source: VolumeSpec,
        snapshot: VolumeSpec,
        *,
        owner: str,
        in_use: bool,
        scope: TaskScope,
    ) -> None:
        """There is `snapshot`, `owner`'s: a volume with what was on `source` at one moment.

        `in_use`: a guest may write to the source meanwhile. Raises NoSuchThing, NoRoom,
        StateMismatch if a volume of that name is another's, or for a source in use where a moment
        of that cannot be kept.
        """


class VolumeDriver(Protocol):
    """Pieces of storage, each with an owner (the uuid of a disk) kept beside it."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The values of `VolumeSpec.kind` that it serves."""

    @property
    def capabilities(self) -> VolumeCapabilities:
        """What it can do."""

    @property
    def adopting(self) -> Adopting | None:
        """Takes over what a person made; None where that cannot be."""

    @property
    def snapshots(self) -> Snapshotting | None:
        """Keeps a moment of a volume; None where that cannot be."""

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work, one sentence each: what, and what to install or load."""

    def ensure(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """The volume exists, is `owner`'s, and has at least this size; a smaller one is grown.

        Raises StateMismatch if one of that name is another's, NoRoom with what is free.
        """

    def remove(self, volume: VolumeSpec, *, owner: str, scope: TaskScope) -> None:
        """`owner` has no volume of that name. Raises StateMismatch while it is in use."""

    def activate(self, volume: VolumeSpec) -> Device:
        """The volume can be opened here. Raises NoSuchThing."""

    def deactivate(self, volume: VolumeSpec) -> None:
        """It cannot be opened any more; its data stay. Nothing happens if there is none."""

    def device(self, volume: VolumeSpec) -> Device | None:
        """Where it is, None if it is not active or does not exist."""

    def owner(self, volume: VolumeSpec) -> str | None:
        """Whose the volume is: empty if nobody's of this cluster, None if there is none."""

    def volumes(self) -> tuple[OwnedVolume, ...]:
        """Every volume in its pools, also those of strangers (`owner` empty)."""

    def seen(self) -> tuple[DiskSeen, ...]:
        """The state of each owner's disk: ok, faulty, inactive. Role and sync are empty."""

    def space(self) -> Space:
        """Room in its main pool."""


class MirrorDriver(Protocol):
    """Mirrors between a volume here and one on a peer, named by the disk's uuid."""

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work."""

    def ensure(
        self,
        disk: DiskSpec,
        *,
        data: Device,
        meta: Device | None,
        fresh: bool,
        source: bool,
        scope: TaskScope,
    ) -> None:
        """The mirror is up here over these devices, and connected or connecting to its peer.

        It is attached anew if the volume differs from the one it stands on, grown if `size_mib` is
        larger, pointed at another peer if that differs. It does not wait for the peer or for the
        sync. Raises StateMismatch if the minor or port is another disk's, or on split brain.
        """

    def remove(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """There is no such mirror here; its minor is free. Raises StateMismatch while in use."""

    def set_role(self, disk: DiskSpec, *, primary: bool, dual: bool, scope: TaskScope) -> Device:
        """The mirror is up and has this role; `dual`: its peer may be primary too.

        Raises NoSuchThing if it is not up, StateMismatch if the peer is primary (and this is not
        `dual`), if there are no good data here or there, or if it is to step down while in use.
        """

    def down(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """It is shut down here; the data stay. Raises StateMismatch while in use."""

    def device(self, disk: DiskSpec) -> Device | None:
        """Where a guest finds it, None if it is not up."""

    def holds(self, device: Device) -> bool:
        """Whether a mirror that is up stands on this device, as data or metadata."""

    def minors(self) -> dict[int, str]:
        """Minors that are taken, and by which disk."""

    def seen(self) -> tuple[DiskSeen, ...]:
        """The state of each mirror; called about once a second, so it must be cheap."""

"""Calls about the storage of one node (pure)."""

from __future__ import annotations

from typing import ClassVar

from nodeagent.calls.call import Call
from nodeagent.calls.specs import DiskSpec, VolumeSpec


class EnsureVolume(Call, frozen=True, kw_only=True):
    """The volume exists, belongs to `owner` and has at least this size. A volume of that name
    with another owner is refused (wrong_state): never taken over, never destroyed."""

    NAME: ClassVar[str] = "ensure-volume"

    volume: VolumeSpec
    owner: str  # uuid of the disk


class RemoveVolume(Call, frozen=True, kw_only=True):
    """The volume does not exist, or belongs to another owner (then it is left alone)."""

    NAME: ClassVar[str] = "remove-volume"

    volume: VolumeSpec
    owner: str


class DescribeVolumes(Call, frozen=True, kw_only=True):
    """Nothing changes. Returns `VolumesFound`: of these names, those that are there."""

    NAME: ClassVar[str] = "describe-volumes"

    kind: str
    names: tuple[str, ...]


class AdoptVolume(Call, frozen=True, kw_only=True):
    """What was `source`, and nobody's of this cluster, is now `volume` and belongs to `owner`.

    Its data stay. Refused (wrong_state) if it is in use, somebody's, or smaller than `volume`.
    """

    NAME: ClassVar[str] = "adopt-volume"

    source: str
    volume: VolumeSpec
    owner: str


class ReleaseVolume(Call, frozen=True, kw_only=True):
    """`owner` does not have the volume: it has its name from before, `source`, and its data."""

    NAME: ClassVar[str] = "release-volume"

    source: str
    volume: VolumeSpec
    owner: str


class EnsureSnapshot(Call, frozen=True, kw_only=True):
    """There is a volume `snapshot`, `owner`'s, with what was on the disk at one moment, and it can
    be read. Made twice it is still that of the first time. It is removed by `RemoveVolume`.

    Refused (wrong_input) where disks of this template have no snapshots, and (wrong_state) where
    there is none of a disk that a guest uses.
    """

    NAME: ClassVar[str] = "ensure-snapshot"

    disk: DiskSpec
    snapshot: VolumeSpec
    owner: str  # uuid of its own: a snapshot is no part of the disk


class WipeDisk(Call, frozen=True, kw_only=True):
    """The active disk is zero from `from_mib` on. Refused (wrong_state) while a guest uses it,
    unless a part of it stays. Told with percent and time left."""

    NAME: ClassVar[str] = "wipe-disk"

    disk: DiskSpec
    from_mib: int = 0


class EnsureReplicated(Call, frozen=True, kw_only=True):
    """The disk's mirror is up on this node, attached to its volumes and connected to its peer.

    `fresh`: both sides are new and empty, so they count as equal. `source`: this side holds the
    data that a peer without any gets. A larger `size_mib` than before grows the mirror.
    """

    NAME: ClassVar[str] = "ensure-replicated"

    disk: DiskSpec
    fresh: bool = False
    source: bool = False


class RemoveReplicated(Call, frozen=True, kw_only=True):
    """The mirror is down on this node and its minor is free. The volumes are left alone."""

    NAME: ClassVar[str] = "remove-replicated"

    disk: DiskSpec


class EnsureActive(Call, frozen=True, kw_only=True):
    """The disk can be used by a guest on this node (`primary`) or follows its peer (not primary).

    Returns `Device`. For a mirror this includes what EnsureReplicated does for an existing one.
    `dual`: for the time of a live migration both sides are primary.
    """

    NAME: ClassVar[str] = "ensure-active"

    disk: DiskSpec
    primary: bool
    dual: bool = False


class EnsureInactive(Call, frozen=True, kw_only=True):
    """The disk is shut down on this node; its data stay. Refused (wrong_state) while in use."""

    NAME: ClassVar[str] = "ensure-inactive"

    disk: DiskSpec

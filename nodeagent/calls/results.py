"""What calls return, and how they fail (pure)."""

from __future__ import annotations

import msgspec

from nodeagent.calls.status import NodeStatus


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an active disk is on its node."""

    path: str = ""
    uri: str = ""


class RunState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the hypervisor says of an instance."""

    state: str  # running, paused, stopped
    memory_mib: int = 0
    vcpus: int = 0
    generation: int = 0


class ConsoleSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a console is reached. `kind`: ssh (a command on the node), vnc, spice, or msg."""

    kind: str
    command: tuple[str, ...] = ()
    host: str = ""  # empty: the address of the node
    port: int | None = None
    display: int | None = None  # VNC
    message: str = ""


class RunningGuest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a guest is put together, in the words of its hypervisor's driver."""

    description: bytes


class MigrationTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the source must send the instance."""

    address: str
    port: int = 0


class VoterMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A voter on this node: its public keys, its storage, and where it is reached."""

    inc: str  # hex id of its storage
    curve_key: str  # Z85
    sign_key: str  # base64
    requests: str  # endpoints
    publications: str
    replication: str
    segments: str = ""


class NodeCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `Probe`."""

    status: NodeStatus  # without `disks`, which may be thousands: telemetry has them
    missing: tuple[str, ...] = ()  # per driver: what it needs and does not find, what to install
    holds: Inventory | None = None
    os: tuple[OsStatus, ...] = ()
    # The same as `missing`, by what needs it: a kind of volume (lvm, file, sharedfile), drbd, the
    # name of a hypervisor, network. Older agents do not say it.
    lacks: dict[str, tuple[str, ...]] = {}
    advice: dict[str, tuple[str, ...]] = {}  # what would be better, by the name of a hypervisor
    host: HostFacts | None = None
    # Instances (uuids) that have interfaces here and are unknown to the hypervisors; the first ones
    interfaces_left: tuple[str, ...] = ()


class HostFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is seen of the machine itself, of what the probe asked for."""

    clock_ms: int  # since 1970 UTC
    missing_links: tuple[str, ...] = ()
    missing_addresses: tuple[str, ...] = ()
    drbd_helper: str = ""  # what DRBD's module calls when a mirror's state changes
    forbidden: tuple[str, ...] = ()  # directories that the agent does not keep disks in
    missing_programs: tuple[str, ...] = ()
    bad_scripts: tuple[str, ...] = ()  # of the site, which would not be run
    disks_mib: tuple[int, int] | None = None  # smallest and largest physical volume of LVM


class Inventory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the node holds: sums over all of it, and some buckets of it by name.

    `sums`: eventstore/set_sums.py, over the names of the volumes that have an owner, and the
    `minor_entry` of each minor. `listed`: of the buckets that were asked for, those that are here
    in full; the first ones, as far as an answer has room.
    """

    sums: tuple[int, ...]
    listed: tuple[int, ...] = ()
    volumes: tuple[OwnedVolume, ...] = ()
    minors: dict[int, str] = {}  # minor -> disk uuid


def minor_entry(minor: int, disk: str) -> str:
    """Return the name under which a minor that is up for a disk stands in `Inventory.sums`."""
    return f"minor {minor} {disk}"


class AllocatorAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an allocator printed: an object with `success` and `info`, checked no further."""

    answer: bytes  # JSON, compressed with zlib


class OwnedVolume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume found on the node. `owner` is empty where nobody of this cluster made it."""

    name: str
    kind: str
    size_mib: int
    owner: str = ""


class VolumeFound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume that may be taken over. `in_use`: by what; empty if by nothing."""

    name: str
    size_mib: int
    owner: str = ""
    in_use: str = ""


class VolumesFound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `DescribeVolumes`."""

    volumes: tuple[VolumeFound, ...] = ()


class OsStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OS definition found on the node; `problem` is empty where it is valid."""

    name: str
    problem: str = ""
    variants: tuple[str, ...] = ()
    api_versions: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task failed. `retry`: trying again may help. Output over 4 KiB stays on the node."""

    code: str
    message: str
    hint: str = ""
    retry: bool = False
    argv: tuple[str, ...] = ()
    exit_status: int | None = None
    output: str = ""

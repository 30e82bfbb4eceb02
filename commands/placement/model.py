"""What placement knows of a cluster: groups, nodes, instances and their policies, as plain values.

Units are MiB throughout; indices (`group`, `primary`, `secondary`) are positions in the tuples of
`Cluster`. The values are what a source of data said; everything derived is in `frame` and `state`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

NO_NODE: Final = -1  # an instance without a secondary

#: Limits of a number in any input: beyond this a double no longer tells neighbours apart.
LARGEST: Final = 2**53


class FailMode(enum.IntEnum):
    """Why an instance cannot be on a node; the order is that of Ganeti's statistics."""

    MEM = 0
    DISK = 1
    CPU = 2
    N1 = 3
    TAGS = 4
    MIG = 5
    DISK_COUNT = 6
    SPINDLES = 7
    INTERNAL = 8

    @property
    def label(self) -> str:
        """The name that Ganeti prints, such as `FailMem`."""
        return _FAIL_LABELS[self]


_FAIL_LABELS: Final = (
    "FailMem",
    "FailDisk",
    "FailCPU",
    "FailN1",
    "FailTags",
    "FailMig",
    "FailDiskCount",
    "FailSpindles",
    "FailInternal",
)


class Mirror(enum.Enum):
    """How a disk template can follow its instance to another node."""

    NONE = "none"
    INTERNAL = "internal"  # DRBD: a copy on a second node
    EXTERNAL = "external"  # shared storage: any node of the group


#: Disk templates in Ganeti's order, with their mirror type.
TEMPLATES: Final[dict[str, Mirror]] = {
    "diskless": Mirror.EXTERNAL,
    "file": Mirror.NONE,
    "sharedfile": Mirror.EXTERNAL,
    "plain": Mirror.NONE,
    "blockdev": Mirror.EXTERNAL,
    "drbd": Mirror.INTERNAL,
    "rbd": Mirror.EXTERNAL,
    "ext": Mirror.EXTERNAL,
    "gluster": Mirror.EXTERNAL,
}
LOCAL_TEMPLATES: Final = frozenset({"drbd", "plain"})
MOVABLE_TEMPLATES: Final = frozenset(
    {"drbd", "blockdev", "sharedfile", "gluster", "rbd", "ext"}  # not diskless, as in Ganeti
)

#: Run states, and whether an instance in that state holds memory on its primary node.
STATUSES: Final[dict[str, bool]] = {
    "running": True,
    "ADMIN_down": False,
    "ADMIN_offline": False,
    "ERROR_up": True,
    "ERROR_down": False,
    "ERROR_nodedown": True,
    "ERROR_nodeoffline": True,
    "ERROR_wrongnode": True,
    "USER_down": False,
}
OFFLINE_STATUS: Final = "ADMIN_offline"
RUNNING_STATUSES: Final = frozenset({"running", "ERROR_up"})

#: Allocation policies of groups, best first.
ALLOC_POLICIES: Final = ("preferred", "last_resort", "unallocable")
UNALLOCABLE: Final = "unallocable"


class Spec(msgspec.Struct, frozen=True):
    """A size of instance, as instance policies state it."""

    memory_mib: int
    cpus: int
    disk_mib: int  # of each disk
    disks: int
    nics: int
    spindles: int


class Bounds(msgspec.Struct, frozen=True):
    """One pair of limits; an instance complies if it lies within one pair."""

    low: Spec
    high: Spec


class Policy(msgspec.Struct, frozen=True):
    """An instance policy (ipolicy): of the cluster, or of one group."""

    standard: Spec
    bounds: tuple[Bounds, ...]
    templates: tuple[str, ...]
    vcpu_ratio: float
    spindle_ratio: float


_SMALLEST: Final = Spec(128, 1, 1024, 1, 1, 1)
DEFAULT_POLICY: Final = Policy(
    standard=_SMALLEST,
    bounds=(Bounds(_SMALLEST, Spec(32768, 8, 1048576, 16, 8, 12)),),
    templates=tuple(TEMPLATES),
    vcpu_ratio=4.0,
    spindle_ratio=32.0,
)


class Group(msgspec.Struct, frozen=True):
    """A node group."""

    name: str
    uuid: str
    alloc_policy: str
    tags: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    policy: Policy = DEFAULT_POLICY


class Node(msgspec.Struct, frozen=True):
    """A node as reported; `offline` covers drained and not vm-capable ones too."""

    name: str
    group: int
    total_memory: float
    node_memory: int
    free_memory: int
    total_disk: float
    free_disk: int
    cpus: float
    node_cpus: int = 1
    cpu_speed: float = 1.0
    offline: bool = False
    master: bool = False
    spindles: int = 1
    free_spindles: int = 0
    exclusive_storage: bool = False
    tags: tuple[str, ...] = ()
    hypervisor: str | None = None


class Disk(msgspec.Struct, frozen=True):
    """One disk; spindles are None where nobody stated them."""

    size_mib: int
    spindles: int | None = None


class Instance(msgspec.Struct, frozen=True):
    """An instance as recorded."""

    name: str
    memory: int
    disk: int  # total on a node, metadata included
    vcpus: int
    status: str
    template: str
    primary: int
    secondary: int = NO_NODE
    disks: tuple[Disk, ...] = ()
    auto_balance: bool = True
    spindle_use: int = 1
    tags: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()  # of its NICs
    forthcoming: bool = False

    @property
    def uses_memory(self) -> bool:
        """Whether it holds memory on its primary node."""
        return not self.forthcoming and STATUSES[self.status]

    @property
    def reserves_memory(self) -> bool:
        """Whether its memory is kept free on its secondary node."""
        return self.auto_balance and self.status != OFFLINE_STATUS

    @property
    def running(self) -> bool:
        """Whether it runs, so that it migrates instead of failing over."""
        return self.status in RUNNING_STATUSES

    @property
    def uses_local_storage(self) -> bool:
        """Whether its disks take space that the node reports."""
        return self.template in LOCAL_TEMPLATES

    @property
    def mirrored(self) -> bool:
        """Whether it needs a secondary node (DRBD)."""
        return self.template == "drbd"

    @property
    def mirror(self) -> Mirror:
        """How its disks can follow it."""
        return TEMPLATES[self.template]

    @property
    def total_spindles(self) -> int | None:
        """Spindles of all disks, or None if any is unknown."""
        total = 0
        for disk in self.disks:
            if disk.spindles is None:
                return None
            total += disk.spindles
        return total


class Cluster(msgspec.Struct, frozen=True):
    """All that a source of data gave, in its order."""

    groups: tuple[Group, ...]
    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...]
    tags: tuple[str, ...] = ()
    policy: Policy = DEFAULT_POLICY
    first_index: int = 0  # what listings call the first node and group (1 when simulated)


def required_nodes(template: str) -> int:
    """How many nodes an instance of that disk template occupies."""
    return 2 if template == "drbd" else 1


def policy_violation(
    instance: Instance, policy: Policy, *, exclusive_storage: bool
) -> FailMode | None:
    """Say why `instance` does not comply with `policy`, or None if it does.

    It must lie within one pair of bounds, and its disk template must be allowed. When no pair
    holds it, the reason is that of the first pair. The number of NICs is not looked at.
    """
    reason: FailMode | None = None
    for position, pair in enumerate(policy.bounds):
        found = _outside(instance, pair, exclusive_storage)
        if found is None:
            reason = None
            break
        if position == 0:
            reason = found
    if reason is not None:
        return reason
    return None if instance.template in policy.templates else FailMode.DISK


def _outside(instance: Instance, pair: Bounds, exclusive: bool) -> FailMode | None:
    """The first reason why `instance` is below the low or above the high spec of a pair."""
    for sign, spec in ((1, pair.low), (-1, pair.high)):
        found = _beyond(instance, spec, sign, exclusive)
        if found is not None:
            return found
    return None


def _beyond(instance: Instance, spec: Spec, sign: int, exclusive: bool) -> FailMode | None:
    """Compare with one spec: `sign` 1 asks for at least, -1 for at most."""
    if sign * instance.memory < sign * spec.memory_mib:
        return FailMode.MEM
    if any(sign * disk.size_mib < sign * spec.disk_mib for disk in instance.disks):
        return FailMode.DISK
    if sign * instance.vcpus < sign * spec.cpus:
        return FailMode.CPU
    spindles = instance.total_spindles if exclusive else instance.spindle_use
    if spindles is None or sign * spindles < sign * spec.spindles:
        return FailMode.SPINDLES
    if instance.template != "diskless" and sign * len(instance.disks) < sign * spec.disks:
        return FailMode.DISK_COUNT
    return None


#: Units in which an instance is made smaller.
UNITS: Final = {FailMode.MEM: 64, FailMode.DISK: 256, FailMode.CPU: 1, FailMode.SPINDLES: 1}


def shrinkable(instance: Instance, reason: FailMode) -> int:
    """How many units smaller an instance can become in what `reason` complains of.

    It keeps at least one unit: 64 MiB of memory, 256 MiB on each disk, one CPU, one spindle (of a
    single disk). Other reasons cannot be helped by a smaller size.
    """
    unit = UNITS.get(reason, 0)
    match reason:
        case FailMode.MEM:
            sizes: list[int] = [instance.memory]
        case FailMode.CPU:
            sizes = [instance.vcpus]
        case FailMode.DISK:
            sizes = [disk.size_mib for disk in instance.disks]
        case FailMode.SPINDLES if len(instance.disks) == 1:
            sizes = [instance.disks[0].spindles or 0]
        case _:
            return 0
    return max(0, min((size // unit - 1 for size in sizes), default=0))


def shrunk(instance: Instance, reason: FailMode, units: int = 1) -> Instance:
    """The instance some units smaller in what `reason` complains of; at most `shrinkable`."""
    less = units * UNITS[reason]
    if reason is FailMode.MEM:
        return msgspec.structs.replace(instance, memory=instance.memory - less)
    if reason is FailMode.CPU:
        return msgspec.structs.replace(instance, vcpus=instance.vcpus - less)
    if reason is FailMode.SPINDLES:
        disk = instance.disks[0]
        fewer = Disk(disk.size_mib, (disk.spindles or 0) - less)
        return msgspec.structs.replace(instance, disks=(fewer,))
    disks = tuple(Disk(disk.size_mib - less, disk.spindles) for disk in instance.disks)
    total = instance.disk - less * len(disks)
    return msgspec.structs.replace(instance, disk=total, disks=disks)


def steady_units(instance: Instance, reason: FailMode, policies: Sequence[Policy]) -> int:
    """How many units smaller an instance can be without crossing a bound of a policy."""
    unit, most = UNITS.get(reason, 1), shrinkable(instance, reason)
    for policy in policies:
        for pair in policy.bounds:
            for size, low, high in _sizes(instance, reason, pair):
                if size > high:
                    most = min(most, (size - high - 1) // unit)
                elif size >= low:
                    most = min(most, (size - low) // unit)
    return most


def _sizes(instance: Instance, reason: FailMode, pair: Bounds) -> list[tuple[int, int, int]]:
    """What shrinks, with its bounds."""
    low, high = pair.low, pair.high
    if reason is FailMode.MEM:
        return [(instance.memory, low.memory_mib, high.memory_mib)]
    if reason is FailMode.CPU:
        return [(instance.vcpus, low.cpus, high.cpus)]
    if reason is FailMode.DISK:
        return [(disk.size_mib, low.disk_mib, high.disk_mib) for disk in instance.disks]
    return [(instance.total_spindles or 0, low.spindles, high.spindles)]


def common_domain(names: Sequence[str]) -> str:
    """The longest suffix, beginning with a dot, that all names share."""
    if not names:
        return ""
    first = names[0]
    dot = first.find(".")
    while dot >= 0:
        suffix = first[dot:]
        if all(name.endswith(suffix) for name in names):
            return suffix
        dot = first.find(".", dot + 1)
    return ""

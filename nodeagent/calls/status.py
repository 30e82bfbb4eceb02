"""What a node says unasked: its telemetry, and what changed without an order (pure)."""

from __future__ import annotations

import msgspec


class DiskSeen(msgspec.Struct, frozen=True, array_like=True):
    """A disk as it is on a node. `state`: ok, syncing, degraded (the peer is missing or
    outdated), faulty (the local side cannot be read), inactive. `words`: what the driver itself
    calls a mirror that is not in order: its connection, its disk, its peer's."""

    uuid: str
    state: str
    role: str  # primary, secondary, "" where it has none
    sync_percent: float | None = None
    sync_eta_s: float | None = None
    words: str = ""


class InstanceSeen(msgspec.Struct, frozen=True, array_like=True):
    """An instance that the hypervisor knows."""

    uuid: str
    name: str
    state: str  # running, paused, stopped, crashed, user-down (its own user shut it down)
    memory_mib: int
    vcpus: int
    generation: int


class OsSeen(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An OS definition that the node has; `problem` is empty where it is valid."""

    name: str
    variants: tuple[str, ...] = ()
    problem: str = ""


class NodeStatus(msgspec.Struct, frozen=True, array_like=True):
    """Telemetry: sent every few seconds, kept in memory, never in the log as such."""

    node: str  # uuid
    boot_id: str
    memory_total_mib: int
    memory_free_mib: int
    memory_own_mib: int  # used by the node itself
    disk_total_mib: int  # of the cluster's volume group
    disk_free_mib: int
    cpus: int
    cpu_sockets: int
    cpu_nodes: int
    instances: tuple[InstanceSeen, ...] = ()
    disks: tuple[DiskSeen, ...] = ()
    spindles_total: int = 0
    spindles_free: int = 0
    simulated: bool = False  # the drivers are simulated
    versions: dict[str, str] = {}  # kernel, hypervisor, drbd, lvm, cairn
    file_total_mib: int = 0  # file storage
    file_free_mib: int = 0
    os: tuple[OsSeen, ...] | None = None  # None: not told
    bridges: tuple[str, ...] | None = None  # that NICs can be connected to; None: not told, or any
    allocators: tuple[str, ...] | None = None  # programs that choose nodes; None: not told


class DiskObserved(msgspec.Struct, frozen=True, kw_only=True, tag="disk"):
    """The state of a disk on this node has changed; becomes an event. Debounced by the agent."""

    disk: str
    instance: str
    state: str  # as in DiskSeen
    serial: int  # of this agent's observations, rising; with the agent's id it is the key


class InstanceObserved(msgspec.Struct, frozen=True, kw_only=True, tag="instance"):
    """An instance ended without an order, or runs without one; becomes an event."""

    instance: str
    state: str  # crashed, user-down, running
    generation: int
    serial: int


Observation = DiskObserved | InstanceObserved

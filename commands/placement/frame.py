"""What stays fixed while instances move: sizes and limits of nodes, tags, the instances' demands.

A `Frame` is built once from a `Cluster` and what the operator asked for; every `Placement` over it
shares it. Arrays are indexed by node. Amounts are int64 in MiB (or counts), ratios are float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from commands.placement import labels
from commands.placement.model import Cluster, Group, Instance, Policy

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Load = tuple[float, float, float, float]  # cpu, memory, disk, network

BASE_LOAD: Final[Load] = (1.0, 1.0, 1.0, 1.0)
NO_LOAD: Final[Load] = (0.0, 0.0, 0.0, 0.0)

#: Stands for "no limit" in integer comparisons, far from overflow when added to.
UNLIMITED: Final = 2**60


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can say about the nodes and instances of a cluster before placement."""

    loads: Mapping[str, Load] = msgspec.field(default_factory=dict)  # by instance name
    ignore_loads: bool = False
    exclusion_prefixes: tuple[str, ...] = ()
    fixed: frozenset[str] = frozenset()  # names of instances that must not move
    offline: frozenset[str] = frozenset()  # names of nodes to treat as offline
    max_cpu: float | None = None  # overrides the policy's vcpu ratio
    min_disk: float = 0.0  # ratio of disk to keep free
    static_node_memory: int = 0  # node memory of KVM nodes; 0 takes what they report


@dataclass(slots=True, frozen=True)
class Demand:
    """What one instance asks of a node, worked out once."""

    memory: int
    held: int  # memory counted on the primary
    reserved: int  # memory kept on the secondary
    disk: int  # on each node; 0 for storage that is not local
    local: bool
    mirrored: bool
    vcpus: int  # 0 while administratively offline
    spindle_use: int
    spindles: int | None  # of all disks, for exclusive storage
    load: Load
    tags: tuple[int, ...]  # exclusion tags
    wanted: tuple[int, ...]  # desired locations that some node has, as location numbers
    unmet: int  # desired locations in all
    forthcoming: bool


@dataclass(slots=True)
class Frame:
    """The fixed part of a placement problem. Treat as read-only."""

    cluster: Cluster
    settings: Settings
    names: tuple[str, ...]
    total_memory: Floats
    node_memory: Ints
    free_memory: Ints
    missing_memory: Ints  # recorded free minus reported free, fixed at load
    capacity: Ints  # memory for instances: total - node - max(0, missing)
    total_disk: Floats
    low_disk: Ints  # disk to keep free
    cpus: Floats
    cpu_speed: Floats
    node_cpus: Ints
    vcpu_ratio: Floats
    high_cpu: Ints  # floor(ratio * cpus), for statistics
    max_vcpus: Ints  # largest number of virtual CPUs that the ratio admits
    spindles: Ints
    high_spindles: Floats
    exclusive: Bools
    offline: Bools
    group: Ints
    can_receive: Bools | None  # [source, target]; None when nothing is restricted
    location_names: tuple[str, ...]
    located: Bools  # [node, location]
    tag_names: tuple[str, ...]  # exclusion tags that any instance bears
    prefixes: tuple[str, ...]
    desired: tuple[str, ...]
    _tag_numbers: dict[str, int] = field(default_factory=dict)
    _location_numbers: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.names)

    def policy(self, node: int) -> Policy:
        """The instance policy that holds on a node: its group's."""
        return self.cluster.groups[int(self.group[node])].policy

    def load_of(self, instance: Instance) -> Load:
        """The dynamic load of an instance: stated, or one of each unless loads are ignored."""
        if self.settings.ignore_loads:
            return NO_LOAD
        return self.settings.loads.get(instance.name, BASE_LOAD)

    def demand(self, instance: Instance) -> Demand:
        """Work out what `instance` asks of its nodes."""
        wanted = frozenset(labels.matching(instance.tags, self.desired)) if self.desired else ()
        known = (self._location_numbers.get(tag) for tag in sorted(wanted))
        tags = labels.matching(instance.tags, self.prefixes) if self.prefixes else ()
        return Demand(
            memory=instance.memory,
            held=instance.memory if instance.uses_memory else 0,
            reserved=instance.memory if instance.reserves_memory else 0,
            disk=instance.disk if instance.uses_local_storage else 0,
            local=instance.uses_local_storage,
            mirrored=instance.mirrored,
            vcpus=0 if instance.status == "ADMIN_offline" else instance.vcpus,
            spindle_use=instance.spindle_use,
            spindles=instance.total_spindles if instance.uses_local_storage else 0,
            load=self.load_of(instance),
            # A tag given twice does not make an instance exclude itself.
            tags=tuple(dict.fromkeys(self._tag_numbers[tag] for tag in tags)),
            wanted=tuple(number for number in known if number is not None),
            unmet=len(wanted),
            forthcoming=instance.forthcoming,
        )

    def shared_locations(self, first: int, second: int) -> int:
        """How many failure domains two nodes have in common."""
        if not self.location_names:
            return 0
        return int(np.count_nonzero(self.located[first] & self.located[second]))

    def unmet(self, node: int, demand: Demand) -> int:
        """How many desired locations of an instance the node does not offer."""
        if not demand.unmet:
            return 0
        return demand.unmet - sum(bool(self.located[node, place]) for place in demand.wanted)


def build_frame(
    cluster: Cluster, settings: Settings | None = None, *, extra: Sequence[Instance] = ()
) -> Frame:
    """Work out the fixed part for `cluster`; `extra` are instances that may be placed later.

    Numbers were range-checked by the reader of the data; nodes without memory, disk or CPUs
    give ratios of zero instead of a division by zero.
    """
    settings = settings or Settings()
    nodes = cluster.nodes
    total_memory = np.array([node.total_memory for node in nodes], dtype=np.float64)
    free_memory = _ints(node.free_memory for node in nodes)
    node_memory = _ints(_node_memory(node.node_memory, node.hypervisor, settings) for node in nodes)
    held = np.zeros(len(nodes), dtype=np.int64)
    using = [inst for inst in cluster.instances if inst.uses_memory]
    np.add.at(held, [inst.primary for inst in using], [inst.memory for inst in using])
    recorded = total_memory.astype(np.int64) - node_memory
    missing = recorded - held - free_memory
    cpus = np.array([node.cpus for node in nodes], dtype=np.float64)
    groups = [node.group for node in nodes]
    ratio = np.array(
        [_vcpu_ratio(cluster.groups[group], settings) for group in groups], dtype=np.float64
    )
    spindles = _ints(node.spindles for node in nodes)
    total_disk = np.array([node.total_disk for node in nodes], dtype=np.float64)
    spindle_ratio = np.array(
        [cluster.groups[group].policy.spindle_ratio for group in groups], dtype=np.float64
    )
    prefixes = settings.exclusion_prefixes + labels.exclusion_prefixes(cluster.tags)
    desired = labels.desired_prefixes(cluster.tags)
    tag_names = _exclusion_tags((*cluster.instances, *extra), prefixes)
    location_names, located = _locations(cluster)
    return Frame(
        cluster=cluster,
        settings=settings,
        names=tuple(node.name for node in nodes),
        total_memory=total_memory,
        node_memory=node_memory,
        free_memory=free_memory,
        missing_memory=missing,
        capacity=recorded - np.maximum(0, missing),
        total_disk=total_disk,
        low_disk=np.floor(settings.min_disk * total_disk).astype(np.int64),
        cpus=cpus,
        cpu_speed=np.array([node.cpu_speed for node in nodes], dtype=np.float64),
        node_cpus=_ints(node.node_cpus for node in nodes),
        vcpu_ratio=ratio,
        high_cpu=np.floor(ratio * cpus).astype(np.int64),
        max_vcpus=_max_vcpus(ratio, cpus),
        spindles=spindles,
        high_spindles=spindle_ratio * spindles,
        exclusive=np.array([node.exclusive_storage for node in nodes], dtype=np.bool_),
        offline=np.array(
            [node.offline or node.name in settings.offline for node in nodes], dtype=np.bool_
        ),
        group=_ints(groups),
        can_receive=_migration(cluster),
        location_names=location_names,
        located=located,
        tag_names=tag_names,
        prefixes=prefixes,
        desired=desired,
        _tag_numbers={tag: number for number, tag in enumerate(tag_names)},
        _location_numbers={tag: number for number, tag in enumerate(location_names)},
    )


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)


def _node_memory(reported: int, hypervisor: str | None, settings: Settings) -> int:
    static = settings.static_node_memory
    return static if static > 0 and hypervisor == "kvm" else reported


def _vcpu_ratio(group: Group, settings: Settings) -> float:
    return group.policy.vcpu_ratio if settings.max_cpu is None else settings.max_cpu


def _max_vcpus(ratio: Floats, cpus: Floats) -> Ints:
    """The largest u with u / cpus <= ratio, in the same floating point as the check itself."""
    limit = np.full(len(cpus), UNLIMITED, dtype=np.int64)
    for node in np.flatnonzero((ratio >= 0) & (cpus > 0)):
        allowed = int(min(ratio[node] * cpus[node], float(UNLIMITED // 2))) + 1
        while allowed > 0 and allowed / cpus[node] > ratio[node]:
            allowed -= 1
        limit[node] = allowed
    limit[(ratio >= 0) & (cpus <= 0)] = 0
    return limit


def _exclusion_tags(instances: Iterable[Instance], prefixes: Sequence[str]) -> tuple[str, ...]:
    if not prefixes:
        return ()
    found = {tag for inst in instances for tag in labels.matching(inst.tags, prefixes)}
    return tuple(sorted(found))


def _locations(cluster: Cluster) -> tuple[tuple[str, ...], Bools]:
    per_node = [labels.locations(cluster.tags, node.tags) for node in cluster.nodes]
    names = tuple(sorted(frozenset().union(*per_node))) if per_node else ()
    located = np.zeros((len(per_node), len(names)), dtype=np.bool_)
    for row, domains in enumerate(per_node):
        for column, name in enumerate(names):
            located[row, column] = name in domains
    return names, located


def _migration(cluster: Cluster) -> Bools | None:
    needs = [labels.migration_needs(cluster.tags, node.tags) for node in cluster.nodes]
    if not any(needs):
        return None
    accepts = [labels.migration_accepts(cluster.tags, node.tags) for node in cluster.nodes]
    return np.array([[need <= accept for accept in accepts] for need in needs], dtype=np.bool_)


def inconsistencies(frame: Frame, disk_used: Ints) -> list[str]:
    """Warn of nodes that miss more than 512 MiB of memory or 1 GiB of disk.

    `disk_used` is the disk of all instances on each node. The last node comes first, as in Ganeti.
    """
    missing_disk = frame.total_disk.astype(np.int64)
    missing_disk -= np.array([node.free_disk for node in frame.cluster.nodes], dtype=np.int64)
    missing_disk -= disk_used
    return [
        f"node {frame.names[node]} is missing {frame.missing_memory[node]} MB ram"
        f" and {missing_disk[node] // 1024} GB disk"
        for node in range(frame.size - 1, -1, -1)
        if frame.missing_memory[node] > 512 or missing_disk[node] > 1024
    ]

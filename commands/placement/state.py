"""`Placement`: where every instance is, and what that leaves on each node, kept up to date.

The four primitive changes (put and take, as primary and as secondary) touch one node each and
cost the same whatever the size of the cluster. They mirror htools exactly, its order of floating
point operations included, so that scores agree to the last bit. Checks are in `admission`.

Invariant: for every node, `reserve[n] == max(peers[n])`, and a node fails N+1 when
`unallocated[n] <= reserve[n]`. The `*_f` arrays count forthcoming instances too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from commands.placement.frame import Bools, Demand, Floats, Frame, Ints
from commands.placement.model import NO_NODE, Instance

#: The arrays that a move changes, row by row; saving the rows of a few nodes is an undo.
_ROWS: Final = (
    "unallocated",
    "free_memory_f",
    "free_disk",
    "free_disk_f",
    "used_cpus",
    "used_cpus_f",
    "free_spindles",
    "free_spindles_f",
    "inst_spindles",
    "inst_spindles_f",
    "load",
    "primary_count",
    "secondary_count",
    "peers",
    "reserve",
    "location_score",
    "tag_counts",
    "real_tag_counts",
)

Saved = tuple[list[int], list[npt.NDArray[np.generic]], list[list[int]], list[list[int]]]


class Placement:
    """A mutable assignment of instances to nodes; `copy` before a what-if.

    Instances are known by their position in `instances`; new ones are appended.
    """

    __slots__ = (
        *_ROWS,
        "_demands",
        "frame",
        "instances",
        "primaries",
        "primary",
        "secondaries",
        "secondary",
    )

    frame: Frame
    instances: list[Instance]
    primary: list[int]
    secondary: list[int]
    primaries: list[list[int]]  # per node, last put first; without forthcoming instances
    secondaries: list[list[int]]
    unallocated: Ints
    free_memory_f: Ints
    free_disk: Ints
    free_disk_f: Ints
    used_cpus: Ints
    used_cpus_f: Ints
    free_spindles: Ints
    free_spindles_f: Ints
    inst_spindles: Floats
    inst_spindles_f: Floats
    load: Floats  # [node, cpu memory disk network]
    primary_count: Ints
    secondary_count: Ints
    peers: Ints  # [node, primary]: memory kept here for instances of that primary
    reserve: Ints
    location_score: Ints
    tag_counts: Ints  # [node, exclusion tag]: primaries, forthcoming included
    real_tag_counts: Ints
    _demands: list[Demand | None]

    def __init__(self, frame: Frame) -> None:
        """Put every instance of the frame's cluster where it is recorded, without any check."""
        self.frame = frame
        self.instances = list(frame.cluster.instances)
        self._demands = [None] * len(self.instances)
        self.primary = [inst.primary for inst in self.instances]
        self.secondary = [inst.secondary for inst in self.instances]
        self._count_lists()
        self._count_resources()
        self._count_loads()
        self._count_tags()

    def _count_lists(self) -> None:
        size = self.frame.size
        self.primaries = [[] for _ in range(size)]
        self.secondaries = [[] for _ in range(size)]
        for index in range(len(self.instances) - 1, -1, -1):
            if self.instances[index].forthcoming:
                continue
            self.primaries[self.primary[index]].append(index)
            if self.secondary[index] != NO_NODE:
                self.secondaries[self.secondary[index]].append(index)
        self.primary_count = np.array([len(found) for found in self.primaries], dtype=np.int64)
        self.secondary_count = np.array([len(found) for found in self.secondaries], dtype=np.int64)

    def _count_resources(self) -> None:
        frame, items = self.frame, self.instances
        size, nodes = frame.size, frame.cluster.nodes
        pri = np.array(self.primary, dtype=np.int64)
        sec = np.array(self.secondary, dtype=np.int64)
        memory = np.array([item.memory for item in items], dtype=np.int64)
        held = np.array([item.uses_memory for item in items], dtype=np.bool_)
        reserves = np.array([item.reserves_memory for item in items], dtype=np.bool_)
        coming = np.array([item.forthcoming for item in items], dtype=np.bool_)
        local = np.array([item.uses_local_storage for item in items], dtype=np.bool_)
        offline = np.array([item.status == "ADMIN_offline" for item in items], dtype=np.bool_)
        vcpus = np.where(offline, 0, np.array([item.vcpus for item in items], dtype=np.int64))
        disk = np.where(local, np.array([item.disk for item in items], dtype=np.int64), 0)
        use = np.where(local, np.array([item.spindle_use for item in items], dtype=np.float64), 0)
        paired = sec != NO_NODE
        real = ~coming

        self.unallocated = frame.capacity.copy()
        np.subtract.at(self.unallocated, pri[held], memory[held])
        self.free_memory_f = frame.free_memory.copy()
        np.subtract.at(self.free_memory_f, pri[~held], memory[~held])
        self.free_disk = np.array([node.free_disk for node in nodes], dtype=np.int64)
        self.free_disk_f = self.free_disk.copy()
        np.subtract.at(self.free_disk_f, pri[coming], disk[coming])
        np.subtract.at(self.free_disk_f, sec[coming & paired], disk[coming & paired])
        self.used_cpus = frame.node_cpus.copy()
        np.add.at(self.used_cpus, pri[real], vcpus[real])
        self.used_cpus_f = frame.node_cpus.copy()
        np.add.at(self.used_cpus_f, pri, vcpus)
        self.free_spindles = np.array([node.free_spindles for node in nodes], dtype=np.int64)
        self.free_spindles_f = self.free_spindles.copy()
        for index in np.flatnonzero(coming):
            for node in {self.primary[index], self.secondary[index]} - {NO_NODE}:
                self.free_spindles_f[node] = self._spindles_after(
                    self.free_spindles_f, node, self.demand(int(index)).spindles, -1
                )
        shared = ~frame.exclusive
        self.inst_spindles = np.zeros(size)
        self.inst_spindles_f = np.zeros(size)
        for nodes_of, chosen in ((pri, np.ones_like(real)), (sec, paired)):
            for target, mask in (
                (self.inst_spindles, chosen & real),
                (self.inst_spindles_f, chosen),
            ):
                np.add.at(target, nodes_of[mask], use[mask] * shared[nodes_of[mask]])
        self.peers = np.zeros((size, size), dtype=np.int64)
        kept = paired & reserves & real
        np.add.at(self.peers, (sec[kept], pri[kept]), memory[kept])
        self.reserve = self.peers.max(axis=1) if size else np.zeros(0, dtype=np.int64)

    def _count_loads(self) -> None:
        """Add loads instance by instance, primary before secondary: the order fixes rounding."""
        self.load = np.zeros((self.frame.size, 4))
        where: list[int] = []
        what: list[tuple[float, float, float, float]] = []
        for index, inst in enumerate(self.instances):
            if inst.forthcoming:
                continue
            load = self.frame.load_of(inst)
            where.append(self.primary[index])
            what.append(load)
            if self.secondary[index] != NO_NODE:
                where.append(self.secondary[index])
                what.append((0.0, 0.0, load[2], 0.0))
        if where:
            np.add.at(self.load, where, np.array(what))

    def _count_tags(self) -> None:
        frame = self.frame
        shape = (frame.size, len(frame.tag_names))
        self.tag_counts = np.zeros(shape, dtype=np.int64)
        self.real_tag_counts = np.zeros(shape, dtype=np.int64)
        self.location_score = np.zeros(frame.size, dtype=np.int64)
        if not frame.tag_names and not frame.location_names and not frame.desired:
            return
        for index, inst in enumerate(self.instances):
            demand, node = self.demand(index), self.primary[index]
            for tag in demand.tags:
                self.tag_counts[node, tag] += 1
                self.real_tag_counts[node, tag] += not inst.forthcoming
            if not inst.forthcoming:
                self.location_score[node] += self._shared(index) + frame.unmet(node, demand)

    def copy(self) -> Placement:
        """An independent placement over the same frame."""
        other = object.__new__(Placement)
        other.frame = self.frame
        other.instances = self.instances.copy()
        other._demands = self._demands.copy()
        other.primary = self.primary.copy()
        other.secondary = self.secondary.copy()
        other.primaries = [found.copy() for found in self.primaries]
        other.secondaries = [found.copy() for found in self.secondaries]
        for name in _ROWS:
            setattr(other, name, getattr(self, name).copy())
        return other

    def demand(self, index: int) -> Demand:
        """What instance `index` asks of its nodes."""
        found = self._demands[index]
        if found is None:
            found = self._demands[index] = self.frame.demand(self.instances[index])
        return found

    def save(self, nodes: Sequence[int]) -> Saved:
        """Remember the rows of a few nodes, for `restore`."""
        rows = [node for node in dict.fromkeys(nodes) if node != NO_NODE]
        arrays = [getattr(self, name)[rows] for name in _ROWS]
        primaries = [self.primaries[node].copy() for node in rows]
        return rows, arrays, primaries, [self.secondaries[node].copy() for node in rows]

    def restore(self, saved: Saved) -> None:
        """Put back what `save` remembered."""
        rows, arrays, primaries, secondaries = saved
        for name, values in zip(_ROWS, arrays, strict=True):
            getattr(self, name)[rows] = values
        for node, first, second in zip(rows, primaries, secondaries, strict=True):
            self.primaries[node], self.secondaries[node] = first, second

    def fails_n1(self, scope: Ints | None = None) -> Bools:
        """Which nodes lack the memory for the failure of a peer."""
        if scope is None:
            return self.unallocated <= self.reserve
        failing: Bools = self.unallocated[scope] <= self.reserve[scope]
        return failing

    def add(self, instance: Instance, primary: int, secondary: int = NO_NODE) -> int:
        """Append an instance and put it on its nodes, without any check; return its index."""
        index = len(self.instances)
        self.instances.append(instance)
        self._demands.append(None)
        self.primary.append(primary)
        self.secondary.append(secondary)
        self.put_primary(primary, index)
        if secondary != NO_NODE:
            self.put_secondary(secondary, index)
        return index

    def add_equal(
        self, instances: Sequence[Instance], primaries: Sequence[int], secondaries: Sequence[int]
    ) -> None:
        """`add` many mirrored instances of one size, without tags, in order and at once."""
        if not instances:
            return
        demand = self.frame.demand(instances[0])
        assert not demand.tags, instances[0]
        assert not demand.unmet, instances[0]
        assert not demand.forthcoming, instances[0]
        first, size = len(self.instances), self.frame.size
        pri, sec = np.array(primaries), np.array(secondaries)
        held = np.bincount(pri, minlength=size)
        kept = np.bincount(sec, minlength=size)
        both, exclusive = held + kept, self.frame.exclusive
        self.unallocated -= held * demand.held
        self.free_memory_f -= held * demand.memory
        for disks in (self.free_disk, self.free_disk_f):
            disks -= both * demand.disk
        for cpus in (self.used_cpus, self.used_cpus_f):
            cpus += held * demand.vcpus
        for used in (self.inst_spindles, self.inst_spindles_f):
            used += np.where(exclusive, 0, both * demand.spindle_use)
        for free in (self.free_spindles, self.free_spindles_f):
            free[(both > 0) & ~exclusive] = 0
            free[exclusive] -= both[exclusive] * (demand.spindles or 0)
        disk_load = (0.0, 0.0, demand.load[2], 0.0)
        # One after the other, as single additions would round.
        loads = np.array([demand.load, disk_load] * len(instances))
        np.add.at(self.load, np.stack([pri, sec], axis=1).ravel(), loads)
        self.primary_count += held
        self.secondary_count += kept
        np.add.at(self.peers, (sec, pri), demand.reserved)
        self.reserve = self.peers.max(axis=1)
        for offset, (p, s) in enumerate(zip(primaries, secondaries, strict=True)):
            self.primaries[p].insert(0, first + offset)
            self.secondaries[s].insert(0, first + offset)
            self.location_score[p] += self.frame.shared_locations(p, s)
        self.instances += instances
        self._demands += [demand] * len(instances)
        self.primary += primaries
        self.secondary += secondaries

    def put_primary(self, node: int, index: int) -> None:
        """Count instance `index` as a primary of `node`."""
        demand = self.demand(index)
        if not demand.forthcoming:
            self._hold(node, demand, 1)
            self.primaries[node].insert(0, index)
            self.location_score[node] += self._shared(index) + self.frame.unmet(node, demand)
            for tag in demand.tags:
                self.real_tag_counts[node, tag] += 1
        self._hold_f(node, demand, 1)

    def take_primary(self, node: int, index: int) -> None:
        """Stop counting instance `index` as a primary of `node`; its two nodes are still set."""
        demand = self.demand(index)
        if not demand.forthcoming:
            self._hold(node, demand, -1)
            self.primaries[node].remove(index)
            self.location_score[node] -= self._shared(index) + self.frame.unmet(node, demand)
            for tag in demand.tags:
                self.real_tag_counts[node, tag] -= 1
        self._hold_f(node, demand, -1)

    def put_secondary(self, node: int, index: int) -> None:
        """Count instance `index` as a secondary of `node`, for its present primary."""
        demand = self.demand(index)
        if not demand.forthcoming:
            self._keep(node, demand, 1)
            self.secondaries[node].insert(0, index)
            kept = self.peers[node, self.primary[index]] + demand.reserved
            self.peers[node, self.primary[index]] = kept
            self.reserve[node] = max(self.reserve[node], kept)
        self._keep_f(node, demand, 1)

    def take_secondary(self, node: int, index: int) -> None:
        """Stop counting instance `index` as a secondary of `node`."""
        demand = self.demand(index)
        if not demand.forthcoming:
            self._keep(node, demand, -1)
            self.secondaries[node].remove(index)
            kept = self.peers[node, self.primary[index]]
            self.peers[node, self.primary[index]] = kept - demand.reserved
            if kept >= self.reserve[node]:
                self.reserve[node] = self.peers[node].max()
        self._keep_f(node, demand, -1)

    def _hold(self, node: int, demand: Demand, sign: int) -> None:
        self.unallocated[node] -= sign * demand.held
        self.used_cpus[node] += sign * demand.vcpus
        if sign > 0:
            self.load[node] += demand.load
        else:
            self.load[node] -= demand.load
        self.primary_count[node] += sign
        self._store(node, demand, sign)

    def _keep(self, node: int, demand: Demand, sign: int) -> None:
        self.load[node, 2] += sign * demand.load[2]
        self.secondary_count[node] += sign
        self._store(node, demand, sign)

    def _store(self, node: int, demand: Demand, sign: int) -> None:
        self.free_disk[node] -= sign * demand.disk
        self.free_spindles[node] = self._spindles_after(
            self.free_spindles, node, demand.spindles, -sign
        )
        if demand.local and not self.frame.exclusive[node]:
            self.inst_spindles[node] += sign * demand.spindle_use

    def _hold_f(self, node: int, demand: Demand, sign: int) -> None:
        self.free_memory_f[node] -= sign * demand.memory
        self.used_cpus_f[node] += sign * demand.vcpus
        for tag in demand.tags:
            self.tag_counts[node, tag] += sign
        self._keep_f(node, demand, sign)

    def _keep_f(self, node: int, demand: Demand, sign: int) -> None:
        self.free_disk_f[node] -= sign * demand.disk
        self.free_spindles_f[node] = self._spindles_after(
            self.free_spindles_f, node, demand.spindles, -sign
        )
        if demand.local and not self.frame.exclusive[node]:
            self.inst_spindles_f[node] += sign * demand.spindle_use

    def _spindles_after(self, array: Ints, node: int, spindles: int | None, sign: int) -> int:
        """Free spindles are a resource with exclusive storage only; elsewhere they read 0."""
        if not self.frame.exclusive[node]:
            return 0
        return int(array[node]) + sign * (spindles or 0)

    def _shared(self, index: int) -> int:
        secondary = self.secondary[index]
        if secondary == NO_NODE:
            return 0
        return self.frame.shared_locations(self.primary[index], secondary)

"""The model and the score from their definitions: slow, plain, and without any increment.

Everything is recounted from the lists of instances for every question. Nothing here is shared
with the engine but the values of `model` and the readers of tags in `labels`.
"""

from __future__ import annotations

import math
from collections import Counter

from commands.placement import labels
from commands.placement.frame import Frame
from commands.placement.model import Instance, Node


class Reference:
    """A cluster with its instances on given nodes."""

    def __init__(self, frame: Frame, primary: list[int], secondary: list[int]) -> None:
        self.frame = frame
        self.cluster = frame.cluster
        self.primary, self.secondary = primary, secondary
        self.instances = list(enumerate(self.cluster.instances))
        self.online = [
            index for index, _ in enumerate(self.cluster.nodes) if not frame.offline[index]
        ]

    def on(self, node: int, *, forthcoming: bool) -> list[tuple[int, Instance, str]]:
        """The instances of a node, each with its role there."""
        found = []
        for index, inst in self.instances:
            if inst.forthcoming and not forthcoming:
                continue
            if self.primary[index] == node:
                found.append((index, inst, "p"))
            if self.secondary[index] == node:
                found.append((index, inst, "s"))
        return found

    def missing(self, node: int) -> int:
        """Unaccounted memory: as recorded minus as reported, where the instances were."""
        data = self.cluster.nodes[node]
        held = sum(
            inst.memory for _, inst in self.instances if inst.primary == node and inst.uses_memory
        )
        return int(data.total_memory) - data.node_memory - held - data.free_memory

    def unallocated(self, node: int) -> int:
        data = self.cluster.nodes[node]
        held = sum(
            inst.memory
            for _, inst, role in self.on(node, forthcoming=False)
            if role == "p" and inst.uses_memory
        )
        return int(data.total_memory) - data.node_memory - held - max(0, self.missing(node))

    def free_memory_promised(self, node: int) -> int:
        """Reported free memory, less what stopped and forthcoming instances would take.

        Moving an instance always shifts its whole memory here.
        """
        free = self.cluster.nodes[node].free_memory
        for index, inst in self.instances:
            if inst.primary == node and not inst.uses_memory:
                free -= inst.memory
            if inst.primary == node and self.primary[index] != node:
                free += inst.memory
            if inst.primary != node and self.primary[index] == node:
                free -= inst.memory
        return free

    def reserve(self, node: int) -> int:
        peers: Counter[int] = Counter()
        for index, inst, role in self.on(node, forthcoming=False):
            if role == "s" and inst.reserves_memory:
                peers[self.primary[index]] += inst.memory
        return max(peers.values(), default=0)

    def free_disk(self, node: int, *, forthcoming: bool) -> float:
        """The part of the disk (or spindles) that is free, from what moved since the load."""
        data = self.cluster.nodes[node]
        free = data.free_spindles if data.exclusive_storage else data.free_disk
        for index, inst in self.instances:
            if inst.forthcoming and not forthcoming:
                continue
            was = (inst.primary == node) + (inst.secondary == node)
            now = (self.primary[index] == node) + (self.secondary[index] == node)
            if inst.forthcoming:
                was = 0  # not yet taken off what the node reports
            free += (was - now) * self.stored(data, inst)
        total = data.spindles if data.exclusive_storage else data.total_disk
        return free / total if total else 1.0

    @staticmethod
    def stored(node: Node, inst: Instance) -> int:
        if not inst.uses_local_storage:
            return 0
        return (inst.total_spindles or 0) if node.exclusive_storage else inst.disk

    def cpu(self, node: int, *, forthcoming: bool) -> float:
        data = self.cluster.nodes[node]
        used = data.node_cpus + sum(
            inst.vcpus
            for _, inst, role in self.on(node, forthcoming=forthcoming)
            if role == "p" and inst.status != "ADMIN_offline"
        )
        return used / data.cpus / data.cpu_speed

    def spindles(self, node: int, *, forthcoming: bool) -> float:
        data = self.cluster.nodes[node]
        used = sum(
            inst.spindle_use
            for _, inst, _ in self.on(node, forthcoming=forthcoming)
            if inst.uses_local_storage and not data.exclusive_storage
        )
        limit = self.frame.policy(node).spindle_ratio * data.spindles
        return used / limit if limit else 0.0

    def load(self, node: int, which: int) -> float:
        return math.fsum(
            self.frame.load_of(inst)[which]
            for _, inst, role in self.on(node, forthcoming=False)
            if role == "p" or which == 2
        )

    def fails_n1(self, node: int) -> bool:
        return self.unallocated(node) <= self.reserve(node)

    def tags(self, node: int, *, forthcoming: bool) -> Counter[str]:
        prefixes = self.frame.settings.exclusion_prefixes + labels.exclusion_prefixes(
            self.cluster.tags
        )
        found: Counter[str] = Counter()
        for _, inst, role in self.on(node, forthcoming=forthcoming):
            if role == "p" and prefixes:
                found.update(set(labels.matching(inst.tags, prefixes)))
        return found

    def domains(self, node: int) -> frozenset[str]:
        return labels.locations(self.cluster.tags, self.cluster.nodes[node].tags)

    def location_score(self, node: int) -> int:
        total = 0
        prefixes = labels.desired_prefixes(self.cluster.tags)
        for index, inst, role in self.on(node, forthcoming=False):
            if role != "p":
                continue
            if self.secondary[index] >= 0:
                total += len(self.domains(node) & self.domains(self.secondary[index]))
            wanted = set(labels.matching(inst.tags, prefixes)) if prefixes else set()
            total += len(wanted - self.domains(node))
        return total

    def location_exclusion(self) -> int:
        pairs: Counter[tuple[str, str]] = Counter()
        for node in self.online:
            for tag, count in self.tags(node, forthcoming=False).items():
                for domain in self.domains(node):
                    pairs[domain, tag] += count
        return sum(count - 1 for count in pairs.values())

    def score(self) -> float:
        """The weighted sum of the twenty statistics."""
        if not self.online:
            return 0.0
        nodes = self.cluster.nodes
        memory = [nodes[node].total_memory for node in range(len(nodes))]
        n1 = sum(
            len(self.on(node, forthcoming=False)) for node in self.online if self.fails_n1(node)
        )
        off = [node for node in range(len(nodes)) if node not in self.online]
        offline = [role for node in off for _, _, role in self.on(node, forthcoming=False)]
        clashes = sum(
            count - 1
            for node in self.online
            for count in self.tags(node, forthcoming=True).values()
        )
        kept = {node: self.reserve(node) / memory[node] for node in self.online}
        return math.fsum(
            [
                0.5 * self.std(lambda n: self.unallocated(n) / memory[n]),
                0.5 * self.std(lambda n: self.free_disk(n, forthcoming=False)),
                n1,
                self.std(lambda n: kept[n]),
                4 * len(offline),
                16 * offline.count("p"),
                0.5 * self.std(lambda n: self.cpu(n, forthcoming=False)),
                *(self.std(lambda n, k=k: self.load(n, k)) for k in range(4)),
                2 * clashes,
                0.5 * self.std(lambda n: self.spindles(n, forthcoming=False)),
                0.5 * self.std(lambda n: self.free_memory_promised(n) / memory[n]),
                0.5 * self.std(lambda n: self.free_disk(n, forthcoming=True)),
                0.5 * self.std(lambda n: self.cpu(n, forthcoming=True)),
                0.5 * self.std(lambda n: self.spindles(n, forthcoming=True)),
                sum(self.location_score(node) for node in self.online),
                self.location_exclusion(),
                0.25 * math.fsum(kept.values()),
            ]
        )

    def std(self, value) -> float:  # type: ignore[no-untyped-def]  # any callable of a node
        """Standard deviation, divided by n, over the online nodes."""
        found = [value(node) for node in self.online]
        mean = math.fsum(found) / len(found)
        return math.sqrt(math.fsum((x - mean) ** 2 for x in found) / len(found))

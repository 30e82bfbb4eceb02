"""Simulated nodes without agents: drivers in one directory, and a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

from nodeagent.simulated.hypervisor import SimulatedHypervisor
from nodeagent.simulated.lab import Lab, SimulatedNode
from nodeagent.simulated.mirror import SimulatedMirrors
from nodeagent.simulated.volumes import SimulatedVolumes
from nodeagent.storage.disks import Disks
from nodeagent.task_scope import TaskScope

SIZE = SimulatedNode(
    memory_mib=4096, own_memory_mib=0, disk_mib=10_240, sync_mib_s=100.0, migration_mib_s=1e6
)
SCOPE = TaskScope()


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LabNode:
    """The drivers of one simulated node."""

    def __init__(self, root: Path, name: str, clock: Clock) -> None:
        self.uuid = f"uuid-{name}"
        self.lab = Lab(root, name)
        self.lab.name_node(self.uuid)
        self.lab.claim()
        home = self.lab.home
        self.volumes = SimulatedVolumes(
            home / "volumes", home / "volumes.json", kinds=("lvm",), total_mib=SIZE.disk_mib
        )
        self.hypervisor = SimulatedHypervisor(self.lab, self.uuid, size=SIZE)
        self.mirrors = SimulatedMirrors(
            self.lab, self.uuid, broken=self.volumes.broken_paths,
            in_use=self.hypervisor.uses_disk, rate_mib_s=SIZE.sync_mib_s, now=clock,
        )  # fmt: skip
        self.disks = Disks((self.volumes,), self.mirrors, in_use=self.hypervisor.uses_disk)

    def state(self, disk: str = "d1") -> str:
        """The state of a disk as this node sees it."""
        return {seen.uuid: seen.state for seen in self.disks.seen()}[disk]

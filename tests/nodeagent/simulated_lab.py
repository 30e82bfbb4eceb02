"""Simulated nodes without agents: drivers in one directory, and a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

from nodeagent.calls import Device, DiskSpec, InstanceSpec
from nodeagent.simulated.hypervisor import SimulatedHypervisor
from nodeagent.simulated.lab import Lab, SimulatedNode
from nodeagent.simulated.mirror import SimulatedMirrors
from nodeagent.simulated.volumes import SimulatedVolumes
from nodeagent.storage.disks import Disks
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_mirrors import StorageNode
from tests.nodeagent.contract_volumes import LocalContent
from tests.nodeagent.specs import GUEST, drbd_disk, instance, plain_disk

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
        self.uuid, self.address = f"uuid-{name}", "127.0.0.1"
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
        self.content = LocalContent()
        self.disks = Disks((self.volumes,), self.mirrors, in_use=self.hypervisor.uses_disk)

    def guest(self, *, generation: int = 1, memory_mib: int = 512) -> InstanceSpec:
        """The instance that the contract is tried with."""
        return instance(plain_disk(), uuid=GUEST, generation=generation, memory_mib=memory_mib)

    def devices(self) -> tuple[Device, ...]:
        """Where its disk is."""
        return (Device(path="/dev/null"),)

    def interfaces(self) -> tuple[str, ...]:
        """The interface of its NIC."""
        return ("tap0",)

    def more(self) -> tuple[InstanceSpec, Device]:
        """That instance with one disk more, and where it is."""
        return instance(plain_disk(), plain_disk("d2"), uuid=GUEST), Device(path="/dev/zero")

    def await_boot(self) -> None:
        """A simulated guest has no system."""

    def reboots(self) -> int:
        """How often it was rebooted."""
        return self.hypervisor.effects().get(f"reboot-guest {GUEST}", 0)

    def disk(
        self, peer: StorageNode, *, uuid: str = "d1", part: str = "", larger: bool = False,
        slow: bool = False,
    ) -> DiskSpec:  # fmt: skip
        """See StorageNode. Every full sync takes some seconds of the clock here."""
        return drbd_disk(peer.uuid, uuid=uuid, part=part, size_mib=2048 if larger else 1024)

    def state(self, disk: str = "d1") -> str:
        """The state of a disk as this node sees it."""
        return {seen.uuid: seen.state for seen in self.disks.seen()}[disk]

"""A whole simulated node: its drivers, and what the lab may do to it (edge)."""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.allocators import Allocators
from nodeagent.executor import Drivers
from nodeagent.os_interface import OsInterface
from nodeagent.simulated.faults import Faults
from nodeagent.simulated.hypervisor import SimulatedHypervisor
from nodeagent.simulated.lab import Lab, SimulatedNode
from nodeagent.simulated.mirror import SimulatedMirrors
from nodeagent.simulated.network import SimulatedNetwork
from nodeagent.simulated.strays import SimulatedBlockDevices, SimulatedGroup
from nodeagent.simulated.volumes import SimulatedVolumes
from nodeagent.storage.disks import Disks


@dataclass(frozen=True, slots=True)
class SimulatedMachine:
    """The simulated parts of one node."""

    lab: Lab
    volumes: SimulatedGroup
    files: SimulatedVolumes
    shared: SimulatedVolumes
    devices: SimulatedBlockDevices
    mirrors: SimulatedMirrors
    hypervisor: SimulatedHypervisor
    network: SimulatedNetwork
    faults: Faults
    drivers: Drivers

    def effects(self) -> dict[str, int]:
        """How often each effect happened on this node, by `what subject`."""
        parts = (self.volumes, self.files, self.mirrors, self.hypervisor, self.network)
        return {key: times for part in parts for key, times in part.effects().items()}

    def break_disk(self, disk: str, *, broken: bool) -> tuple[str, ...]:
        """Make the volumes of a disk unreadable, or readable again; returns their names."""
        pools = (self.volumes, self.files)
        return tuple(name for pool in pools for name in pool.break_disk(disk, broken=broken))

    def plant(self, name: str, *, size_mib: int, in_use: str) -> None:
        """A person has made a logical volume, or connected a block device (`/dev/disk/...`)."""
        pool = self.devices if name.startswith("/") else self.volumes
        pool.plant(name, size_mib=size_mib, in_use=in_use)


def simulated_machine(
    lab: Lab, node: str, size: SimulatedNode, os: OsInterface, allocators: Allocators
) -> SimulatedMachine:
    """Return the simulated parts of node `node` (uuid), as they were left.

    If the lab has cut its power, whatever a node keeps in its memory is gone.
    """
    home = lab.home
    volumes = SimulatedGroup(
        home / "volumes", home / "volumes.json", kinds=("lvm",), total_mib=size.disk_mib
    )
    devices = SimulatedBlockDevices(home / "devices", home / "devices.json")
    files = SimulatedVolumes(
        home / "files", home / "files.json", kinds=("file",), total_mib=size.file_mib
    )
    shared = SimulatedVolumes(
        lab.root / "shared" / "volumes", lab.root / "shared" / "volumes.json",
        kinds=("sharedfile",), total_mib=size.shared_mib, shared=True,
    )  # fmt: skip
    hypervisor = SimulatedHypervisor(lab, node, size=size)
    mirrors = SimulatedMirrors(
        lab, node, broken=volumes.broken_paths, in_use=hypervisor.uses_disk,
        rate_mib_s=size.sync_mib_s,
    )  # fmt: skip
    network = SimulatedNetwork(lab, links=size.links)
    faults = Faults(home / "faults.json")
    if lab.power_was_cut:
        for part in (volumes, files, devices, mirrors, hypervisor, network):
            part.lose_power()
        lab.power_restored()
    drivers = Drivers(
        disks=Disks((volumes, files, shared, devices), mirrors, in_use=hypervisor.uses_disk),
        hypervisors=(hypervisor,),
        networks=(network,),
        facts=network.facts,
        addresses=network,
        os=os,
        boot_id=lab.boot_id,
        simulated=True,
        interference=faults,
        allocators=allocators,
        use_volume_group=volumes.use_group,
    )
    return SimulatedMachine(
        lab=lab, volumes=volumes, files=files, shared=shared, devices=devices,
        mirrors=mirrors, hypervisor=hypervisor, network=network, faults=faults, drivers=drivers,
    )  # fmt: skip

"""Puts the real drivers of a node together (edge).

What is missing on the machine stops nothing here: a driver says so in its `needs`, and in its
answer to whoever asks it to act. (The simulated ones: simulated/node.py.)
"""

from __future__ import annotations

import functools
from pathlib import Path

from eventstore.access.keys import CurveKeys
from nodeagent import host
from nodeagent.allocators import Allocators
from nodeagent.executor import Drivers
from nodeagent.host_facts import look_around
from nodeagent.host_versions import HostVersions
from nodeagent.hypervisor.kvm.driver import Kvm
from nodeagent.identity import AgentConfig
from nodeagent.network.master_address import MasterAddress
from nodeagent.network.taps import Taps
from nodeagent.os_interface import OsInterface
from nodeagent.own_address import own_address
from nodeagent.storage.block_devices import BlockDevices
from nodeagent.storage.disks import Disks
from nodeagent.storage.drbd import Drbd
from nodeagent.storage.files import Files
from nodeagent.storage.lvm import Lvm
from nodeagent.storage.mirror_secret import mirror_secret
from nodeagent.storage.system import LocalSystem


def real_drivers(
    node: str, keys: CurveKeys, config: AgentConfig, os: OsInterface, allocators: Allocators
) -> Drivers:
    """Return what acts on this machine as node `node` (uuid), whose agent has these keys."""
    system = LocalSystem()
    hypervisor = Kvm(node, config.kvm)
    lvm = Lvm(system)
    volumes = (
        lvm,
        Files(config.file_path, kind="file"),
        Files(config.shared_file_path, kind="sharedfile"),
        BlockDevices(),
    )
    mirrors = Drbd(
        system,
        secret=lambda disk: mirror_secret(keys.secret, disk.peer_key, disk.uuid),
        route=lambda peer: own_address([f"tcp://{peer}:7788"]),
    )
    return Drivers(
        disks=Disks(volumes, mirrors, in_use=hypervisor.uses_disk),
        hypervisors=(hypervisor,),
        networks=(Taps(Path(config.run_directory) / "taps"),),
        addresses=MasterAddress(),
        facts=functools.partial(
            look_around,
            directories={"file": config.file_path, "sharedfile": config.shared_file_path},
            disk_sizes_mib=lvm.disk_sizes_mib,
        ),
        versions=HostVersions(system),
        use_volume_group=lvm.use_group,
        os=os,
        boot_id=host.boot_id(),
        simulated=False,
        allocators=allocators,
    )

"""How much room is left on a node: what was seen, less what is promised and not yet there (pure).

    memory  free as last seen
            - reserved by open plans
            - of instances that are wanted up here and were not seen to run
    disk    the smaller of: free as last seen; size less all disks of the configuration
            - reserved by open plans

What was seen may be some seconds old. A thing that was made since is counted by the configuration,
and one that is being made by its reservation; a thing may be counted twice for a moment, never not
at all. So two decisions never promise the same room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from commands.specs import DRBD_META_MIB, whole
from nodeagent.calls import NodeStatus
from projections import params
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Disk, Instance, Node
from projections.plans import Reservation

LVM = frozenset({"plain", "drbd"})
FILE = frozenset({"file"})


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a node, in MiB; never below 0. `reserved`: open plans hold a part."""

    node: str  # uuid
    memory_mib: int
    disk_mib: int
    file_mib: int
    reserved: bool = False

    def of(self, template: str) -> int | None:
        """Return the room for disks of a template; None where it is not bounded by the node."""
        if template in LVM:
            return self.disk_mib
        return self.file_mib if template in FILE else None


def room_on(cluster: Cluster, node: Node, status: NodeStatus) -> Room:
    """Return what is free on `node`, which was last seen as `status`."""
    held = tuple(_reservations(cluster, node.uuid))
    held_disk = sum(each.disk_mib for each in held)
    lvm, file = _configured(cluster, node.uuid)
    memory = status.memory_free_mib - sum(each.memory_mib for each in held)
    memory -= sum(_not_yet_running(cluster, node.uuid, status))
    return Room(
        node=node.uuid,
        memory_mib=max(0, memory),
        disk_mib=max(0, min(status.disk_free_mib, status.disk_total_mib - lvm) - held_disk),
        file_mib=max(0, min(status.file_free_mib, status.file_total_mib - file) - held_disk),
        reserved=bool(held),
    )


def disk_need_mib(template: str, sizes_mib: Iterable[int]) -> int:
    """Return what disks of these sizes take on one node."""
    extra = DRBD_META_MIB if template == "drbd" else 0
    return sum(size + extra for size in sizes_mib) if template in LVM | FILE else 0


def minors_in_use(cluster: Cluster, node: str) -> set[int]:
    """Return the DRBD minors of a node that disks have or open plans reserved."""
    taken = {minor for held in _reservations(cluster, node) for minor in held.minors}
    for disk in _disks_on(cluster, node):
        taken.update(
            side.minor for side in disk.sides if side.node == node and side.minor is not None
        )
    return taken


def ports_in_use(cluster: Cluster, nodes: Iterable[str]) -> set[int]:
    """Return the ports that instances with a part on any of these nodes, or open plans, use.

    A port is unique per node, not in the whole cluster, so that their number does not bound it.
    """
    taken = {port for reserved in cluster.reserved.values() for port in reserved.ports}
    for node in nodes:
        for uuid in cluster.on_node(node) | cluster.mirrored_on(node):
            instance = cluster.instances[uuid]
            ports = (instance.network_port, *(disk.port for disk in instance.disks))
            taken.update(port for port in ports if port is not None)
    return taken


def lowest_free(taken: set[int], first: int = 0) -> int:
    """Return the lowest number from `first` that is not in `taken`."""
    number = first
    while number in taken:
        number += 1
    return number


def memory_need_mib(cluster: Cluster, instance: Instance) -> int:
    """Return the memory that an instance is to have."""
    return whole(params.of_instance(cluster, instance), "maxmem")


def running(status: NodeStatus | None, instance: str) -> bool:
    """Say whether the instance was seen to run on a node."""
    if status is None:
        return False
    return any(each.uuid == instance and each.state in RUNS for each in status.instances)


RUNS = ("running", "paused")


def seen_running(seen: Mapping[str, NodeStatus], instance: Instance) -> bool:
    """Say whether the instance was seen to run on its primary node."""
    return running(seen.get(instance.primary), instance.uuid)


def _not_yet_running(cluster: Cluster, node: str, status: NodeStatus) -> Iterable[int]:
    there = {each.uuid for each in status.instances if each.state in RUNS}
    for uuid in cluster.on_node(node):
        instance = cluster.instances[uuid]
        if instance.admin_state == ADMIN_UP and uuid not in there:
            yield memory_need_mib(cluster, instance)


def _configured(cluster: Cluster, node: str) -> tuple[int, int]:
    """Return the MiB of volume group and file storage that the disks of a node are to have."""
    lvm = file = 0
    for disk in _disks_on(cluster, node):
        if disk.vg in ("", cluster.settings.vg_name) and disk.template in LVM:
            lvm += disk_need_mib(disk.template, (disk.size_mib,))
        elif disk.template in FILE:
            file += disk.size_mib
    return lvm, file


def _disks_on(cluster: Cluster, node: str) -> Iterable[Disk]:
    for uuid in cluster.on_node(node) | cluster.mirrored_on(node):
        yield from cluster.instances[uuid].disks


def _reservations(cluster: Cluster, node: str) -> Iterable[Reservation]:
    for reserved in cluster.reserved.values():
        yield from (each for each in reserved.nodes if each.node == node)

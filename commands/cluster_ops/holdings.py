"""What a node should hold against what it holds: volumes and DRBD minors (pure).

A node answers with sums of what is there (eventstore/set_sums.py), and lists the buckets that it is
asked for. So a difference is seen in any bucket, and named in those that are listed.
"""

from __future__ import annotations

from collections.abc import Iterator

from commands.adoption import MUST_ADOPT
from commands.cluster_ops.finding import ERROR, WARNING, Checks, Finding, answered
from commands.disks import SHARED
from eventstore.set_sums import bucket_of, differing, sums_of
from nodeagent.calls import NodeCheck, minor_entry
from projections.cluster import Cluster
from projections.objects import Disk, Instance, Node, Side

OWN_DISKS = ("plain", "drbd", "file")  # templates whose volumes are on the instance's nodes


def unlike(cluster: Cluster, node: Node, check: NodeCheck) -> tuple[int, ...]:
    """Return the buckets in which the node holds something else than it should."""
    if check.holds is None:
        return ()
    return differing(sums_of(_wanted_names(cluster, node)), check.holds.sums)


def uncompared(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Whatever differs has been named."""
    for node, check in answered(cluster, checks):
        if check.holds is None:
            text = (
                "tells what it holds in a way that this version cannot compare: upgrade its agent"
            )
            yield Finding(WARNING, "ENODEVERSION", node.name, text)
            continue
        left = set(unlike(cluster, node, check)).difference(check.holds.listed)
        if left:
            text = (
                "holds more that differs than one answer can tell: "
                f"{len(left)} parts of it were not compared; put the rest in order and verify again"
            )
            yield Finding(WARNING, "ENODEORPHANLV", node.name, text)


def orphan_volumes(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each volume that this cluster made belongs to a side of a disk, or is shared by all nodes."""
    shared = {
        side.volume
        for instance in cluster.instances.values()
        if instance.template in SHARED
        for disk in instance.disks
        for side in disk.sides
    }
    for node, check in answered(cluster, checks):
        known = shared | {volume for _, volume in _volumes(cluster, node)}
        for volume in check.holds.volumes if check.holds is not None else ():
            if volume.owner and volume.name not in known:
                text = f"volume {volume.name} ({volume.size_mib} MiB) belongs to no disk"
                yield Finding(WARNING, "ENODEORPHANLV", node.name, text)


def missing_volumes(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each side of a disk has its volumes."""
    for node, check in answered(cluster, checks):
        if check.holds is None or not check.holds.listed:
            continue
        listed, found = set(check.holds.listed), {each.name for each in check.holds.volumes}
        for instance, volume in _volumes(cluster, node):
            own = instance.template in OWN_DISKS
            if own and volume not in found and bucket_of(volume) in listed:
                text = f"volume {volume} is missing on {node.name}"
                yield Finding(ERROR, "EINSTANCEMISSINGDISK", instance.name, text)


def minors(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """The mirrors that are up on a node are those that should be."""
    for node, check in answered(cluster, checks):
        if check.holds is None or not check.holds.listed:
            continue
        listed, up = set(check.holds.listed), check.holds.minors
        wanted = {minor: (instance, disk) for instance, disk, minor in _minors(cluster, node)}
        for minor, disk_uuid in up.items():
            if minor not in wanted or wanted[minor][1].uuid != disk_uuid:
                text = f"DRBD minor {minor} is in use and belongs to no disk"
                yield Finding(ERROR, "ENODEDRBD", node.name, text)
        for minor, (instance, disk) in wanted.items():
            told = bucket_of(minor_entry(minor, disk.uuid)) in listed
            if instance.disks_active and told and minor not in up:
                text = f"DRBD minor {minor} of {instance.name} is not active"
                yield Finding(ERROR, "ENODEDRBD", node.name, text)


def _wanted_names(cluster: Cluster, node: Node) -> set[str]:
    names = {volume for _, volume in _volumes(cluster, node)}
    return names | {
        minor_entry(minor, disk.uuid)
        for instance, disk, minor in _minors(cluster, node)
        if instance.disks_active
    }


def _volumes(cluster: Cluster, node: Node) -> Iterator[tuple[Instance, str]]:
    for instance, _, side in _sides(cluster, node):
        if instance.template in MUST_ADOPT:
            continue  # a block device is on no list of what this cluster made
        yield from ((instance, name) for name in (side.volume, side.meta_volume) if name)


def _minors(cluster: Cluster, node: Node) -> Iterator[tuple[Instance, Disk, int]]:
    for instance, disk, side in _sides(cluster, node):
        if side.minor is not None:
            yield instance, disk, side.minor


def _sides(cluster: Cluster, node: Node) -> Iterator[tuple[Instance, Disk, Side]]:
    for uuid in sorted(cluster.on_node(node.uuid) | cluster.mirrored_on(node.uuid)):
        instance = cluster.instances[uuid]
        for disk in instance.disks:
            yield from ((instance, disk, side) for side in disk.sides if side.node == node.uuid)

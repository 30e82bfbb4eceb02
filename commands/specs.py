"""What a node must be told of an instance and its disks, from the configuration (pure).

Every value that is in force is filled in here, so an agent needs no configuration of its own. A
mirror whose other side is out of reach is described as standing alone, so that its node does not
wait for a peer that cannot answer.
"""

from __future__ import annotations

from commands.nodes import why_unreachable
from nodeagent.calls import DiskSpec, InstanceSpec, NicSpec, VolumeSpec
from projections import params
from projections.cluster import Cluster
from projections.objects import Disk, Instance, Nic, Params, Side

DRBD_META_MIB = 128
VOLUME_KINDS = {
    "plain": "lvm",
    "drbd": "lvm",
    "file": "file",
    "sharedfile": "sharedfile",
    "blockdev": "blockdev",
}


def volumes(
    cluster: Cluster, instance: Instance, disk: Disk, side: Side
) -> tuple[VolumeSpec, VolumeSpec | None]:
    """Return the data volume of one side of a disk, and its metadata volume, if it has one."""
    filled = params.of_disk(cluster, instance, disk)
    mirrored = disk.template == "drbd"
    alone = disk.template == "plain" and bool(
        params.of_node(cluster, cluster.nodes[side.node])["exclusive_storage"]
    )
    data = VolumeSpec(
        name=side.volume,
        kind=VOLUME_KINDS[disk.template],
        size_mib=disk.size_mib,
        stripes=int(filled.get("data-stripes" if mirrored else "stripes") or 1),
        exclusive=alone,
        spindles=(disk.spindles or 0) if alone else 0,
    )
    if not side.meta_volume:
        return data, None
    meta = VolumeSpec(
        name=side.meta_volume,
        kind="lvm",
        size_mib=DRBD_META_MIB,
        stripes=int(filled.get("meta-stripes") or 1),
    )
    return data, meta


def side_on(disk: Disk, node: str) -> Side:
    """Return the side of a disk that `node` uses; shared storage has one for all nodes."""
    for side in disk.sides:
        if side.node == node:
            return side
    assert len(disk.sides) == 1, (disk.uuid, node)
    return disk.sides[0]


def disk_spec(cluster: Cluster, instance: Instance, index: int, node: str) -> DiskSpec:
    """Return disk `index` as `node` must hold it."""
    disk = instance.disks[index]
    side = side_on(disk, node)
    data, meta = volumes(cluster, instance, disk, side)
    peer = next((other for other in disk.sides if other.node != side.node), None)
    with_peer = peer is not None and not why_unreachable(cluster.nodes[peer.node])
    return DiskSpec(
        uuid=disk.uuid,
        instance=instance.uuid,
        index=index,
        template=disk.template,
        size_mib=disk.size_mib,
        volume=data,
        meta=meta,
        minor=side.minor,
        peer=peer.node if peer is not None and with_peer else None,
        peer_address=replication_address(cluster, peer.node) if peer and with_peer else "",
        peer_key=cluster.nodes[peer.node].curve_key if peer and with_peer else "",
        own_address=replication_address(cluster, side.node) if peer and with_peer else "",
        port=disk.port,
        node_id=side.node_id,
        peer_node_id=peer.node_id if peer is not None else None,
        mode=disk.mode,
        params=params.of_disk(cluster, instance, disk),
        name=disk.name,
        spindles=disk.spindles,
    )


def replication_address(cluster: Cluster, node: str) -> str:
    """Return where other nodes reach the disks of `node`: its secondary address, if it has one."""
    found = cluster.nodes[node]
    return found.secondary_ip or found.primary_ip


def nic_spec(cluster: Cluster, nic: Nic, index: int) -> NicSpec:
    """Return an interface with the mode, link and VLAN in force."""
    filled = params.of_nic(cluster, nic)
    return NicSpec(
        uuid=nic.uuid,
        index=index,
        mac=nic.mac,
        ip=nic.ip,
        mode=str(filled["mode"]),
        link=str(filled["link"]),
        vlan=str(filled["vlan"]),
        network=nic.network,
        name=nic.name,
    )


def instance_spec(cluster: Cluster, instance: Instance, node: str) -> InstanceSpec:
    """Return the instance as `node` must know it."""
    backend, hvparams = (
        params.of_instance(cluster, instance),
        params.of_hypervisor(cluster, instance),
    )
    return InstanceSpec(
        uuid=instance.uuid,
        name=instance.name,
        generation=instance.generation,
        hypervisor=instance.hypervisor,
        os=instance.os,
        memory_mib=whole(backend, "maxmem"),
        min_memory_mib=whole(backend, "minmem"),
        vcpus=whole(backend, "vcpus"),
        disks=tuple(disk_spec(cluster, instance, i, node) for i in range(len(instance.disks))),
        nics=tuple(nic_spec(cluster, nic, i) for i, nic in enumerate(instance.nics)),
        hvparams=hvparams,
        beparams=backend,
        osparams=params.of_os(cluster.settings, instance.os, instance.osparams),
        network_port=instance.network_port,
        primary=instance.primary,
        secondaries=() if instance.secondary is None else (instance.secondary,),
        tags=instance.tags,
        ctime=instance.ctime_ms / 1000,
        mtime=instance.mtime_ms / 1000,
        uid_pool=cluster.settings.uid_pool if hvparams.get("security_model") == "pool" else (),
    )


def whole(filled: Params, name: str) -> int:
    """Return a parameter whose table says that it is a whole number."""
    value = filled[name]
    assert isinstance(value, int), (name, value)
    return value

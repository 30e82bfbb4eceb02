"""Steps that several opcodes take with the disks of an instance (pure).

Ids are for people too: `volume/node1/0/data` is the data volume of disk 0 on node1. One disk is
one resource on a node, so that the calls for it run one at a time, and those for others beside it.

Each step has the undo that leaves what was there before; no undo touches a volume that the step did
not make, since volumes are named anew for each use and bear the uuid of their disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from commands.nodes import why_unreachable
from commands.specs import disk_spec, side_on, volumes
from nodeagent.calls import Call as NodeCall
from nodeagent.calls import (
    DiskSpec,
    EnsureActive,
    EnsureInactive,
    EnsureReplicated,
    EnsureVolume,
    RemoveReplicated,
    RemoveVolume,
    VolumeSpec,
    pack_call,
)
from projections import params
from projections.cluster import Cluster
from projections.objects import Disk, Instance
from projections.plans import Call, Condition, Undo, Wait, names

MIRRORED = frozenset({"drbd"})
SHARED = frozenset({"blockdev", "sharedfile"})  # one side, which every node can use
# how an activation is taken back: shut down again, or in the role that it had; None: not at all
WayBack = type[EnsureInactive] | type[EnsureActive] | None
ACTIVATION_S = 120.0
SYNC_GRACE_S = 600.0


def known_disks(instance: Instance) -> str:
    """Return which disks an instance has, for a hint."""
    match len(instance.disks):
        case 0:
            return "it has no disks at all"
        case 1:
            return "it has disk 0 alone"
    return f"it has disks 0 to {len(instance.disks) - 1}"


def call(
    step: str,
    node: str,
    what: NodeCall,
    *,
    resource: str,
    after: Iterable[str] = (),
    undo: NodeCall | None = None,
    timeout_s: float = 300.0,
    final: bool = False,
    tolerate: bool = False,
    attempts: int = 1,
) -> Call:
    """Return a call as a step of a plan, with its undo on the same node."""
    return Call(
        id=step,
        node=node,
        call=pack_call(what),
        after=tuple(after),
        timeout_s=timeout_s,
        attempts=attempts,
        undo=None if undo is None else Undo(call=pack_call(undo), timeout_s=timeout_s),
        final=final,
        resource=resource,
        tolerate=tolerate,
    )


def of_disk(disk: Disk) -> str:
    """Return the resource of a disk on its nodes."""
    return f"disk/{disk.uuid}"


def nodes_of(instance: Instance) -> tuple[str, ...]:
    """Return the nodes that hold a side of its disks, the primary first."""
    return instance.nodes if instance.disks else ()


def all_of(instance: Instance) -> range:
    """Return the indices of all its disks."""
    return range(len(instance.disks))


def create_volumes(
    cluster: Cluster,
    instance: Instance,
    indices: Iterable[int],
    nodes: Iterable[str],
    after: Iterable[str] = (),
) -> tuple[Call, ...]:
    """Return calls that make the volumes of these disks on these nodes, all at once."""
    steps = []
    for node in nodes:
        for index in indices:
            disk = instance.disks[index]
            for part, volume in _parts(cluster, instance, disk, node):
                steps.append(
                    call(
                        f"volume/{cluster.nodes[node].name}/{index}/{part}",
                        node,
                        EnsureVolume(volume=volume, owner=disk.uuid),
                        after=after,
                        undo=RemoveVolume(volume=volume, owner=disk.uuid),
                        resource=of_disk(disk),
                    )
                )
    return tuple(steps)


def remove_volumes(
    cluster: Cluster,
    instance: Instance,
    indices: Iterable[int],
    nodes: Iterable[str],
    after: Iterable[str] = (),
    *,
    prefix: str = "remove",
    tolerate: bool = False,
) -> tuple[Call, ...]:
    """Return calls that destroy the volumes of these disks. Each is a point of no return."""
    steps = []
    for node in nodes:
        for index in indices:
            disk = instance.disks[index]
            for part, volume in _parts(cluster, instance, disk, node):
                steps.append(
                    call(
                        f"{prefix}/{cluster.nodes[node].name}/{index}/{part}",
                        node,
                        RemoveVolume(volume=volume, owner=disk.uuid),
                        after=after,
                        resource=of_disk(disk),
                        final=True,
                        tolerate=tolerate,
                        attempts=3,
                    )
                )
    return tuple(steps)


def create_mirrors(
    cluster: Cluster, instance: Instance, indices: Iterable[int], after: Iterable[str] = ()
) -> tuple[Call, ...]:
    """Return calls that put new, empty mirrors up on both nodes. None where nothing is mirrored."""
    if instance.template not in MIRRORED:
        return ()
    steps = []
    for node in instance.nodes:
        for index in indices:
            spec = disk_spec(cluster, instance, index, node)
            steps.append(
                call(
                    f"mirror/{cluster.nodes[node].name}/{index}",
                    node,
                    EnsureReplicated(disk=spec, fresh=True),
                    after=after,
                    undo=RemoveReplicated(disk=spec),
                    resource=of_disk(instance.disks[index]),
                    timeout_s=ACTIVATION_S,
                )
            )
    return tuple(steps)


def unmirror(
    cluster: Cluster,
    instance: Instance,
    indices: Iterable[int],
    nodes: Iterable[str],
    after: Iterable[str] = (),
) -> tuple[Call, ...]:
    """Return calls that take mirrors down on these nodes. None where nothing is mirrored.

    Going back puts them up again where the disks are meant to be active.
    """
    if instance.template not in MIRRORED:
        return ()
    which, before = tuple(indices), tuple(after)
    steps = []
    for node in nodes:
        for index in which:
            spec = disk_spec(cluster, instance, index, node)
            up = EnsureReplicated(disk=spec)
            steps.append(
                call(
                    f"unmirror/{cluster.nodes[node].name}/{index}",
                    node,
                    RemoveReplicated(disk=spec),
                    resource=of_disk(instance.disks[index]),
                    after=before,
                    undo=up if instance.disks_active else EnsureInactive(disk=spec),
                    timeout_s=ACTIVATION_S,
                )
            )
    return tuple(steps)


def activate(
    cluster: Cluster,
    instance: Instance,
    after: Iterable[str] = (),
    *,
    undo: bool = True,
    prefix: str = "active",
) -> tuple[Call, ...]:
    """Return calls that make all disks usable on the primary, and followed on the secondary.

    The secondary comes first, so that the mirror has its peer when the guest begins to write; one
    that is out of reach, or fails, is tolerated, as a degraded mirror is better than no instance.
    `undo`: going back shuts the disks down; say False where they were active before.
    """
    way_back: WayBack = EnsureInactive if undo else None
    followers: tuple[Call, ...] = ()
    secondary = instance.secondary
    if secondary is not None:
        followers = follow(cluster, instance, secondary, after, undo=way_back, prefix=prefix)
    leaders = lead(
        cluster,
        instance,
        instance.primary,
        (*after, *names(followers)),
        undo=way_back,
        prefix=prefix,
    )
    return (*followers, *leaders)


def follow(
    cluster: Cluster,
    instance: Instance,
    node: str,
    after: Iterable[str] = (),
    *,
    undo: WayBack = EnsureInactive,
    prefix: str = "active",
    tolerate: bool = True,
) -> tuple[Call, ...]:
    """Return calls that make the mirrors on `node` follow. None if it is out of reach.

    `undo`: EnsureInactive where they were shut down before, EnsureActive where they led.
    """
    if why_unreachable(cluster.nodes[node]):
        return ()
    steps = []
    for index in all_of(instance):
        spec = disk_spec(cluster, instance, index, node)
        steps.append(
            call(
                f"{prefix}/{cluster.nodes[node].name}/{index}",
                node,
                EnsureActive(disk=spec, primary=False),
                after=after,
                undo=_way_back(undo, spec, primary=True),
                resource=of_disk(instance.disks[index]),
                timeout_s=ACTIVATION_S,
                tolerate=tolerate,
            )
        )
    return tuple(steps)


def lead(
    cluster: Cluster,
    instance: Instance,
    node: str,
    after: Iterable[str] = (),
    *,
    undo: WayBack,
    prefix: str = "active",
    final: bool = False,
    indices: Iterable[int] | None = None,
) -> tuple[Call, ...]:
    """Return calls that make the disks, or only `indices`, usable by a guest on `node`.

    `undo`: EnsureInactive where they were shut down before, EnsureActive where they followed.
    """
    steps = []
    for index in all_of(instance) if indices is None else indices:
        spec = disk_spec(cluster, instance, index, node)
        steps.append(
            call(
                f"{prefix}/{cluster.nodes[node].name}/{index}",
                node,
                EnsureActive(disk=spec, primary=True),
                after=after,
                undo=_way_back(undo, spec, primary=False),
                resource=of_disk(instance.disks[index]),
                timeout_s=ACTIVATION_S,
                final=final,
            )
        )
    return tuple(steps)


def _way_back(undo: WayBack, spec: DiskSpec, *, primary: bool) -> NodeCall | None:
    if undo is EnsureInactive:
        return EnsureInactive(disk=spec)
    return None if undo is None else EnsureActive(disk=spec, primary=primary)


def deactivate(
    cluster: Cluster,
    instance: Instance,
    after: Iterable[str] = (),
    *,
    undo: bool = True,
    prefix: str = "inactive",
    indices: Iterable[int] | None = None,
) -> tuple[Call, ...]:
    """Return calls that shut all disks, or `indices`, down, the primary's first.

    Unreachable nodes are left out. `undo`: going back makes them usable again.
    """
    which = tuple(all_of(instance) if indices is None else indices)
    steps: list[Call] = []
    for node in nodes_of(instance):
        if why_unreachable(cluster.nodes[node]):
            continue
        before = names(step for step in steps if step.node == instance.primary)
        for index in which:
            spec = disk_spec(cluster, instance, index, node)
            again = EnsureActive(disk=spec, primary=node == instance.primary)
            steps.append(
                call(
                    f"{prefix}/{cluster.nodes[node].name}/{index}",
                    node,
                    EnsureInactive(disk=spec),
                    after=(*after, *(before if node != instance.primary else ())),
                    undo=again if undo else None,
                    resource=of_disk(instance.disks[index]),
                    timeout_s=ACTIVATION_S,
                    tolerate=node != instance.primary,
                )
            )
    return tuple(steps)


def wait_synced(
    cluster: Cluster, instance: Instance, after: Iterable[str], *, indices: Iterable[int]
) -> tuple[Wait, ...]:
    """Return waits until both sides of each of these disks are in order.

    A wait gives up when the copy would be through even at the slowest rate that the cluster allows,
    and `SYNC_GRACE_S` have passed besides.
    """
    waits = []
    for index in indices:
        disk = instance.disks[index]
        slowest = params.of_disk(cluster, instance, disk).get("c-min-rate")
        kib_s = slowest if isinstance(slowest, int) and slowest > 0 else 4096
        waits.append(
            Wait(
                id=f"synced/{index}",
                after=tuple(after),
                until=Condition(kind="disk-synced", subject=instance.uuid, argument=disk.uuid),
                timeout_s=SYNC_GRACE_S + disk.size_mib * 1024 / kib_s,
            )
        )
    return tuple(waits)


def _parts(
    cluster: Cluster, instance: Instance, disk: Disk, node: str
) -> tuple[tuple[str, VolumeSpec], ...]:
    data, meta = volumes(cluster, instance, disk, side_on(disk, node))
    return (("data", data),) if meta is None else (("data", data), ("meta", meta))

"""Disks that are there already: an instance takes over what a person made (pure).

`gnt-instance add --disk 0:adopt=NAME`. NAME is a logical volume of the cluster's volume group, or
of that in `vg=`, which gets the name that a new one would have; or a block device by a path below
/dev/disk, which keeps its name. Ganeti's rules:

- all disks of the instance are taken over, or none; disk templates plain and blockdev alone, and
  blockdev always; the node is named, as only there is the disk;
- each is there, nobody's, used once, by no instance, and held by nothing on the node;
- its size is what is found, and none is given;
- no OS is installed on it.

First the node is asked (`ask/volumes`), then the plan takes over with `adopt/node1/0`, which looks
again. Going back gives each disk back under its old name. Two orders for one block device exclude
each other by a lock: nothing on such a device says whose it is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from commands.disks import call, of_disk
from commands.errors import ALREADY_EXISTS, UNKNOWN_ENTITY, WRONG_INPUT, WRONG_STATE, Refused
from commands.handler import Outcomes
from commands.looking import ASK
from commands.new_disks import DiskWish, Wanted
from commands.specs import VOLUME_KINDS, side_on, volumes
from nodeagent.calls import (
    AdoptVolume,
    DescribeVolumes,
    ReleaseVolume,
    VolumeFound,
    VolumesFound,
)
from projections.cluster import Cluster
from projections.objects import Instance, Node
from projections.plans import Call, Plan

MAY_ADOPT = frozenset({"blockdev", "plain"})
MUST_ADOPT = frozenset({"blockdev"})
DEVICES = "/dev/disk/"
STEP = f"{ASK}volumes"
LOOK_S = 60.0


def lock_names(wishes: Iterable[DiskWish]) -> Iterable[str]:
    """Yield the locks of the block devices that are asked for."""
    for wish in wishes:
        name = str(wish.get("adopt") or "")
        if name.startswith("/"):
            yield f"device{posixpath.normpath(name)}"


def sources(cluster: Cluster, wanted: Sequence[Wanted], template: str) -> tuple[str, ...]:
    """Return what each disk is to be taken over from, nothing if they are to be made.

    Raises Refused where Ganeti's rules do not allow it.
    """
    named = [disk for disk in wanted if disk.adopt]
    if not named:
        if template in MUST_ADOPT and wanted:
            raise Refused(
                WRONG_INPUT,
                f"a disk of template {template} is never made, only taken over",
                hint="--disk 0:adopt=/dev/disk/by-id/...",
            )
        return ()
    if len(named) != len(wanted):
        raise Refused(
            WRONG_INPUT,
            "some disks are to be taken over, others to be made",
            hint="adopt for all of them, or for none",
        )
    if template not in MAY_ADOPT:
        raise Refused(
            WRONG_INPUT,
            f"a disk of template {template} cannot be taken over",
            hint="-t plain with a logical volume, or -t blockdev",
        )
    found = tuple(_source(cluster, index, disk, template) for index, disk in enumerate(wanted))
    if len(set(found)) < len(found):
        raise Refused(WRONG_INPUT, "one volume for two disks", hint="a volume of its own for each")
    return found


def _source(cluster: Cluster, index: int, disk: Wanted, template: str) -> str:
    if template == "blockdev":
        name = posixpath.normpath(disk.adopt)
        if not name.startswith(DEVICES):
            raise Refused(
                WRONG_INPUT,
                f"disk {index}: {disk.adopt} is not below {DEVICES}",
                hint="such as /dev/disk/by-id/..., which is the same disk after a restart, too",
            )
        return name
    if "/" in disk.adopt:
        raise Refused(
            WRONG_INPUT,
            f"disk {index}: {disk.adopt!r} is no name of a logical volume",
            hint="adopt=NAME alone; vg=GROUP where it is not in the cluster's volume group",
        )
    return f"{disk.vg or cluster.settings.vg_name}/{disk.adopt}"


def ask(cluster: Cluster, node: Node, names: Sequence[str], template: str) -> Plan:
    """Return the plan that asks `node` for these volumes. Raises Refused if one is taken."""
    used = {
        side.volume: instance.name
        for instance in cluster.instances.values()
        if instance.template == template
        for disk in instance.disks
        for side in disk.sides
        if template == "blockdev" or side.node == node.uuid
    }
    for name in names:
        if name in used:
            raise Refused(
                ALREADY_EXISTS,
                f"{name} is a disk of {used[name]}",
                hint="a volume belongs to one instance",
            )
    order = DescribeVolumes(kind=VOLUME_KINDS[template], names=tuple(names))
    step = call(STEP, node.uuid, order, resource=f"node/{node.uuid}", timeout_s=LOOK_S)
    return Plan(steps=(step,), explanation=(f"{node.name} is asked for {', '.join(names)}",))


def found(so_far: Outcomes) -> Mapping[str, VolumeFound] | None:
    """Return what the node has told, by name; None if it was not asked yet."""
    for outcome in so_far:
        if STEP in outcome.results:
            told = msgspec.msgpack.decode(outcome.results[STEP], type=VolumesFound)
            return {each.name: each for each in told.volumes}
    return None


def measured(
    wanted: Sequence[Wanted], names: Sequence[str], there: Mapping[str, VolumeFound]
) -> tuple[Wanted, ...]:
    """Return the disks with the sizes that were found. Raises Refused for what cannot be had."""
    disks = []
    for disk, name in zip(wanted, names, strict=True):
        volume = there.get(name)
        if volume is None:
            raise Refused(
                UNKNOWN_ENTITY, f"there is no {name} on the node", hint="lvs, or ls /dev/disk/by-id"
            )
        if volume.owner:
            raise Refused(
                WRONG_STATE,
                f"{name} belongs to disk {volume.owner}",
                hint="gnt-cluster verify says of which instance, or that it was left over",
            )
        if volume.in_use:
            raise Refused(
                WRONG_STATE, f"{name} is in use: {volume.in_use}", hint="end that use first"
            )
        disks.append(replace(disk, size_mib=volume.size_mib))
    return tuple(disks)


def adopt_volumes(cluster: Cluster, instance: Instance, names: Sequence[str]) -> tuple[Call, ...]:
    """Return calls that take the volumes over on the primary, all at once."""
    node = instance.primary
    steps = []
    for index, (disk, source) in enumerate(zip(instance.disks, names, strict=True)):
        volume, _ = volumes(cluster, instance, disk, side_on(disk, node))
        steps.append(
            call(
                f"adopt/{cluster.nodes[node].name}/{index}",
                node,
                AdoptVolume(source=source, volume=volume, owner=disk.uuid),
                undo=ReleaseVolume(source=source, volume=volume, owner=disk.uuid),
                resource=of_disk(disk),
            )
        )
    return tuple(steps)

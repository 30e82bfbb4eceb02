"""The fold of facts about instances and their disks (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventstore.record import Event, Record
from projections.cluster import Cluster
from projections.errors import CorruptHistory
from projections.events import configuration as facts
from projections.objects import ADMIN_DOWN, ADMIN_OFFLINE, ADMIN_UP, Disk, Instance
from projections.stamps import born, changed, seen

OK, INACTIVE = "ok", "inactive"  # states of `instance.disk-state-seen`
CRASHED = "crashed"  # state of `instance.state-seen`

_replace = msgspec.structs.replace


def _created(cluster: Cluster, event: facts.InstanceCreated, record: Record) -> Cluster:
    instance = event.instance
    if instance.uuid in cluster.instances:
        raise CorruptHistory(f"the instance {instance.uuid} exists already")
    _check_nodes(cluster, instance)
    return cluster.put("instance", instance.uuid, born(instance, record), record.seq)


def _removed(cluster: Cluster, event: facts.InstanceRemoved, record: Record) -> Cluster:
    return cluster.drop("instance", event.instance, record.seq)


def _renamed(cluster: Cluster, event: facts.InstanceRenamed, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    if instance.name not in (event.old_name, event.new_name):
        raise CorruptHistory(f"{event.old_name} would be renamed, but is {instance.name}")
    return changed(cluster, "instance", instance, record, name=event.new_name)


def _state_set(cluster: Cluster, event: facts.InstanceStateSet, record: Record) -> Cluster:
    if event.admin_state not in (ADMIN_UP, ADMIN_DOWN, ADMIN_OFFLINE):
        raise CorruptHistory(f"an instance would be {event.admin_state}")
    return changed(
        cluster,
        "instance",
        _instance(cluster, event.instance),
        record,
        admin_state=event.admin_state,
        admin_state_source=event.source,
        crashed=False,  # started or stopped on purpose: what was seen before is over
    )


def _modified(cluster: Cluster, event: facts.InstanceModified, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    return changed(
        cluster,
        "instance",
        instance,
        record,
        beparams=event.beparams,
        hvparams=event.hvparams,
        osparams=event.osparams,
        os=event.os or instance.os,
        nics=instance.nics if event.nics is None else event.nics,
    )


def _primary_changed(
    cluster: Cluster, event: facts.InstancePrimaryChanged, record: Record
) -> Cluster:
    instance = _instance(cluster, event.instance)
    if event.primary not in cluster.nodes:
        raise CorruptHistory(f"{instance.name} would move to an unknown node {event.primary}")
    here = event.primary == instance.primary
    if event.generation <= instance.generation and not (
        here and event.generation == instance.generation
    ):
        raise CorruptHistory(
            f"{instance.name}: generation {event.generation} after {instance.generation}"
        )
    return changed(
        cluster,
        "instance",
        instance,
        record,
        primary=event.primary,
        generation=event.generation,
        disks=tuple(_led_from(disk, event.primary, instance) for disk in instance.disks),
    )


def _led_from(disk: Disk, primary: str, instance: Instance) -> Disk:
    """Return the disk with its side on `primary` first.

    A disk with one side keeps it: it is shared storage, or a move says in `instance.disk-replaced`
    where it lies now, before or after this.
    """
    sides = sorted(disk.sides, key=lambda side: side.node != primary)
    if len(sides) > 1 and sides[0].node != primary:
        raise CorruptHistory(f"{instance.name} would move to {primary}, which has no side of it")
    return disk if tuple(sides) == disk.sides else _replace(disk, sides=tuple(sides))


def _disks_active(cluster: Cluster, event: facts.InstanceDisksActive, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    disks = instance.disks
    if not event.active:  # inactive is what they are meant to be now: no fault
        disks = tuple(_without_health(disk, INACTIVE) for disk in disks)
    return changed(cluster, "instance", instance, record, disks_active=event.active, disks=disks)


def _without_health(disk: Disk, state: str) -> Disk:
    left = {node: seen for node, seen in disk.health.items() if seen != state}
    return disk if left == disk.health else _replace(disk, health=left)


def _disk_grown(cluster: Cluster, event: facts.DiskGrown, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    disk = _disk(instance, event.disk)
    if event.size_mib < disk.size_mib:
        raise CorruptHistory(f"{instance.name}: disk {event.disk} would shrink")
    grown = _replace(disk, size_mib=event.size_mib)
    disks = _with_disk(instance, event.disk, grown)
    return changed(cluster, "instance", instance, record, disks=disks)


def _disk_replaced(cluster: Cluster, event: facts.DiskReplaced, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    old, new = _disk(instance, event.disk), event.new
    if new.uuid != old.uuid:
        raise CorruptHistory(f"{instance.name}: disk {event.disk} is {old.uuid}, not {new.uuid}")
    disks = _with_disk(instance, event.disk, _in_seen_health(old, new))
    _check_nodes(cluster, _replace(instance, disks=disks))
    return changed(cluster, "instance", instance, record, disks=disks)


def _disks_changed(cluster: Cluster, event: facts.DisksChanged, record: Record) -> Cluster:
    instance = _instance(cluster, event.instance)
    old = {disk.uuid: disk for disk in instance.disks}
    if len({disk.uuid for disk in event.disks}) != len(event.disks):
        raise CorruptHistory(f"{instance.name} would have a disk twice")
    disks = tuple(_in_seen_health(old.get(disk.uuid, disk), disk) for disk in event.disks)
    _check_nodes(cluster, _replace(instance, disks=disks))
    return changed(cluster, "instance", instance, record, disks=disks)


def _in_seen_health(old: Disk, new: Disk) -> Disk:
    """Return `new`; a side that stays is in the health last seen, whatever the decision knew."""
    stays = {side.node for side in new.sides if side in old.sides}
    health = {
        **{node: state for node, state in new.health.items() if node not in stays},
        **{node: state for node, state in old.health.items() if node in stays},
    }
    return _replace(new, health=health)


def _disk_state_seen(cluster: Cluster, event: facts.DiskStateSeen, record: Record) -> Cluster:
    instance = cluster.instances.get(event.instance)
    for index, disk in enumerate(() if instance is None else instance.disks):
        if disk.uuid == event.disk and any(side.node == event.node for side in disk.sides):
            assert instance is not None
            disks = _with_disk(instance, index, _seen_as(disk, instance, event))
            return seen(cluster, "instance", instance, record, disks=disks)
    return cluster


def _seen_as(disk: Disk, instance: Instance, event: facts.DiskStateSeen) -> Disk:
    health = {node: state for node, state in disk.health.items() if node != event.node}
    expected = event.state == OK or (event.state == INACTIVE and not instance.disks_active)
    if not expected:
        health[event.node] = event.state
    return _replace(disk, health=health)


def _state_seen(cluster: Cluster, event: facts.InstanceStateSeen, record: Record) -> Cluster:
    instance = cluster.instances.get(event.instance)
    if instance is None or instance.primary != event.node:
        return cluster
    crashed = event.state == CRASHED and instance.admin_state == ADMIN_UP
    return seen(cluster, "instance", instance, record, crashed=crashed)


def _instance(cluster: Cluster, uuid: str) -> Instance:
    instance = cluster.instances.get(uuid)
    if instance is None:
        raise CorruptHistory(f"there is no instance {uuid}")
    return instance


def _disk(instance: Instance, index: int) -> Disk:
    if not 0 <= index < len(instance.disks):
        raise CorruptHistory(f"{instance.name} has no disk {index}")
    return instance.disks[index]


def _with_disk(instance: Instance, index: int, disk: Disk) -> tuple[Disk, ...]:
    return (*instance.disks[:index], disk, *instance.disks[index + 1 :])


def _check_nodes(cluster: Cluster, instance: Instance) -> None:
    sides = (side.node for disk in instance.disks for side in disk.sides)
    for node in (instance.primary, *sides):
        if node not in cluster.nodes:
            raise CorruptHistory(f"{instance.name} would lie on an unknown node {node}")


# Any: each takes the event type of its key
FOLDS: Mapping[type[Event], Callable[[Cluster, Any, Record], Cluster]] = {
    facts.InstanceCreated: _created,
    facts.InstanceRemoved: _removed,
    facts.InstanceRenamed: _renamed,
    facts.InstanceStateSet: _state_set,
    facts.InstanceModified: _modified,
    facts.InstancePrimaryChanged: _primary_changed,
    facts.InstanceDisksActive: _disks_active,
    facts.DiskGrown: _disk_grown,
    facts.DiskReplaced: _disk_replaced,
    facts.DisksChanged: _disks_changed,
    facts.DiskStateSeen: _disk_state_seen,
    facts.InstanceStateSeen: _state_seen,
}

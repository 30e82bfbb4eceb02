"""The fold of the configuration: cluster and an event -> cluster (pure).

No clock, no randomness, no I/O; times come from the record. Three rules hold for all of it:

- A **wanted** fact (`instance.created`, `node.modified`) that contradicts the state raises
  `CorruptHistory`: a fold never repairs the log. Such a fact is decided under locks, so only our
  own bug can make it wrong.
- A **seen** fact (`instance.disk-state-seen`, `node.lost`) may be late: the disk that it speaks of
  may have moved meanwhile. What no longer fits is passed over; it is still in the log.
- Values are new values, so folding an event twice changes nothing, neither serial nor mtime.

The serial and mtime of an object rise with every wanted change and with none that was only seen.
Nodes and instances have modules of their own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventstore.events import KeyRevoked, VoterPlaced
from eventstore.record import Event, Record
from projections import configuration_instances, configuration_nodes
from projections.cluster import Cluster
from projections.errors import CorruptHistory
from projections.events import configuration as facts
from projections.stamps import born, changed, seen

Fold = Callable[[Cluster, Any, Record], Cluster]  # Any: each takes the event type of its key


def fold_configuration(
    cluster: Cluster, event: facts.ConfigurationEvent, record: Record
) -> Cluster:
    """Return the cluster as it is after `event`, which stands in `record`.

    Raises CorruptHistory if the event contradicts the state; the message names the seq.
    """
    kind = type(event)
    if cluster.info is None:
        if kind in OF_THE_LOG:
            return cluster
        if kind is not facts.ClusterCreated:
            raise CorruptHistory(f"record {record.seq}: {record.kind} before there is a cluster")
    elif cluster.info.destroyed:
        if kind in SEEN or kind is facts.ClusterDestroyed:
            return cluster
        raise CorruptHistory(f"record {record.seq}: {record.kind} after the cluster was destroyed")
    try:
        return FOLDS[kind](cluster, event, record)
    except CorruptHistory as contradiction:
        if str(contradiction).startswith("record "):
            raise
        raise CorruptHistory(f"record {record.seq}: {contradiction}") from contradiction


def _cluster_created(cluster: Cluster, event: facts.ClusterCreated, record: Record) -> Cluster:
    if cluster.info is not None:
        raise CorruptHistory(f"the cluster {cluster.info.name} exists already")
    return cluster.put("cluster", event.info.uuid, born(event.info, record), record.seq)


def _cluster_modified(cluster: Cluster, event: facts.ClusterModified, record: Record) -> Cluster:
    now, new = cluster.settings, event.info
    if new.uuid != now.uuid:
        raise CorruptHistory(f"the cluster {now.uuid} would become {new.uuid}")
    # What is not decided under the lock of the cluster may be old here.
    keep = ("master", "destroyed", "master_ip_up", "master_ip_held")
    return changed(cluster, "cluster", now, record, to=new, keep=keep)


def _cluster_destroyed(cluster: Cluster, event: facts.ClusterDestroyed, record: Record) -> Cluster:
    return changed(cluster, "cluster", cluster.settings, record, destroyed=True)


def _master_changed(cluster: Cluster, event: facts.MasterChanged, record: Record) -> Cluster:
    return changed(cluster, "cluster", cluster.settings, record, master=event.node)


def _address_wanted(cluster: Cluster, event: facts.MasterAddressWanted, record: Record) -> Cluster:
    return changed(cluster, "cluster", cluster.settings, record, master_ip_up=event.up)


def _address_taken(cluster: Cluster, event: facts.MasterAddressTaken, record: Record) -> Cluster:
    info, held = cluster.settings, event.held
    others = tuple(each for each in info.master_ip_held if each.node != held.node)
    return seen(cluster, "cluster", info, record, master_ip_held=(*others, held))


def _address_given_up(
    cluster: Cluster, event: facts.MasterAddressGivenUp, record: Record
) -> Cluster:
    info = cluster.settings
    others = tuple(each for each in info.master_ip_held if each.node != event.node)
    return seen(cluster, "cluster", info, record, master_ip_held=others)


def _group_added(cluster: Cluster, event: facts.GroupAdded, record: Record) -> Cluster:
    group = event.group
    if group.uuid in cluster.groups:
        raise CorruptHistory(f"the group {group.uuid} exists already")
    return cluster.put("group", group.uuid, born(group, record), record.seq)


def _group_modified(cluster: Cluster, event: facts.GroupModified, record: Record) -> Cluster:
    now = cluster.groups.get(event.group.uuid)
    if now is None:
        raise CorruptHistory(f"there is no group {event.group.uuid}")
    return changed(cluster, "group", now, record, to=event.group)


def _group_removed(cluster: Cluster, event: facts.GroupRemoved, record: Record) -> Cluster:
    left = [node.name for node in cluster.nodes.values() if node.group == event.group]
    if left:
        raise CorruptHistory(f"the group {event.group} still has {', '.join(sorted(left))}")
    return cluster.drop("group", event.group, record.seq)


def _tags_added(cluster: Cluster, event: facts.TagsAdded, record: Record) -> Cluster:
    thing = _tagged(cluster, event)
    tags = tuple(sorted({*thing.tags, *event.tags}))
    return changed(cluster, event.table, thing, record, tags=tags)


def _tags_removed(cluster: Cluster, event: facts.TagsRemoved, record: Record) -> Cluster:
    thing = _tagged(cluster, event)
    tags = tuple(tag for tag in thing.tags if tag not in event.tags)
    return changed(cluster, event.table, thing, record, tags=tags)


def _tagged(cluster: Cluster, event: facts.TagsAdded | facts.TagsRemoved) -> Any:
    """Return what bears the tags. Any: the four kinds of objects share no base."""
    if event.table not in ("cluster", "group", "node", "instance"):
        raise CorruptHistory(f"tags of an unknown kind of object: {event.table}")
    thing = cluster.table(event.table).get(event.subject)
    if thing is None:
        raise CorruptHistory(f"tags of {event.table} {event.subject}, which is not there")
    return thing


FOLDS: Mapping[type[Event], Fold] = {
    facts.ClusterCreated: _cluster_created,
    facts.ClusterModified: _cluster_modified,
    facts.ClusterDestroyed: _cluster_destroyed,
    facts.MasterChanged: _master_changed,
    facts.MasterAddressWanted: _address_wanted,
    facts.MasterAddressTaken: _address_taken,
    facts.MasterAddressGivenUp: _address_given_up,
    facts.GroupAdded: _group_added,
    facts.GroupModified: _group_modified,
    facts.GroupRemoved: _group_removed,
    facts.TagsAdded: _tags_added,
    facts.TagsRemoved: _tags_removed,
    **configuration_nodes.FOLDS,
    **configuration_instances.FOLDS,
}

# Facts in the log's own stream: keys and voters are there before there is a cluster.
OF_THE_LOG: frozenset[type[Event]] = frozenset({VoterPlaced, KeyRevoked})

# Facts that are observed, not decided: they may be late, and go on while a cluster is given up.
SEEN: frozenset[type[Event]] = frozenset(
    {
        facts.MasterChanged,
        facts.NodeLost,
        facts.NodeReturned,
        facts.DiskStateSeen,
        facts.InstanceStateSeen,
        facts.DutyRecorded,
        facts.DutyFailed,
        facts.DutyRequested,
        facts.DutyDone,
        *OF_THE_LOG,
    }
)

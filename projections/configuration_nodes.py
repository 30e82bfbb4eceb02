"""The fold of facts about nodes: themselves, the duties they owe, the voters on them (pure).

Where a voter is stands in the log's own stream, under the name of its node. Voters that know no
node yet (the founder's, while the cluster is made) are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from eventstore.events import KeyRevoked, VoterPlaced
from eventstore.record import Event, Record
from projections.cluster import Cluster
from projections.errors import CorruptHistory
from projections.events import configuration as facts
from projections.objects import Node
from projections.stamps import born, changed, seen
from projections.unsettled import Duty


def _invited(cluster: Cluster, event: facts.NodeInvited, record: Record) -> Cluster:
    node = event.node
    if node.uuid in cluster.nodes:
        raise CorruptHistory(f"the node {node.uuid} exists already")
    _check_group(cluster, node.group)
    return cluster.put("node", node.uuid, born(node, record), record.seq)


def _joined(cluster: Cluster, event: facts.NodeJoined, record: Record) -> Cluster:
    node = _node(cluster, event.node)
    return changed(
        cluster,
        "node",
        node,
        record,
        joined=True,
        curve_key=event.curve_key,
        primary_ip=node.primary_ip or event.address,  # what an operator said counts
    )


def _added(cluster: Cluster, event: facts.NodeAdded, record: Record) -> Cluster:
    return changed(cluster, "node", _node(cluster, event.node), record, joined=True)


def _modified(cluster: Cluster, event: facts.NodeModified, record: Record) -> Cluster:
    node = _node(cluster, event.node)
    group = event.group or node.group
    _check_group(cluster, group)
    return changed(
        cluster,
        "node",
        node,
        record,
        master_candidate=event.master_candidate,
        offline=event.offline,
        drained=event.drained,
        master_capable=event.master_capable,
        vm_capable=event.vm_capable,
        powered=event.powered,
        ndparams=event.ndparams,
        secondary_ip=event.secondary_ip or node.secondary_ip,
        group=group,
    )


def _witness_set(cluster: Cluster, event: facts.NodeWitnessSet, record: Record) -> Cluster:
    node = _node(cluster, event.node)
    return changed(cluster, "node", node, record, witness=event.witness)


def _removed(cluster: Cluster, event: facts.NodeRemoved, record: Record) -> Cluster:
    left = cluster.on_node(event.node) | cluster.mirrored_on(event.node)
    if left:
        names = sorted(cluster.instances[uuid].name for uuid in left)
        raise CorruptHistory(f"the node {event.node} still holds {', '.join(names[:5])}")
    for duty, owed in cluster.duties.items():
        if owed.node == event.node:  # what it owed, nobody can do any more
            cluster = cluster.with_duty(duty, None)
    held = tuple(each for each in cluster.settings.master_ip_held if each.node != event.node)
    cluster = seen(cluster, "cluster", cluster.settings, record, master_ip_held=held)
    return cluster.drop("node", event.node, record.seq)


def _lost(cluster: Cluster, event: facts.NodeLost, record: Record) -> Cluster:
    node = cluster.nodes.get(event.node)
    return cluster if node is None else seen(cluster, "node", node, record, lost=True)


def _returned(cluster: Cluster, event: facts.NodeReturned, record: Record) -> Cluster:
    node = cluster.nodes.get(event.node)
    return cluster if node is None else seen(cluster, "node", node, record, lost=False)


def _duty_recorded(cluster: Cluster, event: facts.DutyRecorded, record: Record) -> Cluster:
    if event.node not in cluster.nodes:  # it was removed while the opcode went back
        return cluster
    owed = Duty(
        node=event.node,
        job=event.job,
        what=event.what,
        task=event.duty,
        call=event.call,
        resource=event.resource,
        timeout_s=event.timeout_s,
    )
    return cluster.with_duty(event.duty, owed)


def _duty_failed(cluster: Cluster, event: facts.DutyFailed, record: Record) -> Cluster:
    owed = cluster.duties.get(event.duty)
    if owed is None:  # an operator has said that it is void
        return cluster
    return cluster.with_duty(event.duty, replace(owed, failed=event.message))


def _duty_requested(cluster: Cluster, event: facts.DutyRequested, record: Record) -> Cluster:
    owed = cluster.duties.get(event.duty)
    if owed is None:
        return cluster
    again = replace(owed, task=event.task, attempt=event.attempt, failed="")
    return cluster.with_duty(event.duty, again)


def _duty_done(cluster: Cluster, event: facts.DutyDone, record: Record) -> Cluster:
    # The node and an operator may both say so, in either order.
    return cluster.with_duty(event.duty, None)


def _voter_placed(cluster: Cluster, event: VoterPlaced, record: Record) -> Cluster:
    node = cluster.nodes.get(cluster.names.get(f"node/{event.name}", ""))
    if node is None:
        return cluster
    return seen(cluster, "node", node, record, voter_key=event.curve_key)


def _key_revoked(cluster: Cluster, event: KeyRevoked, record: Record) -> Cluster:
    for node in cluster.nodes.values():
        if node.voter_key == event.curve_key:
            return seen(cluster, "node", node, record, voter_key="")
    return cluster


def _node(cluster: Cluster, uuid: str) -> Node:
    node = cluster.nodes.get(uuid)
    if node is None:
        raise CorruptHistory(f"there is no node {uuid}")
    return node


def _check_group(cluster: Cluster, group: str) -> None:
    if group not in cluster.groups:
        raise CorruptHistory(f"there is no group {group} for a node")


# Any: each takes the event type of its key
FOLDS: Mapping[type[Event], Callable[[Cluster, Any, Record], Cluster]] = {
    facts.NodeInvited: _invited,
    facts.NodeJoined: _joined,
    facts.NodeAdded: _added,
    facts.NodeModified: _modified,
    facts.NodeWitnessSet: _witness_set,
    facts.NodeRemoved: _removed,
    facts.NodeLost: _lost,
    facts.NodeReturned: _returned,
    facts.DutyRecorded: _duty_recorded,
    facts.DutyFailed: _duty_failed,
    facts.DutyRequested: _duty_requested,
    facts.DutyDone: _duty_done,
    VoterPlaced: _voter_placed,
    KeyRevoked: _key_revoked,
}

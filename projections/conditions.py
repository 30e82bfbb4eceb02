"""Questions that a plan may wait for, answered from the configuration alone (pure).

A wait on a condition ends by what the log says, never by telemetry: the agent's observation becomes
an event, the fold changes the configuration, and the condition holds. So every voter agrees on it.

    kind            subject    argument                     holds when
    node-joined     node                                    its agent has shown its key
    node-heard      node                                    it has joined and is not lost
    disk-synced     instance   disk uuid; "" = all disks    no side has a bad state
    instance-state  instance   up, down, crashed            it is meant so; it crashed
    duties-done     node                                    it owes nothing
    no-voter        node                                    no master daemon holds the log there

A subject that is gone can no longer come true, so its condition does not hold and the wait runs
out; for `disk-synced` likewise, if the disk is gone.
"""

from __future__ import annotations

from collections.abc import Callable

from projections.cluster import Cluster
from projections.plans import Condition


def holds(condition: Condition, cluster: Cluster) -> bool:
    """Say whether the condition holds. An unknown kind is a bug of the handler that planned it."""
    return KINDS[condition.kind](cluster, condition)


def _node_joined(cluster: Cluster, condition: Condition) -> bool:
    node = cluster.nodes.get(condition.subject)
    return node is not None and node.joined


def _node_heard(cluster: Cluster, condition: Condition) -> bool:
    node = cluster.nodes.get(condition.subject)
    return node is not None and node.joined and not node.lost


def _disk_synced(cluster: Cluster, condition: Condition) -> bool:
    instance = cluster.instances.get(condition.subject)
    if instance is None:
        return False
    disks = [disk for disk in instance.disks if condition.argument in ("", disk.uuid)]
    return bool(disks) and not any(disk.health for disk in disks)


def _instance_state(cluster: Cluster, condition: Condition) -> bool:
    instance = cluster.instances.get(condition.subject)
    if instance is None:
        return False
    if condition.argument == "crashed":
        return instance.crashed
    return instance.admin_state == condition.argument and not instance.crashed


def _duties_done(cluster: Cluster, condition: Condition) -> bool:
    return all(owed.node != condition.subject for owed in cluster.duties.values())


def _no_voter(cluster: Cluster, condition: Condition) -> bool:
    node = cluster.nodes.get(condition.subject)
    return node is not None and not node.voter_key


KINDS: dict[str, Callable[[Cluster, Condition], bool]] = {
    "node-joined": _node_joined,
    "node-heard": _node_heard,
    "disk-synced": _disk_synced,
    "instance-state": _instance_state,
    "duties-done": _duties_done,
    "no-voter": _no_voter,
}

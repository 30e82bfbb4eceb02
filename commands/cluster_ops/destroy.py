"""OP_CLUSTER_DESTROY: the cluster is given up (pure). One record; the result is the master's name.

What can go wrong: a cluster that still has instances, or nodes besides the master, is refused. The
log stays where it is, and ends with this fact.
"""

from __future__ import annotations

from typing import ClassVar

from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.events.configuration import ClusterDestroyed
from projections.events.jobs import Lock
from projections.plans import Plan, Record, fact


class ClusterDestroy(Opcode, frozen=True, kw_only=True):
    """Give an empty cluster up."""

    NAME: ClassVar[str] = "OP_CLUSTER_DESTROY"


def lock(op: ClusterDestroy, cluster: Cluster) -> tuple[Lock, ...]:
    """Everything there is, alone."""
    nodes = (f"node/{uuid}" for uuid in cluster.nodes)
    groups = (f"group/{uuid}" for uuid in cluster.groups)
    return locks(exclusive=("cluster", *nodes, *groups))


def decide(op: ClusterDestroy, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record it, if nothing is left in the cluster."""
    info = cluster.settings
    if so_far:
        return Done(cluster.nodes[info.master].name if info.master in cluster.nodes else "")
    if cluster.instances:
        some = sorted(instance.name for instance in cluster.instances.values())
        raise Refused(
            WRONG_STATE,
            f"{len(some)} instances are still there: {', '.join(some[:5])}",
            hint="gnt-instance remove each of them",
        )
    others = sorted(node.name for node in cluster.nodes.values() if node.uuid != info.master)
    if others:
        raise Refused(
            WRONG_STATE,
            f"nodes are still there: {', '.join(others[:5])}",
            hint="gnt-node remove each of them but the master",
        )
    destroyed = fact("cluster", ClusterDestroyed(reason="OP_CLUSTER_DESTROY"))
    return Plan(steps=(Record(id="destroyed", facts=(destroyed,), final=True),))


HANDLER = Handler(opcode=ClusterDestroy, decide=decide, locks=lock)

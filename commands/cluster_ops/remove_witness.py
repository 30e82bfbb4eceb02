"""OP_CLUSTER_REMOVE_WITNESS: a witness holds the log no more (pure). One record.

The leader then takes it out of the log's configuration, and removes its voter by a job of its own
(commands/master/membership.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.cluster_ops.add_witness import witness_plan
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.plans import Plan


class ClusterRemoveWitness(Opcode, frozen=True, kw_only=True):
    """Let a witness hold the log no more."""

    NAME: ClassVar[str] = "OP_CLUSTER_REMOVE_WITNESS"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]


def lock(op: ClusterRemoveWitness, cluster: Cluster) -> tuple[Lock, ...]:
    """As for adding one."""
    try:
        node = cluster.node(op.node_name)
    except NoSuchObject:
        return ()
    return locks(exclusive=("cluster", f"name/{node.name}"))


def decide(
    op: ClusterRemoveWitness, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Record that it is to be none any more."""
    if so_far:
        return Done()
    node = cluster.node(op.node_name)
    if not node.witness:
        witnesses = sorted(each.name for each in cluster.nodes.values() if each.witness)
        raise Refused(
            WRONG_STATE,
            f"{node.name} is no witness",
            hint=f"witnesses: {', '.join(witnesses) or 'none'}",
        )
    return witness_plan(node, witness=False)


HANDLER = Handler(opcode=ClusterRemoveWitness, decide=decide, locks=lock)

"""OP_CLUSTER_ADD_WITNESS: a node holds the log and votes, and never leads (pure).

A witness makes a majority where two candidates make none. It leads only to hand over
(eventstore/raft/membership.py), so it may be a small machine in a third room: it runs no instance
and is never the master. The opcode records what is wanted; the leader gives the node a voter by a
job of its own (commands/master/membership.py).

What can go wrong: a node that may lead, or hold instances, is refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.nodes import require_reachable
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import NodeWitnessSet
from projections.events.jobs import Lock
from projections.objects import Node
from projections.plans import Plan, Record, fact


class ClusterAddWitness(Opcode, frozen=True, kw_only=True):
    """Let a node vote on the log, and never lead."""

    NAME: ClassVar[str] = "OP_CLUSTER_ADD_WITNESS"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]


def lock(op: ClusterAddWitness, cluster: Cluster) -> tuple[Lock, ...]:
    """The cluster, under which it is decided who may lead, and the node's name; not the node."""
    try:
        node = cluster.node(op.node_name)
    except NoSuchObject:
        return ()
    return locks(exclusive=("cluster", f"name/{node.name}"))


def decide(op: ClusterAddWitness, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record that it is to be one."""
    if so_far:
        return Done()
    node = require_reachable(cluster.node(op.node_name))
    _check(node)
    return witness_plan(node, witness=True)


def witness_plan(node: Node, *, witness: bool) -> Plan:
    """Return the plan by which a node is to be a witness, or is to be none."""
    stream = f"node/{node.uuid}"
    done = fact(stream, NodeWitnessSet(node=node.uuid, witness=witness))
    undone = fact(stream, NodeWitnessSet(node=node.uuid, witness=not witness))
    return Plan(steps=(Record(id="set", facts=(done,), undo=(undone,)),))


def _check(node: Node) -> None:
    if node.witness:
        raise Refused(
            WRONG_STATE, f"{node.name} is a witness already", hint="gnt-log status shows how it is"
        )
    if node.master_capable or node.master_candidate:
        raise Refused(
            WRONG_STATE,
            f"{node.name} may lead, so it is no witness",
            hint=f"gnt-node modify --master-capable=no {node.name}",
        )
    if node.vm_capable:
        raise Refused(
            WRONG_STATE,
            f"{node.name} may hold instances, so it is no witness",
            hint=f"gnt-node modify --vm-capable=no {node.name}",
        )


HANDLER = Handler(opcode=ClusterAddWitness, decide=decide, locks=lock)

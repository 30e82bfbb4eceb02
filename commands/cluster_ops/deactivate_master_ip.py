"""OP_CLUSTER_DEACTIVATE_MASTER_IP: nodes hold the master's address no more (pure).

Without a node, by an operator: it is to stay down, also after a change of leader, until
`activate-master-ip`. With a node: that one alone gives it up; the leader submits this for a node
that held it when another one led (commands/master/council.py).

    wanted           it is to stay down; not with a node
    drop/<node>      its agent removes it; tolerated if it cannot
    dropped          those that did, in a second plan

What can go wrong: a node that is out of reach, or fails, keeps it in the records; the leader tells
it again later. There is no way back from a removal.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.cluster_ops.master_address import drop_step, require_address
from commands.given import Given
from commands.handler import Done, Handler, Outcomes, PlanOutcome
from commands.instance_opcode import locks
from commands.nodes import require_reachable, why_unreachable
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.events.configuration import MasterAddressGivenUp, MasterAddressWanted
from projections.events.jobs import Lock
from projections.objects import HeldAddress
from projections.plans import Call, Plan, Record, Step, fact


class ClusterDeactivateMasterIp(Opcode, frozen=True, kw_only=True):
    """Take the master's address down."""

    NAME: ClassVar[str] = "OP_CLUSTER_DEACTIVATE_MASTER_IP"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str | None, Meta(description="Only there, and it may be up elsewhere")] = (
        None
    )


def lock(op: ClusterDeactivateMasterIp, cluster: Cluster) -> tuple[Lock, ...]:
    """The address, alone; the nodes that hold it shared, so that they do not go meanwhile."""
    nodes = tuple(f"node/{held.node}" for held in cluster.settings.master_ip_held)
    return locks(exclusive=("master-address",), shared=nodes)


def decide(
    op: ClusterDeactivateMasterIp, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Remove it where it is held and can be removed."""
    if len(so_far) == 1:
        return _dropped(so_far[0])
    if so_far:
        return Done({"left_on": [cluster.nodes[held.node].name for held in _held(op, cluster)]})
    steps: list[Step] = []
    if op.node_name is None:
        require_address(cluster.settings)
        down, up = (fact("cluster", MasterAddressWanted(up=wanted)) for wanted in (False, True))
        steps.append(Record(id="wanted", facts=(down,), undo=(up,)))
    else:
        require_reachable(cluster.node(op.node_name))
    for held in _held(op, cluster):
        node = cluster.nodes[held.node]
        if not why_unreachable(node):
            steps.append(drop_step(held, node.name))
    return Plan(steps=tuple(steps)) if steps else Done({"left_on": []})


def _dropped(through: PlanOutcome) -> Plan:
    nodes = [
        step.node
        for step in through.plan.steps
        if isinstance(step, Call) and step.id in through.results
    ]
    facts = tuple(fact("cluster", MasterAddressGivenUp(node=node)) for node in nodes)
    return Plan(steps=(Record(id="dropped", facts=facts, final=True),))


def _held(op: ClusterDeactivateMasterIp, cluster: Cluster) -> list[HeldAddress]:
    only = None if op.node_name is None else cluster.node(op.node_name).uuid
    return [held for held in cluster.settings.master_ip_held if only in (None, held.node)]


HANDLER = Handler(opcode=ClusterDeactivateMasterIp, decide=decide, locks=lock)

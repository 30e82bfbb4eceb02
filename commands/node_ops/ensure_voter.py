"""OP_NODE_ENSURE_VOTER: a master candidate, or a witness, gets a master daemon of its own (pure).

The leader submits it for a candidate that has none (commands/master/council.py); an operator may.

    voter      the agent makes keys and an empty log, starts the daemon, says where it is
    placed     its keys are admitted and its place is known; from here on the leader lets it follow

What can go wrong: the node has no master daemon installed, or its ports are taken; then nothing is
recorded, and what was made is removed again.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands.disks import call
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.nodes import require_reachable
from commands.opcode import Opcode
from eventstore.events import STREAM, KeyAdmitted, KeyRevoked, VoterPlaced
from nodeagent.calls import EnsureVoter, RemoveVoter, VoterMade
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import Node, Value
from projections.plans import Plan, Record, fact

MAKE_S = 90.0


class NodeEnsureVoter(Opcode, frozen=True, kw_only=True):
    """Give a master candidate, or a witness, a master daemon."""

    NAME: ClassVar[str] = "OP_NODE_ENSURE_VOTER"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]
    settings: Annotated[
        dict[str, Value] | None, Meta(description="Settings of the daemon, as the leader's")
    ] = None


def lock(op: NodeEnsureVoter, cluster: Cluster) -> tuple[Lock, ...]:
    """Its voter, alone; the node shared, so that it does not go meanwhile."""
    try:
        node = cluster.node(op.node_name)
    except NoSuchObject:
        return ()
    return locks(exclusive=(f"voter/{node.uuid}",), shared=(f"node/{node.uuid}",))


def decide(op: NodeEnsureVoter, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Have it made; then record where it is."""
    node = require_reachable(cluster.node(op.node_name))
    if not so_far:
        return _make(op, cluster, node)
    made = msgspec.msgpack.decode(so_far[0].results["voter"], type=VoterMade)
    if len(so_far) == 1:
        return _place(node, made)
    return Done({"voter": node.name, "storage": made.inc})


def _make(op: NodeEnsureVoter, cluster: Cluster, node: Node) -> Plan:
    if not (node.master_candidate or node.witness):
        raise Refused(
            WRONG_STATE,
            f"{node.name} is neither master candidate nor witness",
            hint=f"gnt-node modify --master-candidate=yes {node.name}",
        )
    wanted = EnsureVoter(
        cluster_id=cluster.settings.uuid,
        name=node.name,
        address=node.primary_ip,
        settings=op.settings or {},
    )
    removed = RemoveVoter(cluster_id=cluster.settings.uuid)
    resource = f"voter/{node.uuid}"
    step = call("voter", node.uuid, wanted, resource=resource, undo=removed, timeout_s=MAKE_S)
    return Plan(steps=(step,))


def _place(node: Node, made: VoterMade) -> Plan:
    admitted = KeyAdmitted(
        name=f"voter:{node.name}", role="voter", curve_key=made.curve_key, sign_key=made.sign_key
    )
    place = VoterPlaced(
        name=node.name,
        inc=made.inc,
        curve_key=made.curve_key,
        requests=made.requests,
        publications=made.publications,
        replication=made.replication,
        segments=made.segments,
    )
    void = KeyRevoked(curve_key=made.curve_key, reason="the voter could not be made")
    facts = (fact(STREAM, admitted), fact(STREAM, place))
    return Plan(steps=(Record(id="placed", facts=facts, undo=(fact(STREAM, void),)),))


HANDLER = Handler(opcode=NodeEnsureVoter, decide=decide, locks=lock)

"""OP_NODE_REMOVE_VOTER: a node holds the log no more (pure).

The leader submits it for a node that is no master candidate any more, once the node is no member of
the log's configuration (commands/master/council.py).

    voter      the agent ends the daemon and removes its files; tolerated if it does not answer
    revoked    its key is worth nothing, its place forgotten

What can go wrong: the node does not answer. Its key is revoked all the same, so whatever still runs
there reaches nobody. There is no way back; a new voter would be made.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.disks import call
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.nodes import why_unreachable
from commands.opcode import Opcode
from eventstore.events import STREAM, KeyRevoked
from nodeagent.calls import RemoveVoter
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.plans import Plan, Record, Step, fact, names


class NodeRemoveVoter(Opcode, frozen=True, kw_only=True):
    """Remove the master daemon of a node that is no master candidate."""

    NAME: ClassVar[str] = "OP_NODE_REMOVE_VOTER"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]
    voter_key: Annotated[str, Meta(description="The CURVE key of its voter, Z85")]


def lock(op: NodeRemoveVoter, cluster: Cluster) -> tuple[Lock, ...]:
    """Its voter, alone. Not the node: its removal holds that, and waits for this."""
    try:
        node = cluster.node(op.node_name)
    except NoSuchObject:
        return ()
    return locks(exclusive=(f"voter/{node.uuid}",))


def decide(op: NodeRemoveVoter, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """End it, then revoke its key."""
    if so_far:
        return Done()
    node = cluster.node(op.node_name)
    if node.master_candidate or node.uuid == cluster.settings.master:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is a master candidate",
            hint=f"gnt-node modify --master-candidate=no {node.name}",
        )
    if node.witness:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is a witness",
            hint=f"gnt-cluster remove-witness {node.name}",
        )
    steps: list[Step] = []
    if not why_unreachable(node):
        gone = RemoveVoter(cluster_id=cluster.settings.uuid)
        steps.append(
            call(
                "voter",
                node.uuid,
                gone,
                resource=f"voter/{node.uuid}",
                timeout_s=60.0,
                final=True,
                tolerate=True,
            )
        )
    revoked = fact(STREAM, KeyRevoked(curve_key=op.voter_key, reason="its node holds no log"))
    steps.append(Record(id="revoked", facts=(revoked,), after=names(steps), final=True))
    return Plan(steps=tuple(steps))


HANDLER = Handler(opcode=NodeRemoveVoter, decide=decide, locks=lock)

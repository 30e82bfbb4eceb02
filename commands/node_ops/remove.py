"""OP_NODE_REMOVE: the node is no member any more (pure).

    demoted    a master candidate is one no more; another one takes its place, if there is any
    unvoted    wait until the leader has let its voter go and its daemon has ended (council.py)
    leave      its agent forgets the cluster; tolerated, and left out if the node is out of reach
    removed    its key is revoked, and the node is gone

The voter goes first, while its vote still counts: a node that left with it would stay in the
configuration of the log, and of two voters the other one could then record nothing any more.

What can go wrong: a node that holds instances, or is the master, is refused. The voters cannot
agree -> the node stays a candidate. Once it was told to leave there is no way back: it is removed
even if it did not answer, and its key is worth nothing.
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
from commands.node_ops.set_params import modification, next_candidate
from commands.nodes import why_unreachable
from commands.opcode import Opcode
from eventstore.events import STREAM as LOG_STREAM
from eventstore.events import KeyRevoked
from nodeagent.calls import LeaveCluster
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import NodeRemoved
from projections.events.jobs import Lock
from projections.objects import Node
from projections.plans import Condition, Plan, Record, Step, Wait, fact, names

UNVOTED_S = 120.0


class NodeRemove(Opcode, frozen=True, kw_only=True):
    """Remove an empty node from the cluster."""

    NAME: ClassVar[str] = "OP_NODE_REMOVE"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]
    node_uuid: Annotated[str | None, Meta(description="Its uuid, which then counts")] = None


def lock(op: NodeRemove, cluster: Cluster) -> tuple[Lock, ...]:
    """The node and its name, alone: nothing may come to it meanwhile."""
    try:
        node = cluster.node(op.node_uuid or op.node_name)
    except NoSuchObject:
        return ()
    return locks(exclusive=(f"node/{node.uuid}", f"name/{node.name}"))


def decide(op: NodeRemove, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the removal."""
    if so_far:
        return Done()
    node = cluster.node(op.node_uuid or op.node_name)
    _check(cluster, node)
    steps = _demotion(cluster, node) if node.master_candidate or node.voter_key else []
    if not why_unreachable(node):
        steps.append(
            call(
                "leave",
                node.uuid,
                LeaveCluster(),
                resource=f"node/{node.uuid}",
                after=names(steps),
                timeout_s=30.0,
                final=True,
                tolerate=True,
            )
        )
    facts = [fact(f"node/{node.uuid}", NodeRemoved(node=node.uuid))]
    if node.curve_key:
        revoked = KeyRevoked(curve_key=node.curve_key, reason="the node was removed")
        facts.insert(0, fact(LOG_STREAM, revoked))
    steps.append(Record(id="removed", facts=tuple(facts), after=names(steps), final=True))
    return Plan(steps=tuple(steps))


def _demotion(cluster: Cluster, node: Node) -> list[Step]:
    changed = [msgspec.structs.replace(node, master_candidate=False)]
    if node.master_candidate and (other := next_candidate(cluster, node)) is not None:
        changed.append(msgspec.structs.replace(other, master_candidate=True))
    demoted = Record(
        id="demoted",
        facts=tuple(fact(f"node/{each.uuid}", modification(each)) for each in changed),
        undo=tuple(
            fact(f"node/{each.uuid}", modification(cluster.nodes[each.uuid])) for each in changed
        ),
    )
    unvoted = Wait(
        id="unvoted",
        after=("demoted",),
        until=Condition(kind="no-voter", subject=node.uuid),
        timeout_s=UNVOTED_S,
    )
    return [demoted, unvoted]


def _check(cluster: Cluster, node: Node) -> None:
    if node.uuid == cluster.settings.master:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is the master node",
            hint="gnt-cluster master-failover on another node first",
        )
    held = cluster.on_node(node.uuid) | cluster.mirrored_on(node.uuid)
    if held:
        some = sorted(cluster.instances[uuid].name for uuid in held)
        more = f" and {len(some) - 3} more" if len(some) > 3 else ""
        raise Refused(
            WRONG_STATE,
            f"{node.name} still holds {', '.join(some[:3])}{more}",
            hint="move them with failover, migrate or replace-disks -n, or remove them",
        )


HANDLER = Handler(opcode=NodeRemove, decide=decide, locks=lock)

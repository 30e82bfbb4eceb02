"""OP_NODE_EVACUATE: take instances off a node (pure). See commands/evacuation.py for the rest.

`primary-only` leaves the node its mirrors, `secondary-only` its instances; `all` takes both kinds
away, from this node and no other (commands/placement/emptying.py). With a named node, only mirrors
can go: all of them to that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from commands import evacuation, parse
from commands.errors import WRONG_INPUT, Refused
from commands.evacuation import Question
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.nodes import require_for_instances
from commands.opcode import Opcode
from commands.placement.departures import EVACUATE, MODES
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import Node
from projections.plans import Plan

PRIMARY, SECONDARY, ALL = MODES


class NodeEvacuate(Opcode, frozen=True, kw_only=True):
    """Take the instances of a node to other nodes of its group."""

    NAME: ClassVar[str] = "OP_NODE_EVACUATE"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="The node that is emptied", extra={"names": "node"})]
    node_uuid: str | None = None
    mode: Annotated[str, Meta(description="Which of its instances go", extra={"choices": MODES})]
    remote_node: Annotated[
        str | None, Meta(description="Where all mirrors go", extra={"names": "node"})
    ] = None
    remote_node_uuid: str | None = None
    iallocator: Annotated[str | None, Meta(description="Have other nodes chosen")] = None
    early_release: Annotated[
        bool, Meta(description="Remove old volumes before the copy is through")
    ] = False
    ignore_soft_errors: Annotated[
        bool | None, Meta(description="Even where limits that may be exceeded are exceeded")
    ] = None


def lock(op: NodeEvacuate, cluster: Cluster) -> tuple[Lock, ...]:
    """The node, shared; the jobs that follow take what they need."""
    node = _node_or_none(op, cluster)
    return locks(shared=() if node is None else (f"node/{node.uuid}",))


def looks_at(op: NodeEvacuate, cluster: Cluster) -> Iterable[str]:
    """All nodes: instances may go to any of them."""
    return tuple(cluster.nodes)


def decide(op: NodeEvacuate, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Decide where each instance goes; then submit the jobs."""
    parse.choice(op.mode, MODES, "mode")
    node = cluster.node(op.node_uuid or op.node_name)
    names = tuple(sorted(cluster.instances[uuid].name for uuid in _on(cluster, node, op.mode)))
    question = Question(
        origin=op.NAME,
        kind=EVACUATE,
        names=names,
        mode=op.mode,
        node=node.name,
        allocator=op.iallocator,
        ignore_soft_errors=bool(op.ignore_soft_errors),
        early_release=op.early_release,
    )
    if op.remote_node is None and op.remote_node_uuid is None:
        return evacuation.decide(question, cluster, given, so_far)
    return _to_one(op, cluster, given, node, question)


def _on(cluster: Cluster, node: Node, mode: str) -> Iterable[str]:
    match mode:
        case "primary-only":
            return cluster.on_node(node.uuid)
        case "secondary-only":
            return cluster.mirrored_on(node.uuid)
    return cluster.on_node(node.uuid) | cluster.mirrored_on(node.uuid)


def _to_one(
    op: NodeEvacuate, cluster: Cluster, given: Given, node: Node, question: Question
) -> Done:
    """All mirrors go to the node that was named."""
    if op.iallocator is not None:
        raise Refused(
            WRONG_INPUT, "a node is named and is to be chosen", hint="either -n NODE or -I NAME"
        )
    if op.mode != SECONDARY:
        raise Refused(
            WRONG_INPUT,
            "only mirrors can be taken to one named node",
            hint="add --secondary-only, or leave -n out to have nodes chosen",
        )
    target = require_for_instances(cluster.node(op.remote_node_uuid or op.remote_node or ""))
    if target.uuid == node.uuid:
        raise Refused(
            WRONG_INPUT, f"{node.name} is the node that is emptied", hint="name another node"
        )
    instances = [cluster.instance(name) for name in question.names]
    jobs = tuple((evacuation.replace_secondary(one, target.name),) for one in instances)
    group = cluster.groups[target.group].name
    moved = [(one.name, group, (cluster.nodes[one.primary].name, target.name)) for one in instances]
    return evacuation.done(question, given, jobs, moved=moved, failed=())


def _node_or_none(op: NodeEvacuate, cluster: Cluster) -> Node | None:
    try:
        return cluster.node(op.node_uuid or op.node_name)
    except NoSuchObject:
        return None


HANDLER = Handler(opcode=NodeEvacuate, decide=decide, locks=lock, looks_at=looks_at)

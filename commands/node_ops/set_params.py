"""OP_NODE_SET_PARAMS: the role of a node, and its parameters (pure).

A node is offline (its machine is off, as an operator says: nothing is asked of it), drained (it
takes nothing new), a master candidate, or none of these. As in Ganeti the first three exclude each
other, so setting one that is true clears the others; and a node that returns from one becomes a
candidate again while the pool has room.

What can go wrong: the last master candidate is never given up, nor the master's own mark; with
`auto_promote` another node becomes a candidate in the same record. There is nothing to undo but the
record itself. The result is Ganeti's: pairs of what changed and its new value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import parse
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from commands.unsupported import refuse_unsupported
from projections import params
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import NodeModified
from projections.events.jobs import Lock
from projections.objects import Node, Value
from projections.plans import Plan, Record, fact

NOT_YET = {
    "hv_state": "the state of nodes is what their agents report",
    "disk_state": "the state of nodes is what their agents report",
    "powered": "there is no out-of-band control yet",
}
FLAGS = ("master_candidate", "offline", "drained", "master_capable", "vm_capable")


class NodeSetParams(Opcode, frozen=True, kw_only=True):
    """Change the role or the parameters of a node."""

    NAME: ClassVar[str] = "OP_NODE_SET_PARAMS"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node", extra={"names": "node"})]
    node_uuid: Annotated[str | None, Meta(description="Its uuid, which then counts")] = None
    offline: Annotated[bool | None, Meta(description="Its machine is off")] = None
    drained: Annotated[bool | None, Meta(description="It takes nothing new")] = None
    master_candidate: Annotated[bool | None, Meta(description="It may become the master")] = None
    master_capable: Annotated[bool | None, Meta(description="It could be a candidate")] = None
    vm_capable: Annotated[bool | None, Meta(description="It may hold instances")] = None
    auto_promote: Annotated[
        bool, Meta(description="Make another node a candidate where one is missing")
    ] = False
    secondary_ip: Annotated[str | None, Meta(description="Address for disk replication")] = None
    ndparams: Annotated[dict[str, Value] | None, Meta(description="Node parameters")] = None
    force: Annotated[bool, Meta(description="Even with fewer candidates than the pool")] = False
    powered: bool | None = None
    hv_state: dict[str, Value] | None = None
    disk_state: dict[str, Value] | None = None


def lock(op: NodeSetParams, cluster: Cluster) -> tuple[Lock, ...]:
    """Its name, alone, and the cluster, so that two never give up the last candidates together.

    Not the node: an opcode that hangs, or is parked, on a dead node holds that, and saying that the
    node is offline is what sets it free. Only what running opcodes rely on waits for them.
    """
    try:
        node = cluster.node(op.node_uuid or op.node_name)
    except NoSuchObject:
        return ()
    relied_on = op.vm_capable is False or op.secondary_ip is not None
    return locks(
        exclusive=(
            "cluster",
            f"name/{node.name}",
            *((f"node/{node.uuid}",) if relied_on else ()),
        )
    )


def decide(op: NodeSetParams, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the change; then say what is different."""
    if so_far:
        return Done([tuple(line.split("=", 1)) for line in so_far[0].plan.explanation])
    refuse_unsupported(op, NOT_YET)
    node = cluster.node(op.node_uuid or op.node_name)
    new = _changed(op, cluster, node)
    differences = tuple(_differences(node, new))
    if not differences:
        raise Refused(
            WRONG_INPUT, f"nothing would change on {node.name}", hint="such as --drained=yes"
        )
    changed = [new, *_promoted(op, cluster, node, new)]
    return Plan(
        steps=(
            Record(
                id="modified",
                facts=tuple(fact(f"node/{each.uuid}", modification(each)) for each in changed),
                undo=tuple(
                    fact(f"node/{each.uuid}", modification(cluster.nodes[each.uuid]))
                    for each in changed
                ),
            ),
        ),
        explanation=(
            *differences,
            *(f"promoted={each.name}" for each in changed[1:]),
        ),
    )


def modification(node: Node) -> NodeModified:
    """Return the fact that a node has the flags and parameters of `node`."""
    return NodeModified(
        node=node.uuid,
        master_candidate=node.master_candidate,
        offline=node.offline,
        drained=node.drained,
        master_capable=node.master_capable,
        vm_capable=node.vm_capable,
        powered=node.powered,
        ndparams=node.ndparams,
        secondary_ip=node.secondary_ip,
    )


def _changed(op: NodeSetParams, cluster: Cluster, node: Node) -> Node:
    asked = {flag: getattr(op, flag) for flag in FLAGS if getattr(op, flag) is not None}
    roles = [flag for flag in ("offline", "drained", "master_candidate") if asked.get(flag)]
    if len(roles) > 1:
        raise Refused(
            WRONG_INPUT,
            f"{node.name} cannot be {' and '.join(roles)} at once",
            hint="set one of offline, drained and master_candidate",
        )
    if roles:
        cleared = dict.fromkeys(("offline", "drained", "master_candidate"), False)
        asked = {**cleared, **asked}
    capable = asked.get("master_capable", node.master_capable)
    if not capable and not asked.get("master_candidate"):
        asked["master_candidate"] = False
    elif not capable:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is not master_capable",
            hint=f"gnt-node modify --master-capable=yes {node.name}",
        )
    if _returns(node, asked) and capable and _pool_has_room(cluster, node):
        asked.setdefault("master_candidate", True)
    own = parse.modified(
        node.ndparams, op.ndparams or {}, params.tables().ndparams, f"node {node.name}"
    )
    new = msgspec.structs.replace(
        node, **asked, ndparams=own, secondary_ip=op.secondary_ip or node.secondary_ip
    )
    _check(op, cluster, node, new)
    return new


def _returns(node: Node, asked: Mapping[str, bool]) -> bool:
    """Say whether the node leaves a role, or a mark, that kept it from being a candidate."""
    after = {flag: asked.get(flag, getattr(node, flag)) for flag in FLAGS}
    kept = node.offline or node.drained or not node.master_capable
    return kept and not (after["offline"] or after["drained"]) and after["master_capable"]


def _pool_has_room(cluster: Cluster, node: Node) -> bool:
    others = (each for each in cluster.nodes.values() if each.uuid != node.uuid)
    return sum(each.master_candidate for each in others) < cluster.settings.candidate_pool_size


def _check(op: NodeSetParams, cluster: Cluster, node: Node, new: Node) -> None:
    if node.uuid == cluster.settings.master and not new.master_candidate:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is the master node",
            hint="it stays a candidate, online and not drained; master-failover changes the master",
        )
    if node.witness and (new.master_capable or new.vm_capable):
        raise Refused(
            WRONG_STATE,
            f"{node.name} is a witness, which neither leads nor holds instances",
            hint=f"gnt-cluster remove-witness {node.name}",
        )
    if not new.vm_capable and node.vm_capable:
        held = cluster.on_node(node.uuid) | cluster.mirrored_on(node.uuid)
        if held:
            raise Refused(
                WRONG_STATE, f"{node.name} holds {len(held)} instances", hint="move them first"
            )
    if new.secondary_ip != node.secondary_ip and (
        cluster.on_node(node.uuid) | cluster.mirrored_on(node.uuid)
    ):
        raise Refused(
            WRONG_STATE,
            f"mirrors on {node.name} use its address {node.secondary_ip or node.primary_ip}",
            hint="move the instances first",
        )


def _promoted(op: NodeSetParams, cluster: Cluster, node: Node, new: Node) -> tuple[Node, ...]:
    """Return the node that takes the place of a candidate that is given up, if one must.

    Raises Refused where too few would be left: never fewer than one, and fewer than the pool wants
    only with `force`.
    """
    if new.master_candidate or not node.master_candidate:
        return ()
    left, wanted = _candidates_without(cluster, node)
    if op.auto_promote and (chosen := next_candidate(cluster, node)) is not None:
        return (msgspec.structs.replace(chosen, master_candidate=True),)
    if left == 0:
        raise Refused(
            WRONG_STATE,
            f"{node.name} is the only master candidate",
            hint="make another node one first, or --auto-promote",
        )
    if left < wanted and not op.force:
        raise Refused(
            WRONG_STATE,
            f"only {left} master candidates would be left, {wanted} are wanted",
            hint="--auto-promote makes another node one; --force goes on with fewer",
        )
    return ()


def next_candidate(cluster: Cluster, node: Node) -> Node | None:
    """Return who becomes a candidate in the place of `node`, None if the pool is full or nobody
    can."""
    left, wanted = _candidates_without(cluster, node)
    if left >= wanted:
        return None
    return min(_eligible(cluster, node), key=lambda each: each.name)


def fill_pool(cluster: Cluster, size: int) -> tuple[Node, ...]:
    """Return, as candidates, the nodes that a pool of this size takes in: as many as it lacks."""
    have = sum(each.master_candidate for each in cluster.nodes.values())
    chosen = sorted(_eligible(cluster), key=lambda each: each.name)[: max(0, size - have)]
    return tuple(msgspec.structs.replace(each, master_candidate=True) for each in chosen)


def _candidates_without(cluster: Cluster, node: Node) -> tuple[int, int]:
    """Return how many candidates there would be without `node`, and how many there should be."""
    left = sum(each.master_candidate for each in cluster.nodes.values() if each.uuid != node.uuid)
    most = left + len(_eligible(cluster, node))
    return left, min(cluster.settings.candidate_pool_size, most)


def _eligible(cluster: Cluster, but: Node | None = None) -> list[Node]:
    return [
        each
        for each in cluster.nodes.values()
        if each is not but
        and each.master_capable
        and each.joined
        and not (each.master_candidate or each.offline or each.drained or each.lost)
    ]


def _differences(old: Node, new: Node) -> Iterable[str]:
    for flag in FLAGS:
        if getattr(old, flag) != getattr(new, flag):
            yield f"{flag}={getattr(new, flag)}"
    if old.secondary_ip != new.secondary_ip:
        yield f"secondary_ip={new.secondary_ip}"
    for name in sorted({*old.ndparams, *new.ndparams}):
        if old.ndparams.get(name) != new.ndparams.get(name):
            yield f"nd/{name}={new.ndparams.get(name, 'default')}"


HANDLER = Handler(opcode=NodeSetParams, decide=decide, locks=lock)

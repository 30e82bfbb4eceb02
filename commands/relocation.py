"""Where an instance can run besides its primary, and what must hold for it to go there (pure).

A mirror can go to its secondary, and nowhere else. What has no side of its own on a node (shared
files, no disks) can go to any node of its group: one that is named, or the one with most memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from commands import allocation, allocator_call, bridges
from commands.allocation import Choice
from commands.capacity import memory_need_mib
from commands.disks import MIRRORED, SHARED
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.handler import Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, locks, subject_or_none
from commands.nodes import require_for_instances, require_reachable
from commands.placement import request
from commands.placement.from_cluster import figures
from nodeagent.calls import NodeStatus
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import InstancePrimaryChanged
from projections.events.jobs import Lock
from projections.objects import Instance, Node
from projections.plans import Plan, Record, fact

ANYWHERE = SHARED | {"diskless"}


class RelocationOpcode(InstanceOpcode, frozen=True, kw_only=True):
    """Base of the opcodes that change an instance's primary node."""

    target_node: Annotated[
        str | None, Meta(description="Where it is to run", extra={"names": "node"})
    ] = None
    target_node_uuid: str | None = None
    iallocator: Annotated[str | None, Meta(description="Have the node chosen")] = None
    ignore_ipolicy: Annotated[
        bool, Meta(description="Choose nodes against the policy of their group, too")
    ] = False


def lock(op: RelocationOpcode, cluster: Cluster) -> tuple[Lock, ...]:
    """The instance, alone; its nodes and those where it may go, shared."""
    own = instance_locks(op, cluster)
    instance = subject_or_none(op, cluster)
    others = () if instance is None else possible(op, cluster, instance)
    return locks(
        exclusive=(each.name for each in own if not each.shared),
        shared=(
            *(each.name for each in own if each.shared),
            *(f"node/{node.uuid}" for node in others),
        ),
    )


def looks_at(op: RelocationOpcode, cluster: Cluster) -> Iterable[str]:
    """Its primary, and every node where it may go."""
    instance = subject_or_none(op, cluster)
    if instance is None:
        return ()
    return (instance.primary, *(node.uuid for node in possible(op, cluster, instance)))


def possible(op: RelocationOpcode, cluster: Cluster, instance: Instance) -> tuple[Node, ...]:
    """Return the nodes where the instance may go; unknown names give none."""
    named = op.target_node_uuid or op.target_node
    if instance.secondary is not None:
        return (cluster.nodes[instance.secondary],)
    if named is not None:
        try:
            return (cluster.node(named),)
        except NoSuchObject:
            return ()
    group = cluster.groups[cluster.nodes[instance.primary].group]
    return tuple(
        node for node in allocation.candidates(cluster, group) if node.uuid != instance.primary
    )


def ask(
    op: RelocationOpcode,
    cluster: Cluster,
    instance: Instance,
    seen: Mapping[str, NodeStatus],
    so_far: Outcomes,
) -> Plan | None:
    """Return the plan that asks the operator's own allocator, None if there is nothing to ask.

    Raises Refused where there is no choice that an allocator could make.
    """
    allocator = allocator_call.external(cluster, op.iallocator)
    if allocator is None or allocator_call.answer(so_far) is not None:
        return None
    if instance.template not in ANYWHERE or op.target_node or op.target_node_uuid:
        if op.iallocator is None:
            return None
        raise Refused(
            WRONG_INPUT,
            f"there is no choice of nodes for {instance.name}",
            hint="leave -I out: a mirror goes to its other side, a named node is taken",
        )
    question = request.relocate(cluster, instance)
    return allocator_call.ask(cluster, allocator, figures(cluster, seen), question)


def target(
    op: RelocationOpcode,
    cluster: Cluster,
    instance: Instance,
    seen: Mapping[str, NodeStatus],
    *,
    runs: bool,
    so_far: Outcomes = (),
) -> tuple[Node, Choice]:
    """Return the node where it goes, and why. `runs`: it needs its memory there.

    Raises Refused, NoSuchObject.
    """
    memory_mib = memory_need_mib(cluster, instance) if runs else 0
    named = op.target_node_uuid or op.target_node
    choice = Choice((), ())
    if (answer := allocator_call.answer(so_far)) is not None:
        group = cluster.nodes[instance.primary].group
        choice = allocator_call.chosen(cluster, answer, count=1, group=group)
        named = choice.nodes[0]
    if instance.template in MIRRORED:
        node = _secondary(cluster, instance, named)
    elif instance.template not in ANYWHERE:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} cannot leave its node: {instance.template} disks are only there",
            hint="drbd, sharedfile, blockdev and diskless instances can",
        )
    elif named is None:
        chosen = allocation.choose_other(cluster, seen, instance, ignore_policy=op.ignore_ipolicy)
        node = cluster.nodes[chosen.nodes[-1]]
        if runs:
            bridges.require(cluster, seen, node, instance.nics)
        return node, chosen
    else:
        node = require_for_instances(cluster.node(named))
        if node.uuid == instance.primary:
            raise Refused(
                WRONG_INPUT, f"{instance.name} is on {node.name} already", hint="another node"
            )
    if memory_mib:
        allocation.require_room(
            cluster, seen, node, template=instance.template, memory_mib=memory_mib
        )
    if runs:
        bridges.require(cluster, seen, node, instance.nics)
    return node, choice


def _secondary(cluster: Cluster, instance: Instance, named: str | None) -> Node:
    assert instance.secondary is not None, instance.uuid
    node = cluster.nodes[instance.secondary]
    if named is not None and cluster.node(named).uuid != node.uuid:
        raise Refused(
            WRONG_INPUT,
            f"{instance.name} can only go to its secondary node, {node.name}",
            hint="leave the target out; replace-disks -n moves the secondary first",
        )
    # Drained is no obstacle: a node is emptied by moves, and a mirror has only this way.
    return require_reachable(node)


def moved(instance: Instance, to: str) -> Instance:
    """Return the instance as it is once it has gone to node `to`, a generation later."""
    disks = tuple(
        msgspec.structs.replace(
            disk, sides=tuple(sorted(disk.sides, key=lambda side: side.node != to))
        )
        for disk in instance.disks
    )
    return msgspec.structs.replace(
        instance, primary=to, generation=instance.generation + 1, disks=disks
    )


def moves(instance: Instance, after: Iterable[str], *, to: str, how: str) -> Record:
    """Return the step that records the new primary. From there on there is no way back."""
    changed = InstancePrimaryChanged(
        instance=instance.uuid, primary=to, generation=instance.generation + 1, how=how
    )
    return Record(
        id="moved",
        facts=(fact(f"instance/{instance.uuid}", changed),),
        after=tuple(after),
        final=True,
    )


def check_consistent(instance: Instance, node: Node, *, alone: bool) -> None:
    """Refuse unless the disks on `node` are whole, so that the instance can go on with them.

    `alone`: the other side is known to be off, so that a mirror without its peer is no surprise.
    """
    wrong = ("faulty", "syncing") if alone else ("faulty", "syncing", "degraded")
    for index, disk in enumerate(instance.disks):
        state = disk.health.get(node.uuid, "")
        if state in wrong:
            raise Refused(
                WRONG_STATE,
                f"disk {index} of {instance.name} is {state} on {node.name}",
                hint="repair it with replace-disks first; a failover with --ignore-consistency "
                "takes what is there",
            )

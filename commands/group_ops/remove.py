"""OP_GROUP_REMOVE: an empty node group is gone (pure). One record.

What can go wrong: a group that has nodes, or is the last one, is refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.group_ops.settings import group_lock
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.events.configuration import GroupAdded, GroupRemoved
from projections.events.jobs import Lock
from projections.plans import Plan, Record, fact


class GroupRemove(Opcode, frozen=True, kw_only=True):
    """Remove an empty node group."""

    NAME: ClassVar[str] = "OP_GROUP_REMOVE"
    SUMMARY: ClassVar[str] = "group_name"

    group_name: Annotated[str, Meta(description="Name of the group", extra={"names": "group"})]


def lock(op: GroupRemove, cluster: Cluster) -> tuple[Lock, ...]:
    """The group and its name, alone: no node may come to it meanwhile."""
    return group_lock(cluster, op.group_name)


def decide(op: GroupRemove, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record it."""
    if so_far:
        return Done()
    group = cluster.group(op.group_name)
    nodes = sorted(node.name for node in cluster.nodes.values() if node.group == group.uuid)
    if nodes:
        raise Refused(
            WRONG_STATE,
            f"group {group.name} still has {', '.join(nodes[:5])}",
            hint="only an empty group can go: remove its nodes first",
        )
    if len(cluster.groups) == 1:
        raise Refused(
            WRONG_STATE, f"{group.name} is the only group", hint="gnt-group add makes another one"
        )
    stream = f"group/{group.uuid}"
    removed = Record(
        id="removed",
        facts=(fact(stream, GroupRemoved(group=group.uuid)),),
        undo=(fact(stream, GroupAdded(group=group)),),
    )
    return Plan(steps=(removed,))


HANDLER = Handler(opcode=GroupRemove, decide=decide, locks=lock)

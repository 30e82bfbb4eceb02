"""OP_GROUP_EVACUATE: take all instances of a group to others (pure). See commands/evacuation.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from commands import evacuation
from commands.errors import WRONG_INPUT, Refused
from commands.evacuation import Question
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from commands.placement.departures import CHANGE_GROUP
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import Group
from projections.plans import Plan

_GROUPS = {"names": "group"}


class GroupEvacuate(Opcode, frozen=True, kw_only=True):
    """Take all instances of a node group to other groups."""

    NAME: ClassVar[str] = "OP_GROUP_EVACUATE"
    SUMMARY: ClassVar[str] = "group_name"

    group_name: Annotated[str, Meta(description="The group that is emptied", extra=_GROUPS)]
    target_groups: Annotated[
        tuple[str, ...] | None, Meta(description="Where they may go; all if none", extra=_GROUPS)
    ] = None
    iallocator: Annotated[str | None, Meta(description="Have the nodes chosen by it")] = None
    early_release: Annotated[
        bool, Meta(description="Remove old volumes before the copy is through")
    ] = False
    sequential: Annotated[bool, Meta(description="One instance after the other")] = False
    force_failover: Annotated[bool, Meta(description="Never migrate")] = False


def lock(op: GroupEvacuate, cluster: Cluster) -> tuple[Lock, ...]:
    """The group, shared; the jobs that follow take what they need."""
    try:
        group = cluster.group(op.group_name)
    except NoSuchObject:
        return ()
    return locks(shared=(f"group/{group.uuid}",))


def looks_at(op: GroupEvacuate, cluster: Cluster) -> Iterable[str]:
    """All nodes: instances may go to any of them."""
    return tuple(cluster.nodes)


def decide(op: GroupEvacuate, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Decide where each instance goes; then submit the jobs."""
    group = cluster.group(op.group_name)
    names = tuple(
        sorted(
            one.name
            for one in cluster.instances.values()
            if any(cluster.nodes[node].group == group.uuid for node in one.nodes)
        )
    )
    question = Question(
        origin=op.NAME,
        kind=CHANGE_GROUP,
        names=names,
        groups=targets(cluster, op.target_groups, leaving={group.uuid}),
        allocator=op.iallocator,
        early_release=op.early_release,
        sequential=op.sequential,
        force_failover=op.force_failover,
    )
    return evacuation.decide(question, cluster, given, so_far)


def targets(
    cluster: Cluster, named: tuple[str, ...] | None, *, leaving: set[str]
) -> tuple[str, ...]:
    """Return the uuids of the groups that may be gone to: all others if none is named.

    Raises Refused if there is none, or one that is left is named; NoSuchObject for unknown ones.
    """
    wanted: list[Group] = [cluster.group(each) for each in named or ()]
    for group in wanted:
        if group.uuid in leaving:
            raise Refused(
                WRONG_INPUT,
                f"group {group.name} is the one that is left",
                hint="name other groups, or none to allow all of them",
            )
    others = wanted or [group for group in cluster.groups.values() if group.uuid not in leaving]
    if not others:
        raise Refused(
            WRONG_INPUT, "there is no other group", hint="gnt-group add NAME, and give it nodes"
        )
    return tuple(sorted({group.uuid for group in others}))


HANDLER = Handler(opcode=GroupEvacuate, decide=decide, locks=lock, looks_at=looks_at)

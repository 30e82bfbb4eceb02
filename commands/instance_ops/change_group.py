"""OP_INSTANCE_CHANGE_GROUP: take an instance to another group (pure). See commands/evacuation.py.

The copy is made on a node of the new group first, the instance changes over to it, and then its
second copy follows: at no time it has fewer than it had.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from commands import evacuation
from commands.evacuation import Question
from commands.given import Given
from commands.group_ops.evacuate import targets
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, locks, subject, subject_or_none
from commands.placement.departures import CHANGE_GROUP
from projections.cluster import Cluster
from projections.events.jobs import Lock
from projections.plans import Plan


class InstanceChangeGroup(InstanceOpcode, frozen=True, kw_only=True):
    """Take an instance to nodes of another group."""

    NAME: ClassVar[str] = "OP_INSTANCE_CHANGE_GROUP"

    target_groups: Annotated[
        tuple[str, ...] | None,
        Meta(description="Where it may go; all others if none", extra={"names": "group"}),
    ] = None
    iallocator: Annotated[str | None, Meta(description="Have the nodes chosen by it")] = None
    early_release: Annotated[
        bool, Meta(description="Remove old volumes before the copy is through")
    ] = False


def lock(op: InstanceChangeGroup, cluster: Cluster) -> tuple[Lock, ...]:
    """The instance, shared: the job that follows takes it alone."""
    instance = subject_or_none(op, cluster)
    return locks(shared=() if instance is None else (f"instance/{instance.uuid}",))


def looks_at(op: InstanceChangeGroup, cluster: Cluster) -> Iterable[str]:
    """All nodes: it may go to any of them."""
    return tuple(cluster.nodes)


def decide(
    op: InstanceChangeGroup, cluster: Cluster, given: Given, so_far: Outcomes
) -> Plan | Done:
    """Decide where it goes; then submit the job."""
    instance = subject(op, cluster)
    leaving = {cluster.nodes[node].group for node in instance.nodes}
    question = Question(
        origin=op.NAME,
        kind=CHANGE_GROUP,
        names=(instance.name,),
        groups=targets(cluster, op.target_groups, leaving=leaving),
        allocator=op.iallocator,
        early_release=op.early_release,
    )
    return evacuation.decide(question, cluster, given, so_far)


HANDLER = Handler(opcode=InstanceChangeGroup, decide=decide, locks=lock, looks_at=looks_at)

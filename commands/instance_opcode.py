"""What all opcodes about one instance share: how they name it, and what they lock (pure).

Such an opcode holds the instance exclusively and its nodes shared. It also holds the name shared:
an instance that is being created has its name locked from before it exists until it is started, so
nobody comes between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import Instance


class InstanceOpcode(Opcode, frozen=True, kw_only=True):
    """Base of the opcodes about one instance."""

    SUMMARY: ClassVar[str] = "instance_name"

    instance_name: Annotated[
        str, Meta(description="Name of the instance", extra={"names": "instance"})
    ]
    instance_uuid: Annotated[str | None, Meta(description="Its uuid, which then counts")] = None


def subject(op: InstanceOpcode, cluster: Cluster) -> Instance:
    """Return the instance that the opcode is about. Raises NoSuchObject."""
    return cluster.instance(op.instance_uuid or op.instance_name)


def subject_or_none(op: InstanceOpcode, cluster: Cluster) -> Instance | None:
    """Return the instance, or None: locks are asked for before the decision can refuse."""
    try:
        return subject(op, cluster)
    except NoSuchObject:
        return None


def instance_locks(op: InstanceOpcode, cluster: Cluster) -> tuple[Lock, ...]:
    """Return the locks of an opcode that stays on the instance's own nodes."""
    instance = subject_or_none(op, cluster)
    if instance is None:
        return ()
    return locks(
        exclusive=(f"instance/{instance.uuid}",),
        shared=(f"name/{instance.name}", *(f"node/{node}" for node in instance.nodes)),
    )


def own_nodes(op: InstanceOpcode, cluster: Cluster) -> Iterable[str]:
    """Return the nodes of which the decision wants to know what is seen: the instance's own."""
    instance = subject_or_none(op, cluster)
    return () if instance is None else instance.nodes


def locks(*, exclusive: Iterable[str] = (), shared: Iterable[str] = ()) -> tuple[Lock, ...]:
    """Return locks in order, each once; one that is wanted both ways is exclusive."""
    alone = set(exclusive)
    both = {*(Lock(name) for name in alone), *(Lock(n, True) for n in set(shared) - alone)}
    return tuple(sorted(both))

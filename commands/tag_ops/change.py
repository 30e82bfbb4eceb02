"""What setting and deleting tags share: of what, and its lock (pure)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from commands import parse
from commands.errors import WRONG_INPUT, Refused
from commands.instance_opcode import locks
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import ClusterInfo, Group, Instance, Node

TABLES = {"cluster": "cluster", "nodegroup": "group", "node": "node", "instance": "instance"}


class TagsOpcode(Opcode, frozen=True, kw_only=True):
    """Base of the opcodes about tags."""

    kind: Annotated[str, Meta(description="Of what", extra={"choices": tuple(TABLES)})]
    tags: Annotated[tuple[str, ...], Meta(description="The tags")]
    name: Annotated[str | None, Meta(description="Its name; none for the cluster")] = None


def bearer(op: TagsOpcode, cluster: Cluster) -> tuple[str, ClusterInfo | Group | Node | Instance]:
    """Return the table and the object that bears the tags. Raises Refused, NoSuchObject."""
    table = TABLES[parse.choice(op.kind, TABLES, "kind of object with tags")]
    if table == "cluster":
        return table, cluster.settings
    if not op.name:
        raise Refused(WRONG_INPUT, f"tags of which {op.kind}?", hint="give its name")
    match table:
        case "group":
            return table, cluster.group(op.name)
        case "node":
            return table, cluster.node(op.name)
    return table, cluster.instance(op.name)


def lock(op: TagsOpcode, cluster: Cluster) -> tuple[Lock, ...]:
    """A lock of its own for the tags of a node or instance: they wait for no job that uses it.

    A change of the cluster or a group records all of it, its tags too; so there it is that lock.
    """
    try:
        table, thing = bearer(op, cluster)
    except (Refused, NoSuchObject):
        return ()
    match table:
        case "cluster":
            return locks(exclusive=("cluster",))
        case "group":
            return locks(exclusive=(f"group/{thing.uuid}",))
    return locks(exclusive=(f"tags/{table}/{thing.uuid}",))


def stream_of(table: str, uuid: str) -> str:
    """Return the stream of an object."""
    return "cluster" if table == "cluster" else f"{table}/{uuid}"

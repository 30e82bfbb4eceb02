"""What a table is: columns with their getters, and what a row can be read from (pure).

A value comes with a status, as Ganeti's: a field that is unknown, that has no data because its
node does not answer, that does not apply, or whose node is offline, is not an error of the query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nodeagent.calls import InstanceSeen, NodeStatus
from projections.cluster import Cluster
from projections.objects import Group, Instance, Node

NORMAL, UNKNOWN, NO_DATA, UNAVAILABLE, OFFLINE = range(5)

Cell = tuple[int, object]

NOTHING: Cell = (NO_DATA, None)
NOT_HERE: Cell = (UNAVAILABLE, None)
IS_OFFLINE: Cell = (OFFLINE, None)
NO_SUCH_FIELD: Cell = (UNKNOWN, None)

TEXT, NUMBER, FLOAT, BOOL, UNIT, TIMESTAMP, OTHER = (
    "text", "number", "float", "bool", "unit", "timestamp", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer. `kind` as in Ganeti; a unit is MiB, a timestamp seconds."""

    name: str
    title: str
    kind: str
    doc: str = ""


@dataclass(frozen=True)
class World:
    """What rows are read from: the configuration at one seq, and what was last seen of the nodes.

    `seen` is None for a moment of the past: what was seen is not history, so those fields have no
    data, and the status of an instance is what the last event says of it.
    """

    cluster: Cluster
    seen: Mapping[str, NodeStatus] | None = None

    @cached_property
    def running(self) -> dict[str, tuple[str, InstanceSeen]]:
        """Where each instance was seen: uuid -> (node, what was seen). Not those seen stopped.

        Of several nodes that have it running, the primary counts.
        """
        found: dict[str, tuple[str, InstanceSeen]] = {}
        for node in self.cluster.nodes.values():
            status = self.status_of(node)
            for seen in status.instances if status is not None else ():
                if seen.state in ("running", "paused"):
                    wanted = self.cluster.instances.get(seen.uuid)
                    if seen.uuid not in found or (wanted and wanted.primary == node.uuid):
                        found[seen.uuid] = (node.uuid, seen)
        return found

    def status_of(self, node: Node) -> NodeStatus | None:
        """What was last seen of a node, or None: what a lost or offline one said is stale."""
        if self.seen is None or node.lost or node.offline:
            return None
        return self.seen.get(node.uuid)

    def node(self, uuid: str) -> Node:
        """Return a node by uuid; it exists, because a foreign key of the configuration names it."""
        return self.cluster.nodes[uuid]

    def group_of(self, node: Node) -> Group:
        """Return the group of a node."""
        return self.cluster.groups[node.group]

    def primaries(self, node: Node) -> list[Instance]:
        """Return the instances whose primary this is, sorted."""
        return self._sorted(self.cluster.primaries.get(node.uuid, ()))

    def secondaries(self, node: Node) -> list[Instance]:
        """Return the instances that this node mirrors, sorted."""
        return self._sorted(self.cluster.secondaries.get(node.uuid, ()))

    def _sorted(self, uuids: Iterable[str]) -> list[Instance]:
        found = (self.cluster.instances[uuid] for uuid in uuids)
        return sorted(found, key=lambda instance: nice(instance.name))


# Any: each table has its own type of row, which its own getters know.
Getter = Callable[[World, Any], Cell]


@dataclass(frozen=True, slots=True)
class FieldDef:
    """A column and how its value is read from a row."""

    column: Column
    get: Getter


def field(name: str, title: str, kind: str, doc: str, get: Getter) -> FieldDef:
    """Return a field."""
    return FieldDef(Column(name, title, kind, doc), get)


def value(name: str, title: str, kind: str, doc: str, get: Callable[[Any], object]) -> FieldDef:
    """Return a field that every row has, and that needs nothing but the row."""
    return field(name, title, kind, doc, lambda _, row: (NORMAL, get(row)))


def by_name(*fields: FieldDef) -> dict[str, FieldDef]:
    """Return fields by name. Names must differ."""
    table = {each.column.name: each for each in fields}
    assert len(table) == len(fields), "a field is defined twice"
    return table


def stamps() -> tuple[FieldDef, ...]:
    """Return the fields that all objects of the configuration have."""
    return (
        value("ctime", "CTime", TIMESTAMP, "When it was created", lambda row: row.ctime_ms / 1000),
        value("mtime", "MTime", TIMESTAMP, "When it last changed", lambda row: row.mtime_ms / 1000),
        value("serial_no", "SerialNo", NUMBER, "Number of its changes", lambda row: row.serial),
        value("uuid", "UUID", TEXT, "Its id, which never changes", lambda row: row.uuid),
        value("tags", "Tags", OTHER, "Its tags", lambda row: sorted(row.tags)),
    )


_PARTS = re.compile(r"(\d+)")


def nice(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that orders node2 before node10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in _PARTS.split(name)
        if part
    )

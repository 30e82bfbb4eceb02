"""The configuration as one immutable value: objects, names, what open plans reserved (pure).

A change returns a new `Cluster` that shares all that did not change, so keeping an older one costs
a reference. Lookups by name go through `names`: every name in use, and every reserved one.

Every change goes through `put` and `drop`, which also note, for the seq at hand, when each *field*
of the object last changed (`changed`), and which objects were touched since somebody last looked
(`touched`, for digests): so no fold can forget either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import immutables
import msgspec

from projections.errors import CorruptHistory, NoSuchObject
from projections.objects import ClusterInfo, Group, Instance, Node
from projections.plans import Reservations

Key = tuple[str, str]  # (table, uuid)

TABLES: dict[str, type[msgspec.Struct]] = {
    "cluster": ClusterInfo,
    "group": Group,
    "node": Node,
    "instance": Instance,
}


class Touched(NamedTuple):
    """A chain of the keys that changed, newest first: a persistent list that costs nothing."""

    key: Key
    before: Touched | None


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration at one seq."""

    info: ClusterInfo | None = None  # None before `cluster.created`
    groups: immutables.Map[str, Group] = immutables.Map()
    nodes: immutables.Map[str, Node] = immutables.Map()
    instances: immutables.Map[str, Instance] = immutables.Map()
    # "instance/web1.example.net" -> uuid; a reserved name maps to ""
    names: immutables.Map[str, str] = immutables.Map()
    # node uuid -> uuids of the instances whose primary / secondary it is
    primaries: immutables.Map[str, frozenset[str]] = immutables.Map()
    secondaries: immutables.Map[str, frozenset[str]] = immutables.Map()
    # (job, opcode) -> what its present plan has reserved
    reserved: immutables.Map[tuple[int, int], Reservations] = immutables.Map()
    # duty id -> (node, job, what)
    duties: immutables.Map[str, tuple[str, int, str]] = immutables.Map()
    # (table, uuid) -> seq of the last change of each field, in the order of the struct's fields
    changed: immutables.Map[Key, tuple[int, ...]] = immutables.Map()
    touched: Touched | None = None

    # --- reading ------------------------------------------------------------------------------

    @property
    def settings(self) -> ClusterInfo:
        """Return the cluster's own settings. Raises CorruptHistory before there is a cluster."""
        if self.info is None:
            raise CorruptHistory("there is no cluster yet")
        return self.info

    def instance(self, key: str) -> Instance:
        """Return an instance by uuid or name. Raises NoSuchObject, with the nearest names."""
        found = self.instances.get(key)
        return found if found is not None else self.instances[self._find("instance", key)]

    def node(self, key: str) -> Node:
        """Return a node by uuid or name. Raises NoSuchObject, with the nearest names."""
        found = self.nodes.get(key)
        return found if found is not None else self.nodes[self._find("node", key)]

    def group(self, key: str) -> Group:
        """Return a group by uuid or name. Raises NoSuchObject, with the nearest names."""
        found = self.groups.get(key)
        return found if found is not None else self.groups[self._find("group", key)]

    def table(self, table: str) -> immutables.Map[str, Any]:
        """Return the objects of one kind by uuid. Any: the kinds share no base."""
        match table:
            case "group":
                return self.groups
            case "node":
                return self.nodes
            case "instance":
                return self.instances
            case "cluster":
                own = {} if self.info is None else {self.info.uuid: self.info}
                return immutables.Map(own)
        raise AssertionError(table)

    def names_of(self, table: str) -> Iterator[str]:
        """Yield the names in use in one table, in no order; reserved ones are left out."""
        for thing in self.table(table).values():
            yield thing.name

    def _find(self, table: str, name: str) -> str:
        uuid = self.names.get(f"{table}/{name}", "")
        if uuid:
            return uuid
        short = [known for known in self.names_of(table) if known.startswith(f"{name}.")]
        if len(short) == 1:  # Ganeti expands a short name where it is unambiguous
            return self.names[f"{table}/{short[0]}"]
        known = sorted(self.names_of(table))
        nearest = short or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise NoSuchObject(table, name, tuple(nearest))

    # --- changing (folds only) ----------------------------------------------------------------

    def put(self, table: str, uuid: str, new: msgspec.Struct, seq: int) -> Cluster:
        """Return the cluster with `new` in its place, added or changed at `seq`.

        Keeps the names and the node -> instances indexes. Raises CorruptHistory if another
        object has that name.
        """
        raise NotImplementedError  # the folds' author replaces this line

    def drop(self, table: str, uuid: str, seq: int) -> Cluster:
        """Return the cluster without that object. Raises CorruptHistory if it is not there."""
        raise NotImplementedError  # the folds' author replaces this line

"""The configuration as one immutable value: objects, names, what open plans reserved (pure).

A change returns a new `Cluster` that shares all that did not change, so keeping an older one costs
a reference. Lookups by name go through `names`: every name in use, and every reserved one.

Every change goes through `put`, `drop` and their kin for what open opcodes hold, which also note,
for the seq at hand, when each *field* of the object last changed (`changed`), and which objects
were touched since somebody last looked (`touched`, for digests): so no fold can forget either.

What is derived: `names`, `primaries`, `secondaries` and `reserved_names` follow from the rest, so
they are neither in a digest nor in a snapshot; `index_again` makes them anew.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import immutables
import msgspec

from projections.errors import CorruptHistory, NoSuchObject
from projections.objects import ClusterInfo, Group, Instance, Node
from projections.plans import Reservations
from projections.unsettled import Duty, Parked
from projections.uuids import NONE, Uuids

Key = tuple[str, str]  # (table, uuid); of what an opcode holds ("reserved", "<job>/<op>")
OpKey = tuple[int, int]  # (job, opcode)

RESERVED, DUTY, PARKED = "reserved", "duty", "parked"  # in `touched`, beside the tables

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
    primaries: immutables.Map[str, Uuids] = immutables.Map()
    secondaries: immutables.Map[str, Uuids] = immutables.Map()
    # (job, opcode) -> what its present plan has reserved
    reserved: immutables.Map[OpKey, Reservations] = immutables.Map()
    # reserved name -> (job, opcode)
    reserved_names: immutables.Map[str, OpKey] = immutables.Map()
    # (job, opcode) -> that it waits for a person, and what it left where
    parked: immutables.Map[OpKey, Parked] = immutables.Map()
    # duty id -> what a node owes
    duties: immutables.Map[str, Duty] = immutables.Map()
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

    def on_node(self, node: str) -> Uuids:
        """Return the uuids of the instances whose primary is the node of that uuid."""
        return self.primaries.get(node, NONE)

    def mirrored_on(self, node: str) -> Uuids:
        """Return the uuids of the instances whose secondary is the node of that uuid."""
        return self.secondaries.get(node, NONE)

    def _find(self, table: str, name: str) -> str:
        uuid = self.names.get(f"{table}/{name}", "")
        if uuid:
            return uuid
        short = sorted(known for known in self.names_of(table) if known.startswith(f"{name}."))
        if len(short) == 1:  # Ganeti expands a short name where it is unambiguous
            return self.names[f"{table}/{short[0]}"]
        nearest = short or _nearest(name, sorted(self.names_of(table)))
        raise NoSuchObject(table, name, tuple(nearest))

    # --- changing (folds only) ----------------------------------------------------------------

    def put(self, table: str, uuid: str, new: msgspec.Struct, seq: int) -> Cluster:
        """Return the cluster with `new` in its place, added or changed at `seq`.

        Keeps the names and the node -> instances indexes. Raises CorruptHistory if another
        object has that name.
        """
        key = (table, uuid)
        old = self.info if table == "cluster" else self.table(table).get(uuid)
        if old is new:
            return self
        changes: dict[str, Any] = {
            "changed": self.changed.set(key, _marks(old, new, self.changed.get(key), seq)),
            "touched": Touched(key, self.touched),
        }
        if table == "cluster":
            changes["info"] = new
            return _replace(self, **changes)
        changes[f"{table}s"] = self.table(table).set(uuid, new)
        if old is None or old.name != new.name:  # type: ignore[attr-defined] # all of them have one
            changes["names"] = self._renamed(table, uuid, old, new)
        if table == "instance":
            changes |= self._placed(uuid, old, new)  # type: ignore[arg-type] # by its table
        return _replace(self, **changes)

    def drop(self, table: str, uuid: str, seq: int) -> Cluster:
        """Return the cluster without that object. Raises CorruptHistory if it is not there.

        What was last known of its fields goes with it: the log's records tell the rest.
        """
        old = self.table(table).get(uuid)
        if old is None:
            raise CorruptHistory(f"record {seq}: there is no {table} {uuid} to remove")
        key = (table, uuid)
        changes: dict[str, Any] = {
            f"{table}s": self.table(table).delete(uuid),
            "names": self._renamed(table, uuid, old, None),
            "changed": self.changed.delete(key),
            "touched": Touched(key, self.touched),
        }
        if table == "instance":
            changes |= self._placed(uuid, old, None)
        return _replace(self, **changes)

    def reserve(self, op: OpKey, wanted: Reservations) -> Cluster:
        """Return the cluster in which the opcode holds `wanted`, instead of what it held.

        Raises CorruptHistory if another opcode has reserved one of the names. A name that an object
        has already is not reserved again: an opcode may plan on with what it made itself.
        """
        free = self.release(op)
        if wanted == _NO_RESERVATIONS:
            return free
        names, holders = free.names, free.reserved_names
        for name in wanted.names:
            if holders.get(name, op) != op:
                raise CorruptHistory(f"{name} is reserved by {holders[name]} and by {op}")
            holders = holders.set(name, op)
            names = names if name in names else names.set(name, "")
        return _replace(
            free,
            names=names,
            reserved_names=holders,
            reserved=free.reserved.set(op, wanted),
            touched=Touched((RESERVED, f"{op[0]}/{op[1]}"), free.touched),
        )

    def release(self, op: OpKey) -> Cluster:
        """Return the cluster in which the opcode holds nothing; it need not have held anything."""
        held = self.reserved.get(op)
        if held is None:
            return self
        names, holders = self.names, self.reserved_names
        for name in dict.fromkeys(held.names):
            holders = holders.delete(name)
            names = names if names[name] else names.delete(name)
        return _replace(
            self,
            names=names,
            reserved_names=holders,
            reserved=self.reserved.delete(op),
            touched=Touched((RESERVED, f"{op[0]}/{op[1]}"), self.touched),
        )

    def with_duty(self, duty: str, owed: Duty | None) -> Cluster:
        """Return the cluster in which a node owes that duty, or no more."""
        if self.duties.get(duty) == owed:
            return self
        duties = self.duties.delete(duty) if owed is None else self.duties.set(duty, owed)
        return _replace(self, duties=duties, touched=Touched((DUTY, duty), self.touched))

    def with_parked(self, op: OpKey, parked: Parked | None) -> Cluster:
        """Return the cluster in which that opcode needs attention, or no more."""
        if self.parked.get(op) == parked:
            return self
        all_parked = self.parked.delete(op) if parked is None else self.parked.set(op, parked)
        key = (PARKED, f"{op[0]}/{op[1]}")
        return _replace(self, parked=all_parked, touched=Touched(key, self.touched))

    def untouched(self) -> Cluster:
        """Return the cluster with an empty chain `touched`: somebody has looked."""
        return self if self.touched is None else _replace(self, touched=None)

    def _renamed(self, table: str, uuid: str, old: Any, new: Any) -> immutables.Map[str, str]:
        names = self.names
        if new is not None:
            name = f"{table}/{new.name}"
            if names.get(name, "") not in ("", uuid):
                raise CorruptHistory(f"{table} {uuid} takes the name {new.name} of {names[name]}")
            names = names.set(name, uuid)
        if old is not None:
            name = f"{table}/{old.name}"
            # Still reserved: the opcode that made the object undoes it, and keeps the name so long.
            names = names.set(name, "") if name in self.reserved_names else names.delete(name)
        return names

    def _placed(self, uuid: str, old: Instance | None, new: Instance | None) -> dict[str, Any]:
        if old and new and old.primary == new.primary and old.disks is new.disks:
            return {}
        was = old.nodes if old else ()
        now = new.nodes if new else ()
        if was == now:
            return {}
        return {
            "primaries": _moved(self.primaries, uuid, was[:1], now[:1]),
            "secondaries": _moved(self.secondaries, uuid, was[1:], now[1:]),
        }


def index_again(
    groups: Mapping[str, Group],
    nodes: Mapping[str, Node],
    instances: Mapping[str, Instance],
    reserved: Mapping[OpKey, Reservations],
) -> dict[str, Any]:
    """Return what is derived from these objects, as fields of `Cluster`."""
    holders = {name: op for op, wanted in reserved.items() for name in wanted.names}
    names = dict.fromkeys(holders, "")
    for table, things in (("group", groups), ("node", nodes), ("instance", instances)):
        for uuid, thing in things.items():
            names[f"{table}/{thing.name}"] = uuid
    primaries: dict[str, list[str]] = {}
    secondaries: dict[str, list[str]] = {}
    for uuid, instance in instances.items():
        primary, *others = instance.nodes
        primaries.setdefault(primary, []).append(uuid)
        for node in others:
            secondaries.setdefault(node, []).append(uuid)
    return {
        "names": immutables.Map(names),
        "reserved_names": immutables.Map(holders),
        "primaries": immutables.Map({node: Uuids(them) for node, them in primaries.items()}),
        "secondaries": immutables.Map({node: Uuids(them) for node, them in secondaries.items()}),
    }


_replace = msgspec.structs.replace
_NO_RESERVATIONS = Reservations()


def _marks(
    old: msgspec.Struct | None, new: msgspec.Struct, marks: tuple[int, ...] | None, seq: int
) -> tuple[int, ...]:
    if old is None or marks is None:
        return (seq,) * len(new.__struct_fields__)
    pairs = zip(marks, msgspec.structs.astuple(old), msgspec.structs.astuple(new), strict=True)
    return tuple([mark if a is b or a == b else seq for mark, a, b in pairs])


def _moved(
    index: immutables.Map[str, Uuids], uuid: str, was: tuple[str, ...], now: tuple[str, ...]
) -> immutables.Map[str, Uuids]:
    if was == now:
        return index
    for node in was:
        left = index[node].minus(uuid)
        index = index.set(node, left) if left else index.delete(node)
    for node in now:
        index = index.set(node, index.get(node, NONE).plus(uuid))
    return index


def _nearest(name: str, known: list[str]) -> list[str]:
    """Return up to three names most like `name`; what is typed without dots may mean a first label.

    A short name against whole ones is never alike enough: `wbe1` against `web1.example.net`.
    """
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if alike or "." in name:
        return alike
    labels: dict[str, list[str]] = {}
    for each in known:
        labels.setdefault(each.partition(".")[0], []).append(each)
    close = difflib.get_close_matches(name, labels, n=3, cutoff=0.5)
    return [each for label in close for each in labels[label]][:3]

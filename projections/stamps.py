"""When an object came to be and was last changed: ctime, mtime, serial, from the record (pure)."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from eventstore.record import Record
from projections.cluster import Cluster
from projections.objects import ClusterInfo, Group, Instance, Node

Thing = TypeVar("Thing", ClusterInfo, Group, Node, Instance)

_replace = msgspec.structs.replace


def born(new: Thing, record: Record) -> Thing:
    """Return `new` with the time of its record; one that brings a time (an import) keeps it."""
    created = new.ctime_ms or record.unix_ms
    return _replace(new, ctime_ms=created, mtime_ms=new.mtime_ms or created)


def changed(
    cluster: Cluster,
    table: str,
    now: Thing,
    record: Record,
    *,
    to: Thing | None = None,
    keep: tuple[str, ...] = (),
    **fields: Any,
) -> Cluster:
    """Return the cluster in which `now` has these fields, or is `to`; a no-op stays one.

    Of `to`, the fields in `keep` and those that only folds set are taken from `now`. Any: the
    fields' own types; the struct's author checks them, a record's bytes were validated.
    """
    if to is not None:
        kept = {name: getattr(now, name) for name in (*keep, "ctime_ms", "mtime_ms", "serial")}
        new = _replace(to, **kept)
    else:
        new = _replace(now, **fields)
    if new == now:
        return cluster
    new = _replace(new, mtime_ms=record.unix_ms, serial=now.serial + 1)
    return cluster.put(table, now.uuid, new, record.seq)


def seen(cluster: Cluster, table: str, now: Thing, record: Record, **fields: Any) -> Cluster:
    """Return the cluster in which `now` was seen to be so: neither serial nor mtime rise."""
    if all(getattr(now, name) == value for name, value in fields.items()):
        return cluster
    return cluster.put(table, now.uuid, _replace(now, **fields), record.seq)

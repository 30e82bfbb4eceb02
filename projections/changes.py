"""Which record last changed which field, and why (pure: it is handed the log, and reads it).

`Cluster.changed` knows, for each object, the seq of the last change of each field. A field that
holds parameters (`beparams`) changes as a whole, so for one parameter the object's own stream is
read: it has few records, and each says all parameters of the field anew. From there the log itself
gives the reason: a record names the record that led to it (`cause`) and the job that it serves, and
a job begins with what somebody submitted, with the reason that was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from eventstore.record import Event, Record, Stored
from projections.cluster import TABLES, Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import JobSubmitted
from projections.past import History
from projections.registry import decode

_LONGEST = 64  # links of a chain that are followed


class Streams(History, Protocol):
    """A log that also finds the records of a stream."""

    def stream(self, name: str, from_version: int = 1) -> Iterator[Stored]:
        """Yield the records of a stream, in order."""


class Fields(NamedTuple):
    """What the fields of an object are, as builtins, and the seq of the last change of each."""

    table: str
    uuid: str
    name: str
    values: Mapping[str, object]
    seqs: Mapping[str, int]


class Link(NamedTuple):
    """A record on the way from a change to what began it. `event` is None for an unknown note."""

    record: Record
    event: Event | None


class Why(NamedTuple):
    """Why a field is what it is."""

    table: str
    uuid: str
    field: str
    value: object
    chain: tuple[Link, ...]  # the change first, then what led to it, each by the record's `cause`
    submitted: Link | None  # of the job that the change serves, if it serves one

    @property
    def actor(self) -> str:
        """Who began it: the submitter of the job, or whoever recorded the first link."""
        begin = self.submitted or self.chain[-1]
        return begin.record.actor

    @property
    def reason(self) -> tuple[tuple[str, str, int], ...]:
        """The reason trail that the job was given: (source, text, unix ns) each."""
        event = self.submitted.event if self.submitted else None
        return event.reason if isinstance(event, JobSubmitted) else ()


def changes_of(cluster: Cluster, table: str, key: str) -> dict[str, int]:
    """Return, for each field of an object (by uuid or name), the seq of its last change.

    Raises NoSuchObject, with the nearest names.
    """
    marks = cluster.changed[table, _uuid(cluster, table, key)]
    return dict(zip(TABLES[table].__struct_fields__, marks, strict=True))


def fields_of(cluster: Cluster, table: str, key: str) -> Fields:
    """Return the fields of an object (by uuid or name). Raises NoSuchObject, with the nearest."""
    uuid = _uuid(cluster, table, key)
    thing = cluster.table(table)[uuid]
    values = {name: msgspec.to_builtins(getattr(thing, name)) for name in thing.__struct_fields__}
    return Fields(table, uuid, str(values["name"]), values, changes_of(cluster, table, uuid))


def why(history: Streams, about: Fields, field: str, part: str = "") -> Why:
    """Return why a field of an object has its value, or why one parameter (`part`) in it has.

    A parameter that was never set on the object stands as it did when the object began.
    Raises NoSuchObject for a field that objects of this kind do not have.
    """
    if field not in about.seqs:
        raise NoSuchObject(f"field of {about.table}", field, tuple(sorted(about.seqs)))
    value, seq = about.values[field], about.seqs[field]
    if part:
        value, seq = part_of(value, part), _part_changed(history, about, field, part)
    chain = _chain(history, seq)
    job = chain[0].record.job
    first = next(history.job(job), None) if job is not None else None
    return Why(
        table=about.table,
        uuid=about.uuid,
        field=field,
        value=value,
        chain=chain,
        submitted=None if first is None else Link(first.record, decode(first.record)),
    )


def part_of(value: object, part: str) -> object:
    """Return one parameter of a field that holds parameters; None if it is not set in it.

    Of a field with parameters per hypervisor (or OS, or template) it is a map of those that set it.
    """
    if not isinstance(value, Mapping):
        return None
    if part not in value and any(isinstance(each, Mapping) for each in value.values()):
        own = {name: each[part] for name, each in value.items() if part in each}
        return own or None
    return value.get(part)


def _part_changed(history: Streams, about: Fields, field: str, part: str) -> int:
    """Return the seq of the record since which `part` is what it is in `about`."""
    stream = about.table if about.table == "cluster" else f"{about.table}/{about.uuid}"
    since, held = about.seqs[field], None
    first = True
    for stored in history.stream(stream):
        if stored.record.seq > about.seqs[field]:
            break
        said = _said(decode(stored.record), field)
        if said is None:
            continue
        now = part_of(said, part)
        if first or now != held:
            since, held, first = stored.record.seq, now, False
    return since


def _said(event: Event | None, field: str) -> object:
    """Return what an event says that a field is: itself, or in the object that it carries."""
    if event is None:
        return None
    carried = (getattr(event, name) for name in event.__struct_fields__)
    things = (event, *(each for each in carried if isinstance(each, msgspec.Struct)))
    return next((getattr(each, field) for each in things if hasattr(each, field)), None)


def _chain(history: History, seq: int) -> tuple[Link, ...]:
    links: list[Link] = []
    next_seq: int | None = seq
    while next_seq is not None and len(links) < _LONGEST:
        (stored,) = history.records(next_seq, next_seq)
        links.append(Link(stored.record, decode(stored.record)))
        cause = stored.record.cause
        next_seq = cause if cause is not None and cause < stored.record.seq else None
    return tuple(links)


def _uuid(cluster: Cluster, table: str, key: str) -> str:
    match table:
        case "instance":
            return cluster.instance(key).uuid
        case "node":
            return cluster.node(key).uuid
        case "group":
            return cluster.group(key).uuid
        case "cluster" if cluster.info is not None:
            return cluster.info.uuid
    raise NoSuchObject("kind of object", table, tuple(TABLES))

"""Which record last changed which field, and why (pure: it is handed the log, and reads it).

`Cluster.changed` knows, for each object, the seq of the last change of each field. From there the
log itself gives the reason: a record names the record that led to it (`cause`) and the job that it
serves, and a job begins with what somebody submitted, with the reason that was given.
"""

from __future__ import annotations

from typing import NamedTuple

from eventstore.record import Event, Record
from projections.cluster import TABLES, Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import JobSubmitted
from projections.past import History
from projections.registry import decode

_LONGEST = 64  # links of a chain that are followed


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


def why(cluster: Cluster, history: History, table: str, key: str, field: str) -> Why:
    """Return why a field of an object (by uuid or name) has its value.

    Raises NoSuchObject for the object, and for a field that objects of this kind do not have.
    """
    uuid = _uuid(cluster, table, key)
    marks = changes_of(cluster, table, uuid)
    if field not in marks:
        raise NoSuchObject(f"field of {table}", field, tuple(sorted(marks)))
    chain = _chain(history, marks[field])
    job = chain[0].record.job
    first = next(history.job(job), None) if job is not None else None
    return Why(
        table=table,
        uuid=uuid,
        field=field,
        value=getattr(cluster.table(table)[uuid], field),
        chain=chain,
        submitted=None if first is None else Link(first.record, decode(first.record)),
    )


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
        case "cluster":
            return cluster.settings.uuid
    raise NoSuchObject("kind of object", table, tuple(TABLES))

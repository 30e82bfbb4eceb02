"""Is what the clients saw possible, if this is the log? (pure)

For one log no search is needed (as it is for registers or sets): the log itself says in which order
things happened, so that each promise can be checked by itself, in O(n log n).

    (a) agree      what two voters hold for committed is the same, to the hash; each chain is sound
    (b) durable    what was acknowledged stands there once, where it was said to be, byte for byte,
                   and on every voter that has come so far
    (c) real time  a write that was asked for after another was acknowledged stands behind it
    (d) reads      a read that was asked for after an acknowledgement sees at least that record
    (e) once       what is unknown stands there once or never; what was refused, never; and nothing
                   stands there that nobody asked for
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from eventstore.record import Record, Stored, chain_hash, genesis_hash
from tests.history.notes import Note


class VoterLog(NamedTuple):
    """The log of one voter, from record 1, and up to where it holds it for committed."""

    voter: str
    records: Sequence[Stored]
    committed: int


class Broken(NamedTuple):
    """A promise that was not kept: which one, a to e, and how."""

    promise: str
    how: str


@dataclass(slots=True)
class _Write:
    key: str
    invoked_ns: int
    sha256: str
    acked_ns: int = 0  # when it was first acknowledged; 0: never
    seqs: set[int] = field(default_factory=set)  # where it was said to be
    refused: bool = False
    open: int = 0  # attempts whose end is not known


def digest_of_data(record: Record) -> str:
    """Return the SHA-256 of a record's data, as `Notebook` notes it."""
    return hashlib.sha256(record.data).hexdigest()


def check(
    cluster_id: str,
    notes: Iterable[Note],
    logs: Sequence[VoterLog],
    *,
    prefix: str = "",
    digest: Callable[[Record], str] = digest_of_data,
) -> list[Broken]:
    """Return every promise that was broken, none if the history is possible.

    The clients' records are those that bear an idempotency key with this prefix; of all such writes
    there must be notes. A write is a batch, and known by its first record with the key; `digest`
    says of that record what the client noted of its write.
    """
    ordered = sorted(notes, key=lambda note: note.time_ns)
    writes, broken = _writes(ordered)
    placed = _placed(max(logs, key=lambda log: log.committed), prefix)
    broken += _agree(cluster_id, logs)
    broken += _durable(writes, placed, logs, digest)
    broken += _in_real_time(ordered, writes, placed)
    broken += _reads(ordered)
    broken += _once(writes, placed, digest)
    return broken


def _placed(log: VoterLog, prefix: str) -> dict[str, list[Stored]]:
    """Return where each write stands: once for each batch."""
    placed: dict[str, list[Stored]] = defaultdict(list)
    seen: set[tuple[str, int]] = set()
    for stored in log.records[: log.committed]:
        record = stored.record
        if record.key is not None and record.key.startswith(prefix):
            batch = record.key, record.seq - record.index
            if batch not in seen:
                seen.add(batch)
                placed[record.key].append(stored)
    return placed


def _writes(notes: Sequence[Note]) -> tuple[dict[str, _Write], list[Broken]]:
    """Gather what is noted of each write."""
    writes: dict[str, _Write] = {}
    broken: list[Broken] = []
    for note in notes:
        if note.what in ("asked", "read"):
            continue
        if note.what == "invoked":
            write = writes.setdefault(note.key, _Write(note.key, note.time_ns, note.sha256))
            write.open += 1
            if write.sha256 != note.sha256:
                broken.append(Broken("e", f"{note.key} was used for two requests"))
            continue
        if note.key not in writes:
            broken.append(Broken("e", f"{note.key} was answered and never asked for"))
            continue
        write = writes[note.key]
        if note.what == "acked":
            write.open -= 1
            write.acked_ns = write.acked_ns or note.time_ns
            write.seqs.add(note.seq)
        elif note.what == "refused":
            write.open -= 1
            write.refused = True
    return writes, broken


def _agree(cluster_id: str, logs: Sequence[VoterLog]) -> list[Broken]:
    """(a)"""
    broken: list[Broken] = []
    for log in logs:
        last_hash = genesis_hash(cluster_id)
        for seq, stored in enumerate(log.records, 1):
            last_hash = chain_hash(last_hash, stored.encoded)
            if stored.hash != last_hash or stored.record.seq != seq:
                broken.append(Broken("a", f"{log.voter}: record {seq} does not chain"))
                break
        if log.committed > len(log.records):
            told = f"{log.voter}: {log.committed} committed, {len(log.records)} there"
            broken.append(Broken("a", told))
    by_commit = sorted(logs, key=lambda log: log.committed)
    for short, far in pairwise(by_commit):
        seq = min(short.committed, len(short.records), len(far.records))
        if seq and short.records[seq - 1].hash != far.records[seq - 1].hash:
            fork = next(
                number
                for number, (one, other) in enumerate(
                    zip(short.records, far.records, strict=False), 1
                )
                if one.hash != other.hash
            )
            told = f"{short.voter} and {far.voter} differ from record {fork} on"
            broken.append(Broken("a", told))
    return broken


def _durable(
    writes: dict[str, _Write],
    placed: dict[str, list[Stored]],
    logs: Sequence[VoterLog],
    digest: Callable[[Record], str],
) -> list[Broken]:
    """(b)"""
    broken: list[Broken] = []
    for write in writes.values():
        if not write.seqs:
            continue
        if len(write.seqs) > 1:
            told = f"{write.key} was acknowledged at {sorted(write.seqs)}"
            broken.append(Broken("b", told))
        seq, found = min(write.seqs), placed.get(write.key, [])
        if [stored.record.seq for stored in found] != [seq]:
            at = [stored.record.seq for stored in found]
            broken.append(Broken("b", f"{write.key}, acknowledged at {seq}, stands at {at}"))
        elif digest(found[0].record) != write.sha256:
            broken.append(Broken("b", f"{write.key} at {seq} has other bytes"))
        for log in logs:
            held = log.records[seq - 1] if 0 < seq <= len(log.records) else None
            if log.committed >= seq and (held is None or held.record.key != write.key):
                broken.append(Broken("b", f"{write.key} is not at {seq} on {log.voter}"))
    return broken


def _in_real_time(
    notes: Sequence[Note], writes: dict[str, _Write], placed: dict[str, list[Stored]]
) -> list[Broken]:
    """(c), for all that stand in the log, acknowledged or not"""
    broken: list[Broken] = []
    newest, begun = 0, set[str]()
    for note in notes:
        if note.what == "acked":
            newest = max(newest, note.seq)
        elif note.what == "invoked" and note.key not in begun:
            begun.add(note.key)
            for stored in placed.get(note.key, []):
                if stored.record.seq <= newest:
                    told = f"{note.key} at {stored.record.seq} began after {newest} was told"
                    broken.append(Broken("c", told))
    return broken


def _reads(notes: Sequence[Note]) -> list[Broken]:
    """(d)"""
    broken: list[Broken] = []
    newest = 0
    at_least: dict[tuple[str, str], int] = {}
    for note in notes:
        if note.what == "acked":
            newest = max(newest, note.seq)
        elif note.what == "asked":
            at_least[note.client, note.key] = newest
        elif note.what == "read":
            wanted = at_least.pop((note.client, note.key), None)
            if wanted is None:
                broken.append(Broken("d", f"read {note.key} was answered and never asked"))
            elif note.seq < wanted:
                told = f"read {note.key} saw {note.seq}, {wanted} was acknowledged before"
                broken.append(Broken("d", told))
    return broken


def _once(
    writes: dict[str, _Write],
    placed: dict[str, list[Stored]],
    digest: Callable[[Record], str],
) -> list[Broken]:
    """(e)"""
    broken: list[Broken] = []
    times = Counter({key: len(found) for key, found in placed.items()})
    for key, count in times.items():
        if key not in writes:
            broken.append(Broken("e", f"{key} stands in the log, and nobody asked for it"))
        elif count > 1:
            broken.append(Broken("e", f"{key} stands in the log {count} times"))
    for write in writes.values():
        only_refused = write.refused and not write.open and not write.seqs
        if only_refused and times[write.key]:
            broken.append(Broken("e", f"{write.key} was refused and stands in the log"))
        if times[write.key] and digest(placed[write.key][0].record) != write.sha256:
            broken.append(Broken("e", f"{write.key} stands in the log with other bytes"))
    return broken

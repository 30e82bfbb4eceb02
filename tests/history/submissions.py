"""Orders as writes of a history: what a client knows of the record that its order becomes (pure).

A client that submits a job knows its idempotency key and the opcodes, not the record's place: it is
told the job's number, and as of which seq the answer was. So the digest of such a write is that of
its opcodes' bytes, and where it stands is taken from the log that reaches furthest; a place beyond
what the answer spoke of is a broken promise like a place that is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from eventstore.packed import Packed
from eventstore.record import Record
from projections.events.jobs import JobSubmitted, OpCanceled, OpFailed, OpSucceeded
from tests.history.checker import Broken, VoterLog
from tests.history.notes import Note

ENDS = frozenset({OpSucceeded.KIND, OpFailed.KIND, OpCanceled.KIND})


def digest_of_ops(ops: Iterable[Packed]) -> bytes:
    """Return what identifies an order, by its opcodes."""
    return b"".join(op.name.encode() + bytes(op.data) for op in ops)


def digest_of_record(record: Record) -> str:
    """Return the SHA-256 of what identifies the order in a `job.submitted`."""
    submitted = msgspec.msgpack.decode(record.data, type=JobSubmitted)
    return hashlib.sha256(digest_of_ops(submitted.ops)).hexdigest()


def placed(notes: Iterable[Note], logs: Sequence[VoterLog]) -> list[Note]:
    """Return the notes; an acknowledgement says where its record stands, if the answer knew it."""
    furthest = max(logs, key=lambda log: log.committed)
    where = {
        stored.record.key: stored.record.seq
        for stored in furthest.records[: furthest.committed]
        if stored.record.kind == JobSubmitted.KIND and stored.record.key
    }
    return [
        msgspec.structs.replace(note, seq=where[note.key])
        if note.what == "acked" and where.get(note.key, note.seq + 1) <= note.seq
        else note
        for note in notes
    ]


def unended(log: VoterLog) -> list[Broken]:
    """Return the jobs in a log that did not end, or an opcode of which ended more than once."""
    ends: dict[tuple[int, int], int] = {}
    opcodes: dict[int, int] = {}
    for stored in log.records[: log.committed]:
        record = stored.record
        if record.kind == JobSubmitted.KIND and record.job is not None:
            opcodes[record.job] = len(msgspec.msgpack.decode(record.data, type=JobSubmitted).ops)
        elif record.kind in ENDS and record.job is not None:
            op = msgspec.msgpack.decode(record.data, type=_Ended).op
            ends[record.job, op] = ends.get((record.job, op), 0) + 1
    return [
        Broken("e", f"opcode {op} of job {job} ended {ends.get((job, op), 0)} times")
        for job, count in opcodes.items()
        for op in range(count)
        if ends.get((job, op), 0) != 1
    ]


class _Ended(msgspec.Struct, frozen=True):
    op: int

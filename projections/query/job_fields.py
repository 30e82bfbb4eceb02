"""The columns of jobs (pure). A row is a `Job`, open or ended, and whether it is archived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from projections.job_state import Job, OpState
from projections.query.lock_fields import readable
from projections.query.table import (
    BOOL,
    NORMAL,
    NUMBER,
    OTHER,
    TEXT,
    UNAVAILABLE,
    Cell,
    FieldDef,
    World,
    by_name,
    field,
    value,
)

Timestamp = tuple[int, int]  # Ganeti's: seconds since 1970 UTC, microseconds


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as a row."""

    job: Job
    archived: bool = False


def fields() -> dict[str, FieldDef]:
    """Return all columns of jobs by name."""
    return by_name(*_own(), *_times(), *_opcodes())


def _own() -> Iterator[FieldDef]:
    yield _value("id", "ID", NUMBER, "Its number", lambda j: j.id)
    yield _value("status", "Status", TEXT, "How it stands", lambda j: j.status)
    yield _value("priority", "Priority", NUMBER, "-20 is first, 19 last", lambda j: j.priority)
    yield _value("summary", "Summary", OTHER, "Its opcodes in words",
                 lambda j: [op.summary for op in j.ops])  # fmt: skip
    yield _value("actor", "Actor", TEXT, "Who submitted it", lambda j: j.actor)
    yield _value("reason", "Reason", OTHER, "Why: source, text, time in ns",
                 lambda j: [list(each) for each in j.reason])  # fmt: skip
    yield value("archived", "Archived", BOOL, "No longer listed", lambda row: row.archived)


def _times() -> Iterator[FieldDef]:
    yield _time("received_ts", "Received", "When it was submitted", lambda j: j.received_ms)
    yield _time("start_ts", "Start", "When its first opcode started", lambda j: j.started_ms)
    yield _time("end_ts", "End", "When its last opcode ended", lambda j: j.ended_ms)


def _opcodes() -> Iterator[FieldDef]:
    yield _each("ops", "OpCodes", "The opcodes as submitted", lambda op: _opcode(op))
    yield _each("opstatus", "OpCode_status", "How each opcode stands", lambda op: op.status)
    yield _each("opresult", "OpCode_result", "What each opcode brought, or why it failed", _result)
    yield _value("oplog", "OpCode_log", OTHER, "Feedback lines of each opcode", _log)
    yield _value("oppriority", "OpCode_prio", OTHER, "Priority of each opcode",
                 lambda j: [j.priority for _ in j.ops])  # fmt: skip
    yield _each("opstart", "OpCode_start", "When each was first looked at", _started)
    yield _each("opexec", "OpCode_exec", "When each started", _started)
    yield _each("opend", "OpCode_end", "When each ended", lambda op: timestamp(op.ended_ms))
    yield field("oplocks", "OpCode_locks", OTHER, "Locks that each holds or waits for", _locks)
    yield _each("opsteps", "OpCode_steps", "Steps of the plans of each, and their states", _steps)
    yield _each("opleft", "OpCode_left", "What a parked one left where", lambda op: list(op.left))


def timestamp(ms: int) -> Timestamp | None:
    """Return a time as Ganeti shows it, None if there is none."""
    return (ms // 1000, ms % 1000 * 1000) if ms else None


def _value(name: str, title: str, kind: str, doc: str, get: Callable[[Job], object]) -> FieldDef:
    return value(name, title, kind, doc, lambda row: get(row.job))


def _each(name: str, title: str, doc: str, get: Callable[[OpState], object]) -> FieldDef:
    return _value(name, title, OTHER, doc, lambda job: [get(op) for op in job.ops])


def _time(name: str, title: str, doc: str, get: Callable[[Job], int]) -> FieldDef:
    def of(_: World, row: JobRow) -> Cell:
        found = timestamp(get(row.job))
        return (UNAVAILABLE, None) if found is None else (NORMAL, found)

    return field(name, title, OTHER, doc, of)


def _locks(world: World, row: JobRow) -> Cell:
    return NORMAL, [
        [[readable(world, lock.name), lock.shared] for lock in op.locks] for op in row.job.ops
    ]


def _started(op: OpState) -> Timestamp | None:
    return timestamp(op.started_ms)


def _opcode(op: OpState) -> dict[str, object]:
    return {"OP_ID": op.op.name, **msgspec.msgpack.decode(op.op.data)}


def _result(op: OpState) -> object:
    if op.problem is not None and op.status != "success":
        return {
            "code": op.problem.code,
            "message": op.problem.message,
            "hint": op.problem.hint,
            "step": op.problem.step,
        }
    return msgspec.msgpack.decode(op.result)


def _log(job: Job) -> list[list[object]]:
    """Return per opcode Ganeti's entries: serial, timestamp, type, text."""
    entries: list[list[object]] = [[] for _ in job.ops]
    for line in job.lines:
        entries[line.op].append([line.serial, timestamp(line.time_ms), "message", line.text])
    return entries


def _steps(op: OpState) -> list[list[object]]:
    """Return (plan, step, state, state of its undo) in order."""
    return [
        [number, step.id, state.state, state.undo.state]
        for number, plan in enumerate(op.plans)
        for step, state in zip(plan.plan.steps, plan.steps, strict=True)
    ]

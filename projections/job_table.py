"""The queue as one value, and how a fold finds and replaces what is in it (pure).

The version of a job is that of its own stream; records that serve it stand in others as well.
"""

from __future__ import annotations

import immutables
import msgspec
from msgspec.structs import replace

from eventstore.record import Record as LogRecord
from projections.errors import CorruptHistory
from projections.job_state import Job, OpState
from projections.locks import LockTable


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which step, or undo of a step, a task belongs to."""

    job: int
    op: int
    plan: int
    step: str
    undo: bool
    attempt: int
    node: str


class Jobs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The queue at one seq."""

    open: immutables.Map[int, Job] = immutables.Map()
    tasks: immutables.Map[str, Place] = immutables.Map()  # of open jobs
    locks: LockTable = LockTable()
    recent: immutables.Map[int, Job] = immutables.Map()
    # ordinal of the end -> job: which of `recent` goes next
    endings: immutables.Map[int, int] = immutables.Map()
    ended: int = 0  # how many have ended since the beginning
    # job -> open jobs that depend on it
    dependents: immutables.Map[int, tuple[int, ...]] = immutables.Map()
    last_id: int = 0

    def get(self, job: int) -> Job | None:
        """Return a job that is open or ended a short while ago."""
        found = self.open.get(job)
        return found if found is not None else self.recent.get(job)


def job_id_of(record: LogRecord) -> int:
    """Return the job that a record serves. Raises CorruptHistory if it names none."""
    if record.job is None:
        raise CorruptHistory(f"record {record.seq}: {record.kind} bears no job")
    return record.job


def open_job(jobs: Jobs, record: LogRecord) -> Job:
    """Return the job that a record serves. Raises CorruptHistory if it is not open."""
    job = jobs.open.get(job_id_of(record))
    if job is None:
        raise CorruptHistory(f"record {record.seq}: {record.kind} of job {record.job}, not open")
    return job


def open_op(
    jobs: Jobs, op: int, record: LogRecord, allowed: frozenset[str] | set[str]
) -> tuple[Job, OpState]:
    """Return a job and one of its opcodes. Raises CorruptHistory if its status is another."""
    job = jobs.open.get(record.job)  # type: ignore[arg-type] # None is found nowhere
    if job is None:
        job = open_job(jobs, record)  # says what is wrong
    if op >= len(job.ops) or job.ops[op].status not in allowed:
        raise CorruptHistory(f"record {record.seq}: {record.kind} of opcode {op} of job {job.id}")
    return job, job.ops[op]


def with_job(jobs: Jobs, job: Job, record: LogRecord) -> Jobs:
    """Return the queue with an open job replaced, as of this record."""
    version = record.version if record.stream.startswith("job/") else job.version
    job = replace(job, serial=record.seq, version=version)
    return replace(jobs, open=jobs.open.set(job.id, job))


def with_op(jobs: Jobs, job: Job, at: int, op: OpState, record: LogRecord) -> Jobs:
    """Return the queue with one opcode of an open job replaced, as of this record."""
    job = with_op_in_job(job, at, op, record)
    return replace(jobs, open=jobs.open.set(job.id, job))


def with_op_in_job(job: Job, at: int, op: OpState, record: LogRecord) -> Job:
    """Return the job with one opcode replaced, as of this record."""
    ops = (op,) if len(job.ops) == 1 else (*job.ops[:at], op, *job.ops[at + 1 :])
    version = record.version if record.stream.startswith("job/") else job.version
    return replace(job, ops=ops, serial=record.seq, version=version)

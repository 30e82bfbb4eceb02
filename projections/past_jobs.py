"""Jobs that have ended: rows of the index to list them by, and the whole job from its records
(pure; `ended_job` is handed the log, and reads it).

Memory holds open jobs only. Of an ended one the index has what a list shows, as rows that are
functions of single records; everything else (results, feedback, plans) is in the job's own records,
a few dozen, from which the fold that made the job makes it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventstore.record import Record
from eventstore.storage.index_table import IndexTable, TableRow
from projections.events import jobs as facts
from projections.job_state import CANCELED, ERROR, NEEDS_ATTENTION, QUEUED, RUNNING, SUCCESS, Job
from projections.job_table import Jobs
from projections.jobs import ended_by, fold_jobs
from projections.past import History
from projections.registry import JOB_TYPES, decode

_KINDS = frozenset(JOB_TYPES)
_JOB_KINDS = frozenset(
    event.KIND
    for event in (
        facts.JobSubmitted,
        facts.JobPrioritySet,
        facts.JobCancelRequested,
        facts.JobArchived,
    )
)
_OP_STATUS = {
    facts.OpStarted.KIND: RUNNING,
    facts.OpSucceeded.KIND: SUCCESS,
    facts.OpFailed.KIND: ERROR,
    facts.OpCanceled.KIND: CANCELED,
    facts.OpParked.KIND: NEEDS_ATTENTION,
    facts.OpResolved.KIND: RUNNING,
}

# The jobs with their status, as their opcodes give it: the first that failed or was canceled
# decides, as in `Job.status`; NULL while the job is open. Which jobs is decided before anything is
# counted: the table only ever grows, and one job of a million must not cost a look at all of them.
_LIST = """
SELECT job.*, min(op.started_ms) AS started_ms, max(op.ended_ms) AS ended_ms,
  CASE
    WHEN sum(op.status IN ('success', 'error', 'canceled')) < job.ops THEN NULL
    ELSE coalesce(
      (SELECT status FROM op AS bad
       WHERE bad.job = job.id AND bad.status IN ('error', 'canceled')
       ORDER BY bad.number LIMIT 1),
      'success')
  END AS status
FROM (SELECT * FROM job WHERE {which}) AS job JOIN op ON op.job = job.id
GROUP BY job.id
"""
_OPS = "SELECT * FROM op WHERE job IN (SELECT id FROM job WHERE {which}) ORDER BY job, number"
ALL, NOT_ARCHIVED = "TRUE", "archived_ms IS NULL"
NAMED = "id IN (SELECT value FROM json_each(?))"  # the parameter: their ids, as JSON


def list_jobs(which: str) -> str:
    """Return the SQL that lists jobs, with their status: ALL, NOT_ARCHIVED or NAMED."""
    return _LIST.format(which=which)


def list_ops(which: str) -> str:
    """Return the SQL that lists the opcodes of the same jobs, in order."""
    return _OPS.format(which=which)


def job_rows(record: Record) -> Iterator[TableRow]:
    """Yield what a record changes of the table `job`."""
    if record.kind not in _JOB_KINDS:
        return
    match decode(record):
        case facts.JobSubmitted() as submitted:
            yield {
                "id": record.job,
                "seq": record.seq,
                "actor": record.actor,
                "priority": submitted.priority,
                "summary": ",".join(submitted.summaries),
                "ops": len(submitted.ops),
                "received_ms": record.unix_ms,
                "cancel": 0,
                "archived_ms": None,
            }
        case facts.JobPrioritySet() as given:
            yield {"id": record.job, "priority": given.priority}
        case facts.JobCancelRequested():
            yield {"id": record.job, "cancel": 1}
        case facts.JobArchived():
            yield {"id": record.job, "archived_ms": record.unix_ms}


def op_rows(record: Record) -> Iterator[TableRow]:
    """Yield what a record changes of the table `op`."""
    status = _OP_STATUS.get(record.kind)
    if status is None and record.kind != facts.JobSubmitted.KIND:
        return
    event = decode(record)
    match event:
        case facts.JobSubmitted():
            for number, text in enumerate(event.summaries):
                yield {
                    "id": f"{record.job}/{number}",
                    "job": record.job,
                    "number": number,
                    "summary": text,
                    "status": QUEUED,
                }
        case facts.OpStarted():
            yield {
                "id": f"{record.job}/{event.op}",
                "status": status,
                "started_ms": record.unix_ms,
            }
        case facts.OpSucceeded() | facts.OpCanceled():
            yield {"id": f"{record.job}/{event.op}", "status": status, "ended_ms": record.unix_ms}
        case facts.OpFailed():
            yield {
                "id": f"{record.job}/{event.op}",
                "status": status,
                "ended_ms": record.unix_ms,
                "code": event.code,
                "message": event.message,
            }
        case facts.OpParked():
            yield {
                "id": f"{record.job}/{event.op}",
                "status": status,
                "code": event.code,
                "message": event.message,
            }
        case facts.OpResolved():
            yield {"id": f"{record.job}/{event.op}", "status": status}


def ended_job(history: History, job: int) -> Job | None:
    """Return an ended job with its results and last feedback lines, None if there is no such one.

    Raises CorruptHistory if its records contradict each other.
    """
    jobs = Jobs()
    for stored in history.job(job):
        event = decode(stored.record)
        if type(event) in _KINDS:
            before = jobs
            jobs = fold_jobs(jobs, event, stored.record)  # type: ignore[arg-type] # by its kind
            ended = ended_by(before, jobs)
            if ended is not None:
                return ended
    return None


JOBS = IndexTable(
    name="job",
    columns={
        "id": int, "seq": int, "actor": str, "priority": int, "summary": str, "ops": int,
        "received_ms": int, "cancel": int, "archived_ms": int,
    },
    key="id",
    rows=job_rows,
    indexes=(("received_ms",), ("archived_ms",)),
)  # fmt: skip

OPS = IndexTable(
    name="op",
    columns={
        "id": str, "job": int, "number": int, "summary": str, "status": str,
        "started_ms": int, "ended_ms": int, "code": str, "message": str,
    },
    key="id",
    rows=op_rows,
    indexes=(("job", "number"),),
)  # fmt: skip

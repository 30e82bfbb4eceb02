"""What people ask of jobs: cancel, archive, set-priority, resolve (pure).

Each function says for one job what is to be recorded, or why not. Cancel and resolve only record
the wish; the walk does the rest, in the same batch where nothing runs.
"""

from __future__ import annotations

from commands.api import JobOrder
from commands.engine.history import History
from commands.engine.submission import check_priority
from commands.errors import WRONG_INPUT, Refused
from eventstore.record import Event
from projections.events.jobs import JobArchived, JobCancelRequested, JobPrioritySet, OpResolved
from projections.job_state import NEEDS_ATTENTION, Job
from projections.jobs import Jobs

CANCEL, ARCHIVE, SET_PRIORITY, RESOLVE = "cancel", "archive", "set-priority", "resolve"
ORDERS = (CANCEL, ARCHIVE, SET_PRIORITY, RESOLVE)
_OLDEST_S = 1e12  # 30,000 years
RESOLUTIONS = ("retry", "accept", "undo")


def check(order: JobOrder) -> None:
    """Raise Refused if the order makes no sense for any job."""
    if order.order not in ORDERS:
        raise Refused(WRONG_INPUT, f"order {order.order}", hint=f"one of {', '.join(ORDERS)}")
    if order.older_than_s is not None and not 0 <= order.older_than_s <= _OLDEST_S:
        raise Refused(WRONG_INPUT, f"older than {order.older_than_s} s", hint="a number from 0")
    if order.order == SET_PRIORITY:
        check_priority(order.priority)
    if order.order == RESOLVE and order.how not in RESOLUTIONS:
        hint = "retry what failed, accept what is, or undo what was done"
        raise Refused(WRONG_INPUT, f"resolve {order.how!r}", hint=hint)


def subjects(order: JobOrder, history: History, now_ms: int) -> tuple[int, ...]:
    """Return the jobs that an order is about, each once."""
    jobs = dict.fromkeys(order.jobs)
    if order.order == ARCHIVE and order.older_than_s is not None:
        before_ms = now_ms - int(order.older_than_s * 1000)
        jobs.update(dict.fromkeys(history.ended_before(before_ms)))
    return tuple(jobs)


def fact_of(order: JobOrder, job_id: int, jobs: Jobs, history: History) -> Event | str:
    """Return what to record about one job, or, in words, why nothing."""
    job = jobs.open.get(job_id)
    if job is not None:
        return _of_open(order, job)
    recent = jobs.recent.get(job_id)
    if recent is not None:
        status = None if recent.archived else recent.status
    else:
        status = history.status(job_id)
    if status is None and 0 < job_id <= jobs.last_id:  # numbers are dense, and it is not open
        return f"job {job_id} is archived already; gnt-job info {job_id} still shows it"
    if status is None:
        return f"there is no job {job_id}; the last one is {jobs.last_id}"
    if order.order == ARCHIVE:
        return JobArchived()
    return f"job {job_id} has ended already: {status}"


def _of_open(order: JobOrder, job: Job) -> Event | str:
    at = job.current
    assert at is not None, "an open job has an opcode that is not over"
    parked = job.ops[at].status == NEEDS_ATTENTION
    match order.order:
        case "cancel" if parked:
            return f"job {job.id} needs attention; resolve it: gnt-job resolve"
        case "cancel" if job.cancel:
            return f"job {job.id} is being canceled already"
        case "cancel":
            return JobCancelRequested()
        case "set-priority":
            return JobPrioritySet(priority=order.priority)
        case "resolve" if not parked:
            return f"job {job.id} is {job.status}; only one that needs attention can be resolved"
        case "resolve":
            return OpResolved(op=at, how=order.how)
    return f"job {job.id} is {job.status}; only ended jobs are archived"

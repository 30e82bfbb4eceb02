"""The job queue as one immutable value, and its fold (pure).

Everything that the engine must know to go on after a failover stands here and nowhere else: open
jobs with their plans and steps, who holds and awaits which lock, which task belongs to which step.

What contradicts the state machine of `projections/plans.py` (a step taken twice, a plan before the
last one is through, a lock that somebody holds) raises CorruptHistory. Results of tasks whose
opcode is over are no contradiction: an agent that comes back late still tells what it did. They
change nothing here.

A job leaves memory when its last opcode ends. `recent` keeps the last RECENT ended ones without
their plans, so that whoever waits for a job's end need not ask the index; `ended_by` hands each of
them once to whoever keeps the index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventstore.record import Record as LogRecord
from projections import op_folds, step_folds
from projections.events import jobs as ev
from projections.job_state import Job
from projections.job_table import Jobs, Place

__all__ = [
    "FOLDS",
    "Job",
    "Jobs",
    "Place",
    "ended_by",
    "fold_jobs",
]


def fold_jobs(jobs: Jobs, event: ev.JobEvent, record: LogRecord) -> Jobs:
    """Return the queue as it is after `event`. Raises CorruptHistory on a contradiction."""
    return FOLDS[type(event)](jobs, event, record)


def ended_by(before: Jobs, after: Jobs) -> Job | None:
    """Return the job that ended by the record that lies between two values, if one did."""
    if before.ended == after.ended:
        return None
    return after.recent[after.endings[after.ended]]


# Any: each fold takes the event of its own key
FOLDS: dict[type[Any], Callable[[Jobs, Any, LogRecord], Jobs]] = {
    ev.JobSubmitted: op_folds.submitted,
    ev.JobPrioritySet: op_folds.priority_set,
    ev.JobCancelRequested: op_folds.cancel_requested,
    ev.JobArchived: op_folds.archived,
    ev.OpBlocked: op_folds.blocked,
    ev.OpStarted: op_folds.started,
    ev.OpPlanned: op_folds.planned,
    ev.StepRecorded: step_folds.step_recorded,
    ev.WaitStarted: step_folds.wait_started,
    ev.WaitFired: step_folds.wait_fired,
    ev.TaskRequested: step_folds.task_requested,
    ev.TaskWithdrawRequested: step_folds.withdraw_requested,
    ev.TaskDone: step_folds.task_done,
    ev.TaskFailed: step_folds.task_failed,
    ev.TaskRuns: step_folds.task_runs,
    ev.TaskWithdrawn: step_folds.task_withdrawn,
    ev.StepGivenUp: step_folds.given_up,
    ev.OpUndoing: op_folds.undoing,
    ev.OpFeedback: op_folds.feedback,
    ev.OpSucceeded: op_folds.succeeded,
    ev.OpFailed: op_folds.failed,
    ev.OpCanceled: op_folds.canceled,
    ev.OpParked: op_folds.parked,
    ev.OpResolved: op_folds.resolved,
}

"""What agents tell about tasks, as facts (pure).

An agent repeats a result until it sees the end of the task in its stream, so each answer may come
twice, late, or about a task whose opcode is over:

    NEWS      the step (or its undo) waits for it: it goes into the next batch of its job
    RECORDED  it stands in the log already: nothing to do
    LATE      nobody waits for it any more; it is recorded by itself, once (idempotency key)
"""

from __future__ import annotations

import msgspec

from nodeagent.calls import TaskResult
from projections.events.jobs import TaskDone, TaskFailed, TaskRuns, TaskWithdrawn
from projections.job_state import (
    STEP_DONE,
    STEP_READY,
    STEP_SENT,
    UNDO_DONE,
    UNDO_FAILED,
    UNDO_NONE,
    UNDO_SENT,
)
from projections.jobs import Jobs

NEWS, RECORDED, LATE = "news", "recorded", "late"

TaskFact = TaskDone | TaskFailed | TaskRuns | TaskWithdrawn


def fact_of(result: TaskResult) -> TaskFact:
    """Return the fact that an agent's answer stands for."""
    if result.failed is not None:
        return TaskFailed(
            task=result.task,
            code=result.failed.code,
            message=result.failed.message,
            retry=result.failed.retry,
            failure=msgspec.Raw(msgspec.msgpack.encode(result.failed)),
            duration_ms=result.duration_ms,
        )
    if result.withdrawn:
        return TaskWithdrawn(task=result.task)
    if result.running:
        return TaskRuns(task=result.task)
    return TaskDone(task=result.task, result=result.done, duration_ms=result.duration_ms)


def standing(jobs: Jobs, fact: TaskFact) -> str:
    """Say what a fact about a task is by now: NEWS, RECORDED or LATE."""
    place = jobs.tasks.get(fact.task)
    if place is None:
        return LATE
    plan = jobs.open[place.job].ops[place.op].plans[place.plan]
    state = plan.steps[plan.position(place.step)]
    if place.undo:
        undo = state.undo
        if undo.task != fact.task:
            return RECORDED  # another try was made, so this one's end is known
        if undo.state == UNDO_SENT:
            return RECORDED if isinstance(fact, TaskRuns) and undo.runs else NEWS
        return RECORDED if undo.state in (UNDO_NONE, UNDO_DONE, UNDO_FAILED) else LATE
    if state.task == fact.task and state.state == STEP_SENT:
        return RECORDED if isinstance(fact, TaskRuns) and state.runs else NEWS
    if state.task == fact.task and state.state in (STEP_READY, STEP_DONE):
        return RECORDED
    return LATE

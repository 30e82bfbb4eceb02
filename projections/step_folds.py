"""How the facts about steps and tasks change the queue (pure).

The states of a step and who moves it on stand in `projections/plans.py`; this is that table, line
by line. `projections/jobs.py` says what holds for all folds of the queue.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from eventstore.record import Record as LogRecord
from nodeagent.calls import Failure
from projections.errors import CorruptHistory
from projections.events import jobs as ev
from projections.job_state import (
    CANCELING,
    NEEDS_ATTENTION,
    NIL,
    RUNNING,
    STEP_DONE,
    STEP_FAILED,
    STEP_READY,
    STEP_SENT,
    STEP_WAITING,
    UNDO_DONE,
    UNDO_DUTY,
    UNDO_FAILED,
    UNDO_NONE,
    UNDO_SENT,
    Job,
    OpState,
    PlanState,
    Problem,
    StepState,
    UndoState,
    is_satisfied,
)
from projections.job_table import Jobs, Place, open_op, with_job, with_op
from projections.plans import Call, Record, Step, Wait

UNDO_ATTEMPTS = 3  # of one undo, before a person must look
LATE = "timeout"  # code of a step that was withdrawn before it ran
_OPEN = frozenset({RUNNING, CANCELING, NEEDS_ATTENTION})
_SATISFYING = frozenset({STEP_DONE, STEP_FAILED})  # the second only where it is tolerated


def step_recorded(jobs: Jobs, event: ev.StepRecorded, record: LogRecord) -> Jobs:
    job, op, plan, at = _step(jobs, event.op, event.plan, event.step, record)
    step, state = plan.plan.steps[at], plan.steps[at]
    if not isinstance(step, Record):
        raise _contradiction(record, event.step, "is no record")
    if event.undo:
        _must(op.undoing and state.undo.state == UNDO_NONE, record, event.step, "is undone twice")
        state = replace(state, undo=UndoState(state=UNDO_DONE, attempt=1))
        return _with_step(jobs, job, event.op, op, event.plan, at, state, record)
    _must(_may_send(op, state), record, event.step, "is not ready")
    sent = (*op.sent, (event.plan, step.id))
    op = replace(op, sent=sent, final=op.final or step.final)
    state = replace(state, state=STEP_DONE, attempt=1, sent_ms=record.unix_ms)
    return _with_step(jobs, job, event.op, op, event.plan, at, state, record)


def wait_started(jobs: Jobs, event: ev.WaitStarted, record: LogRecord) -> Jobs:
    job, op, plan, at = _step(jobs, event.op, event.plan, event.step, record)
    state = plan.steps[at]
    _must(isinstance(plan.plan.steps[at], Wait), record, event.step, "is no wait")
    _must(_may_send(op, state), record, event.step, "is not ready")
    state = replace(state, state=STEP_SENT, attempt=state.attempt + 1, sent_ms=record.unix_ms)
    return _with_step(jobs, job, event.op, op, event.plan, at, state, record)


def wait_fired(jobs: Jobs, event: ev.WaitFired, record: LogRecord) -> Jobs:
    job, op, plan, at = _step(jobs, event.op, event.plan, event.step, record)
    state = plan.steps[at]
    _must(state.state == STEP_SENT and not op.undoing, record, event.step, "does not wait")
    if event.held:
        state = replace(state, state=STEP_DONE)
    else:
        problem = Problem(code=LATE, message="what it waited for did not come in time")
        state = replace(state, state=STEP_FAILED, problem=problem)
    return _with_step(jobs, job, event.op, op, event.plan, at, state, record)


def task_requested(jobs: Jobs, event: ev.TaskRequested, record: LogRecord) -> Jobs:
    job, op, plan, at = _step(jobs, event.op, event.plan, event.step, record)
    step, state = plan.plan.steps[at], plan.steps[at]
    sent, final = op.sent, op.final
    if not isinstance(step, Call) or event.task in jobs.tasks:
        raise _contradiction(record, event.step, "is no call, or its task was requested before")
    if event.undo:
        fits = op.undoing and state.undo.state == UNDO_NONE
        _must(fits and event.attempt == state.undo.attempt + 1, record, step.id, "is undone twice")
        undo = UndoState(
            state=UNDO_SENT,
            attempt=event.attempt,
            base=state.undo.base,
            task=event.task,
            sent_ms=record.unix_ms,
        )
        state = replace(state, undo=undo)
    else:
        fits = _may_send(op, state) and event.attempt == state.attempt + 1
        _must(fits, record, step.id, "is taken twice")
        if state.attempt == 0:  # undos run in the opposite order of this
            sent, final = (*sent, (event.plan, step.id)), final or step.final
        state = replace(
            state,
            state=STEP_SENT,
            attempt=event.attempt,
            task=event.task,
            sent_ms=record.unix_ms,
            withdraw="",
            runs=False,
        )
    node = record.stream.partition("/")[2]
    place = Place(job.id, event.op, event.plan, step.id, event.undo, event.attempt, node)
    jobs = replace(jobs, tasks=jobs.tasks.set(event.task, place))
    op = replace(op, tasks=(*op.tasks, event.task), sent=sent, final=final)
    return _with_step(jobs, job, event.op, op, event.plan, at, state, record)


def task_done(jobs: Jobs, event: ev.TaskDone, record: LogRecord) -> Jobs:
    return _task_end(jobs, event.task, record, problem=None, result=event.result)


def task_failed(jobs: Jobs, event: ev.TaskFailed, record: LogRecord) -> Jobs:
    place = jobs.tasks.get(event.task)
    problem = Problem(
        code=event.code,
        message=event.message,
        hint=_hint(event.failure),
        step="" if place is None else place.step,
        details=event.failure,
    )
    return _task_end(jobs, event.task, record, problem=problem)


def task_withdrawn(jobs: Jobs, event: ev.TaskWithdrawn, record: LogRecord) -> Jobs:
    place = jobs.tasks.get(event.task)
    step = "" if place is None else place.step
    problem = Problem(code=LATE, message="it was given up before it ran", step=step)
    return _task_end(jobs, event.task, record, problem=problem)


def _task_end(
    jobs: Jobs,
    task: str,
    record: LogRecord,
    *,
    problem: Problem | None,
    result: msgspec.Raw = NIL,
) -> Jobs:
    """The agent has told the end of a task: of the step that it stands for, or of a past one."""
    place = jobs.tasks.get(task)
    if place is None:
        return jobs  # its opcode is over
    job, op, plan, at = _step(jobs, place.op, place.plan, place.step, record)
    state = plan.steps[at]
    if place.undo:
        if state.undo.state == UNDO_DUTY or state.undo.task != task:
            return with_job(jobs, job, record)
        _must(state.undo.state == UNDO_SENT, record, place.step, "was undone before")
        ended = UNDO_DONE if problem is None else UNDO_NONE
        if problem is not None and state.undo.attempt - state.undo.base >= UNDO_ATTEMPTS:
            ended = UNDO_FAILED
        state = replace(state, undo=replace(state.undo, state=ended, problem=problem))
        return _with_step(jobs, job, place.op, op, place.plan, at, state, record)
    if state.task != task or (state.state == STEP_FAILED and state.problem is not None):
        return with_job(jobs, job, record)  # it was given up; its effect counts for the undo
    _must(state.state == STEP_SENT, record, place.step, "ended before")
    if problem is None:
        state = replace(state, state=STEP_DONE, result=result, problem=None)
    else:
        step = plan.plan.steps[at]
        assert isinstance(step, Call)
        again = not op.undoing and state.attempt - state.base < step.attempts
        state = replace(state, state=STEP_READY if again else STEP_FAILED, problem=problem)
    return _with_step(jobs, job, place.op, op, place.plan, at, state, record)


def withdraw_requested(jobs: Jobs, event: ev.TaskWithdrawRequested, record: LogRecord) -> Jobs:
    def note(state: StepState | UndoState) -> dict[str, object]:
        return {"withdraw": event.reason}

    return _note_on_task(jobs, event.task, record, note)


def task_runs(jobs: Jobs, event: ev.TaskRuns, record: LogRecord) -> Jobs:
    return _note_on_task(jobs, event.task, record, lambda state: {"runs": True})


def _note_on_task(
    jobs: Jobs,
    task: str,
    record: LogRecord,
    note: Callable[[StepState | UndoState], dict[str, object]],
) -> Jobs:
    place = jobs.tasks.get(task)
    if place is None:
        return jobs
    job, op, plan, at = _step(jobs, place.op, place.plan, place.step, record)
    state = plan.steps[at]
    if place.undo and state.undo.task == task:
        state = replace(state, undo=replace(state.undo, **note(state.undo)))
    elif not place.undo and state.task == task:
        state = replace(state, **note(state))
    return _with_step(jobs, job, place.op, op, place.plan, at, state, record)


def given_up(jobs: Jobs, event: ev.StepGivenUp, record: LogRecord) -> Jobs:
    job, op, plan, at = _step(jobs, event.op, event.plan, event.step, record)
    state = plan.steps[at]
    problem = Problem(code=event.code, message=event.message, step=event.step, hint=event.hint)
    if event.undo:
        _must(state.undo.state == UNDO_SENT, record, event.step, "has no undo that was sent")
        state = replace(state, undo=replace(state.undo, state=UNDO_DUTY, problem=problem))
    else:
        _must(state.state in (STEP_READY, STEP_SENT), record, event.step, "is not under way")
        state = replace(state, state=STEP_FAILED, problem=problem)
    return _with_step(jobs, job, event.op, op, event.plan, at, state, record)


def _step(
    jobs: Jobs, op: int, plan: int, step: str, record: LogRecord
) -> tuple[Job, OpState, PlanState, int]:
    """Return the step's surroundings and its position. A result may come while it is parked."""
    job, state = open_op(jobs, op, record, _OPEN)
    try:
        found = state.plans[plan]
        return job, state, found, found.position(step)
    except (IndexError, KeyError):
        raise _contradiction(record, step, f"is not in plan {plan}") from None


def _may_send(op: OpState, state: StepState) -> bool:
    return state.state == STEP_READY and not op.undoing and op.status == RUNNING


def _with_step(
    jobs: Jobs,
    job: Job,
    op_at: int,
    op: OpState,
    plan_at: int,
    at: int,
    state: StepState,
    record: LogRecord,
) -> Jobs:
    plan = op.plans[plan_at]
    steps = list(plan.steps)
    steps[at] = state
    if state.state in _SATISFYING:  # else nobody can have waited for this alone
        step = plan.plan.steps[at]
        if is_satisfied(step, state) and not is_satisfied(step, plan.steps[at]):
            _wake_successors(plan, steps, at)
    plan = replace(plan, steps=tuple(steps))
    plans = (plan,) if len(op.plans) == 1 else _exchanged(op.plans, plan_at, plan)
    return with_op(jobs, job, op_at, replace(op, plans=plans), record)


def _exchanged(plans: tuple[PlanState, ...], at: int, plan: PlanState) -> tuple[PlanState, ...]:
    return (*plans[:at], plan, *plans[at + 1 :])


def _wake_successors(plan: PlanState, steps: list[StepState], at: int) -> None:
    """Make ready those steps that waited for the one at `at` and now wait for none."""
    known = plan.plan.steps
    name = known[at].id
    for later in range(at + 1, len(steps)):
        after = known[later].after
        if name not in after or steps[later].state != STEP_WAITING:
            continue
        if len(after) == 1 or _all_satisfied(after, known, steps):
            steps[later] = replace(steps[later], state=STEP_READY)


def _all_satisfied(names: tuple[str, ...], known: tuple[Step, ...], steps: list[StepState]) -> bool:
    for step, state in zip(known, steps, strict=True):
        if step.id in names and not is_satisfied(step, state):
            return False
    return True


_FAILURE = msgspec.msgpack.Decoder(Failure | None)


def _hint(failure: msgspec.Raw) -> str:
    """Return what an agent advises. Failures of a future version that we cannot read have none."""
    try:
        told = _FAILURE.decode(failure)
    except msgspec.DecodeError:
        return ""
    return "" if told is None else told.hint


def _must(holds: bool, record: LogRecord, step: str, what: str) -> None:
    if not holds:
        raise _contradiction(record, step, what)


def _contradiction(record: LogRecord, step: str, what: str) -> CorruptHistory:
    return CorruptHistory(f"record {record.seq}: {record.kind}: step {step} {what}")

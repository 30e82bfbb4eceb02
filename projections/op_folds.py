"""How the facts about jobs and opcodes change the queue: submitted, started, planned, ended (pure).

`projections/jobs.py` says what holds for all folds of the queue.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from eventstore.record import Record as LogRecord
from projections.errors import CorruptHistory
from projections.events import jobs as ev
from projections.job_state import (
    CANCELED,
    CANCELING,
    ERROR,
    NEEDS_ATTENTION,
    NOT_STARTED,
    QUEUED,
    RUNNING,
    STEP_FAILED,
    STEP_READY,
    STEP_WAITING,
    SUCCESS,
    UNDO_FAILED,
    UNDO_NONE,
    WAITING,
    Job,
    Line,
    OpState,
    PlanState,
    Problem,
    StepState,
)
from projections.job_table import (
    Jobs,
    job_id_of,
    open_job,
    open_op,
    with_job,
    with_op,
    with_op_in_job,
)
from projections.locks import Request

RECENT = 256  # ended jobs kept in memory
MAX_LINES = 50  # feedback lines kept of a job; the log has them all
_BEGINS, _FOLLOWS = StepState(state=STEP_READY), StepState(state=STEP_WAITING)


# --- jobs -------------------------------------------------------------------------------------


def submitted(jobs: Jobs, event: ev.JobSubmitted, record: LogRecord) -> Jobs:
    job_id = job_id_of(record)
    if job_id <= jobs.last_id:
        raise CorruptHistory(f"record {record.seq}: job {job_id} after job {jobs.last_id}")
    met: list[tuple[int, str]] = []
    dependents = jobs.dependents
    for dependency in _named_by(event) if event.depends else ():
        earlier = jobs.get(dependency.job)
        if earlier is None:
            continue  # ended long ago; the leader looked it up and left only what is satisfied
        if earlier.current is None:
            met.append((earlier.id, earlier.status))
        else:
            dependents = dependents.set(earlier.id, (*dependents.get(earlier.id, ()), job_id))
    pairs = zip(event.ops, event.summaries, strict=True)
    job = Job(
        id=job_id,
        actor=record.actor,
        ops=tuple([OpState(op=op, summary=summary) for op, summary in pairs]),
        priority=event.priority,
        depends=event.depends,
        dependencies=tuple(met),
        reason=event.reason,
        received_ms=record.unix_ms,
        serial=record.seq,
        version=record.version,
    )
    return replace(jobs, open=jobs.open.set(job_id, job), dependents=dependents, last_id=job_id)


def _named_by(event: ev.JobSubmitted) -> Iterable[ev.Dependency]:
    """Return the dependencies of all of its opcodes, one for each job."""
    return {each.job: each for group in event.depends for each in group}.values()


def priority_set(jobs: Jobs, event: ev.JobPrioritySet, record: LogRecord) -> Jobs:
    job = replace(open_job(jobs, record), priority=event.priority)
    request = jobs.locks.waiting.get(job.id)
    locks = jobs.locks
    if request is not None:
        locks = locks.wait(Request(event.priority, job.id, request.locks))
    return with_job(replace(jobs, locks=locks), job, record)


def cancel_requested(jobs: Jobs, event: ev.JobCancelRequested, record: LogRecord) -> Jobs:
    return with_job(jobs, replace(open_job(jobs, record), cancel=True), record)


def archived(jobs: Jobs, event: ev.JobArchived, record: LogRecord) -> Jobs:
    job_id = job_id_of(record)
    if job_id in jobs.open:
        raise CorruptHistory(f"record {record.seq}: job {job_id} is open and cannot be archived")
    job = jobs.recent.get(job_id)
    if job is None:
        return jobs  # it left memory long ago; the index notes that it is archived
    job = replace(job, archived=True, serial=record.seq, version=record.version)
    return replace(jobs, recent=jobs.recent.set(job_id, job))


# --- opcodes ----------------------------------------------------------------------------------


def blocked(jobs: Jobs, event: ev.OpBlocked, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, NOT_STARTED)
    request = Request(job.priority, job.id, event.locks)
    jobs = replace(jobs, locks=jobs.locks.wait(request))
    return with_op(jobs, job, event.op, replace(op, status=WAITING, locks=event.locks), record)


def started(jobs: Jobs, event: ev.OpStarted, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, NOT_STARTED)
    if event.op != job.current:
        raise CorruptHistory(f"record {record.seq}: opcode {event.op} starts before its turn")
    if event.locks or job.id in jobs.locks.waiting:
        jobs = replace(jobs, locks=jobs.locks.grant(job.id, event.locks))
    op = replace(
        op, status=RUNNING, handler=event.handler, locks=event.locks, started_ms=record.unix_ms
    )
    return with_op(jobs, job, event.op, op, record)


def planned(jobs: Jobs, event: ev.OpPlanned, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {RUNNING})
    if event.number != len(op.plans) or op.undoing or (op.plans and not op.plans[-1].through):
        raise CorruptHistory(f"record {record.seq}: plan {event.number} out of turn")
    # All of them start as one of two values, which they share.
    steps = tuple([_FOLLOWS if step.after else _BEGINS for step in event.plan.steps])
    plan = PlanState(plan=event.plan, given=event.given, steps=steps)
    return with_op(jobs, job, event.op, replace(op, plans=(*op.plans, plan)), record)


def undoing(jobs: Jobs, event: ev.OpUndoing, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {RUNNING})
    if op.undoing:
        raise CorruptHistory(f"record {record.seq}: opcode {event.op} goes back already")
    problem = Problem(
        code=event.code,
        message=event.message,
        hint=event.hint,
        step=event.step,
        details=event.details,
    )
    status = CANCELING if event.code == CANCELED else RUNNING
    op = replace(op, status=status, undoing=True, problem=problem)
    return with_op(jobs, job, event.op, op, record)


def feedback(jobs: Jobs, event: ev.OpFeedback, record: LogRecord) -> Jobs:
    job = open_job(jobs, record)
    line = Line(
        record.seq,
        record.unix_ms,
        event.op,
        event.text,
        event.step,
        event.percent,
        event.eta_s,
    )
    return with_job(jobs, replace(job, lines=(*job.lines, line)[-MAX_LINES:]), record)


def parked(jobs: Jobs, event: ev.OpParked, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {RUNNING, CANCELING})
    problem = Problem(code=event.code, message=event.message)
    op = replace(op, status=NEEDS_ATTENTION, left=event.left, problem=op.problem or problem)
    return with_op(jobs, job, event.op, op, record)


def resolved(jobs: Jobs, event: ev.OpResolved, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {NEEDS_ATTENTION})
    if event.how == "accept":  # `op.failed` follows; until then it stays parked
        return with_job(jobs, job, record)
    undoing = op.undoing or event.how == "undo"
    back = op.problem is not None and op.problem.code == CANCELED
    op = replace(
        op,
        status=CANCELING if back else RUNNING,
        undoing=undoing,
        left=(),
        problem=op.problem if undoing else None,
        plans=tuple(_new_tries(plan, undoing) for plan in op.plans),
    )
    return with_op(jobs, job, event.op, op, record)


def _new_tries(plan: PlanState, undoing: bool) -> PlanState:
    def again(at: int) -> StepState:
        state = plan.steps[at]
        if undoing and state.undo.state == UNDO_FAILED:
            undo = replace(state.undo, state=UNDO_NONE, base=state.undo.attempt, problem=None)
            return replace(state, undo=undo)
        if not undoing and state.state == STEP_FAILED and not plan.satisfied(at):
            return replace(state, state=STEP_READY, base=state.attempt, problem=None)
        return state

    return replace(plan, steps=tuple(again(at) for at in range(len(plan.steps))))


def succeeded(jobs: Jobs, event: ev.OpSucceeded, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {RUNNING})
    if op.undoing or (op.plans and not op.plans[-1].through):
        raise CorruptHistory(f"record {record.seq}: opcode {event.op} succeeds in mid-plan")
    return _end(jobs, job, event.op, replace(op, status=SUCCESS, result=event.result), record)


def failed(jobs: Jobs, event: ev.OpFailed, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {QUEUED, WAITING, RUNNING, NEEDS_ATTENTION})
    problem = Problem(
        code=event.code,
        message=event.message,
        hint=event.hint,
        step=event.step,
        details=event.details,
    )
    return _end(jobs, job, event.op, replace(op, status=ERROR, problem=problem), record)


def canceled(jobs: Jobs, event: ev.OpCanceled, record: LogRecord) -> Jobs:
    job, op = open_op(jobs, event.op, record, {QUEUED, WAITING, CANCELING})
    return _end(jobs, job, event.op, replace(op, status=CANCELED), record)


def _end(jobs: Jobs, job: Job, at: int, op: OpState, record: LogRecord) -> Jobs:
    """The opcode is over: its locks are free, its tasks forgotten; maybe the job is over too."""
    if job.id in jobs.locks.owned or job.id in jobs.locks.waiting:
        jobs = replace(jobs, locks=jobs.locks.release(job.id))
    if op.tasks:
        tasks = jobs.tasks.mutate()
        for task in op.tasks:
            del tasks[task]
        jobs = replace(jobs, tasks=tasks.finish())
    op = replace(op, ended_ms=record.unix_ms)
    job = with_op_in_job(job, at, op, record)
    if job.current is not None:
        return replace(jobs, open=jobs.open.set(job.id, job))
    return _retire(jobs, job)


def _retire(jobs: Jobs, job: Job) -> Jobs:
    """Move an ended job, without its plans, from `open` to `recent`, and tell its dependents."""
    opened = jobs.open.delete(job.id)
    status = job.status
    for waiter in jobs.dependents.get(job.id, ()):
        dependent = opened.get(waiter)
        if dependent is not None:
            told = replace(dependent, dependencies=(*dependent.dependencies, (job.id, status)))
            opened = opened.set(waiter, told)
    if job.ops[0].tasks or any(op.plans for op in job.ops):
        ops = tuple([replace(op, plans=(), sent=(), tasks=()) for op in job.ops])
        job = replace(job, ops=ops)
    ordinal = jobs.ended + 1
    recent, endings = jobs.recent.set(job.id, job), jobs.endings.set(ordinal, job.id)
    if ordinal > RECENT:
        recent = recent.delete(endings[ordinal - RECENT])
        endings = endings.delete(ordinal - RECENT)
    dependents = jobs.dependents
    if job.id in dependents:
        dependents = dependents.delete(job.id)
    return replace(
        jobs, open=opened, recent=recent, endings=endings, ended=ordinal, dependents=dependents
    )

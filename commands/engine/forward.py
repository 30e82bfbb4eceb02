"""The walk of a plan: what is ready is sent, what was sent is watched (pure).

One call of `advance` makes all drafts that follow from the state without anything from outside; see
projections/plans.py for the states. When a step has failed for good, nothing new is sent: before
the point of no return the opcode goes back (backward.py), after it the opcode is parked as soon as
nothing runs any more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from commands.engine import endings, submission
from commands.engine.context import Context
from commands.engine.deciding import Decided, Succeeded, decide, problem_of
from commands.engine.late_waits import late
from commands.engine.reach import GONE, LOST, PROMISED, reach
from commands.engine.scratch import Scratch
from commands.engine.timers import ANSWER_S, LOST_S, Key, pause_s
from commands.errors import ENVIRONMENT_ERROR, INTERNAL_ERROR, Refused
from projections.cluster import Cluster
from projections.conditions import holds
from projections.errors import CorruptHistory
from projections.events import jobs as ev
from projections.job_state import (
    CANCELED,
    STEP_FAILED,
    STEP_READY,
    STEP_SENT,
    Job,
    OpState,
    Problem,
    StepState,
)
from projections.plans import Call, Record, Reservations, Step, Wait, task_id

log = logging.getLogger(__name__)

_GIVEN_UP_HINT = (
    "see gnt-node list; if the node stays away: gnt-node modify --offline=yes, and gnt-cluster "
    "verify tells what is still to be done there"
)


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk of one opcode. `may_reserve`: no other decision's reservations are under way.
    `will_reserve`: its decision wanted to before, so there is no use in asking until it may."""

    scratch: Scratch
    context: Context
    job: Job
    at: int
    may_reserve: bool
    will_reserve: bool

    @property
    def op(self) -> OpState:
        """The opcode as the drafts leave it."""
        job = self.scratch.job
        assert job is not None
        return job.ops[self.at]


def advance(walk: Walk) -> bool:
    """Draft what comes next. True: a decision must wait until another one is committed."""
    op = walk.op
    if walk.job.cancel and not op.final:
        turn_back(walk, Problem(code=CANCELED, message="the job was canceled"))
        return False
    problem = failure(op, walk.scratch.cluster)
    if problem is not None:
        if not op.final:
            turn_back(walk, problem)
        elif not _runs(op):
            endings.park(walk.scratch, walk.at, problem)
        else:
            _watch_all(walk)
        return False
    if not op.plans or op.plans[-1].through:
        return _decide(walk)
    number = len(op.plans) - 1
    plan = op.plans[number]
    for step, state in zip(plan.plan.steps, plan.steps, strict=True):
        if walk.scratch.full or walk.op.undoing:
            break
        if state.state == STEP_READY:
            _take(walk, number, step, state)
        elif state.state == STEP_SENT:
            watch(walk, number, step, state)
    return False


def failure(op: OpState, cluster: Cluster) -> Problem | None:
    """Return why the opcode cannot go on, None if it can."""
    for plan in op.plans[-1:]:
        for at, (step, state) in enumerate(zip(plan.plan.steps, plan.steps, strict=True)):
            if state.state == STEP_FAILED and not plan.satisfied(at):
                return late(step, cluster) if isinstance(step, Wait) else state.problem
    return None


def turn_back(walk: Walk, problem: Problem) -> None:
    """Begin the way back."""
    undoing = ev.OpUndoing(
        op=walk.at,
        code=problem.code,
        message=problem.message,
        step=problem.step,
        hint=problem.hint,
        details=problem.details,
    )
    walk.scratch.add(undoing, size_bytes=len(bytes(problem.details)) + 500)


def watch(walk: Walk, number: int, step: Step, state: StepState) -> None:
    """A step was sent: has its time passed, does its condition hold, is its node gone?"""
    key = Key(walk.at, number, step.id, "sent", state.attempt)
    timers, job = walk.context.timers, walk.job.id
    if isinstance(step, Wait):
        held = step.until is not None and holds(step.until, walk.scratch.cluster)
        if held or timers.over(job, key, step.timeout_s):
            fired = held or step.until is None
            walk.scratch.add(
                ev.WaitFired(op=walk.at, plan=number, step=step.id, held=fired),
            )
        return
    assert isinstance(step, Call)
    node = reach(walk.context, walk.scratch.cluster, step.node)
    asked = bool(state.withdraw)
    patience_s = step.timeout_s + ANSWER_S
    if node.how == LOST:  # it may be back in a moment, but nobody waits half an hour for that
        patience_s = 0.0 if step.tolerate else min(patience_s, LOST_S)
    if not asked and (node.how == GONE or timers.over(job, key, patience_s)):
        withdraw(walk, state.task, step.node, "timeout")
        asked = True
    if asked and node.out:
        give_up(walk, number, step.id, node.why)


def withdraw(walk: Walk, task: str, node: str, reason: str) -> None:
    """Ask the agent to give a task up and to say what became of it."""
    event = ev.TaskWithdrawRequested(task=task, reason=reason)
    walk.scratch.add(event, stream=f"node/{node}")


def give_up(walk: Walk, number: int, step: str, why: str, *, undo: bool = False) -> None:
    """Nobody will answer for a step."""
    event = ev.StepGivenUp(
        op=walk.at,
        plan=number,
        step=step,
        code=ENVIRONMENT_ERROR,
        message=why,
        hint=_GIVEN_UP_HINT,
        undo=undo,
    )
    walk.scratch.add(event)


def _decide(walk: Walk) -> bool:
    op, scratch = walk.op, walk.scratch
    if walk.will_reserve and not walk.may_reserve:
        return True
    decision = decide(walk.context, scratch.cluster, walk.job.id, walk.at, op)
    match decision:
        case Succeeded(problem=Problem() as problem):
            endings.fail(scratch, walk.at, problem)
        case Succeeded():
            _succeed(walk, decision)
        case Decided():
            if decision.plan.reserves != Reservations() and not walk.may_reserve:
                return True
            return _plan(walk, decision)
        case Problem():
            refuse(walk, decision)
    return False


def _succeed(walk: Walk, decision: Succeeded) -> None:
    """End the opcode well, with the jobs that follow from it."""
    result = decision.result
    if decision.jobs:
        try:
            facts = submission.follow_ups(
                decision.jobs,
                registry=walk.context.registry,
                jobs=walk.scratch.jobs,
                first=walk.scratch.next_job,
            )
        except Refused as wrong:  # an allocator has asked for an opcode that there is not
            refuse(walk, problem_of(wrong, ""))
            return
        ids = [walk.scratch.add_job(fact) for fact in facts]
        told = msgspec.msgpack.decode(result) or {}
        told["jobs"] = [(True, job) for job in ids]
        result = msgspec.Raw(msgspec.msgpack.encode(told))
    endings.succeed(walk.scratch, walk.at, result)


def _plan(walk: Walk, decision: Decided) -> bool:
    planned = ev.OpPlanned(
        op=walk.at, number=len(walk.op.plans), plan=decision.plan, given=decision.given
    )
    saved = walk.scratch.savepoint()
    try:
        walk.scratch.add(planned, size_bytes=decision.size_bytes)
    except CorruptHistory as contradiction:  # it reserves what another opcode has
        walk.scratch.rollback(saved)
        refuse(walk, _bug(walk, contradiction))
    return False


def refuse(walk: Walk, problem: Problem) -> None:
    """The handler says no: nothing was done yet, or it is to be undone, or there is no way back."""
    op = walk.op
    if not op.sent:
        endings.fail(walk.scratch, walk.at, problem)
    elif op.final:
        endings.park(walk.scratch, walk.at, problem)
    else:
        turn_back(walk, problem)


def _take(walk: Walk, number: int, step: Step, state: StepState) -> None:
    match step:
        case Record():
            _record(walk, number, step)
        case Wait():
            walk.scratch.add(ev.WaitStarted(op=walk.at, plan=number, step=step.id))
        case Call():
            _call(walk, number, step, state)


def _record(walk: Walk, number: int, step: Record) -> None:
    saved = walk.scratch.savepoint()
    try:
        walk.scratch.add_facts(step.facts)
        walk.scratch.add(ev.StepRecorded(op=walk.at, plan=number, step=step.id))
    except CorruptHistory as contradiction:  # such a fact must not come into the log
        walk.scratch.rollback(saved)
        problem = _bug(walk, contradiction)
        if walk.op.final:
            endings.park(walk.scratch, walk.at, problem)
        else:
            turn_back(walk, problem)


def _call(walk: Walk, number: int, step: Call, state: StepState) -> None:
    timers, job = walk.context.timers, walk.job.id
    tried = state.attempt - state.base
    pause = Key(walk.at, number, step.id, "pause", state.attempt)
    if tried and not timers.over(job, pause, pause_s(tried)):
        return
    node = reach(walk.context, walk.scratch.cluster, step.node)
    ready = Key(walk.at, number, step.id, "ready", state.attempt)
    if node.out or (node.how != PROMISED and timers.over(job, ready, step.timeout_s)):
        give_up(walk, number, step.id, node.why)
    elif node.how == PROMISED:
        request_task(walk, number, step, attempt=state.attempt + 1)


def request_task(
    walk: Walk, number: int, step: Call, *, attempt: int, undo: bool = False
) -> ev.TaskRequested:
    """Draft the task of a call, or of its undo."""
    call, node, timeout_s = step.call, step.node, step.timeout_s
    if undo:
        assert step.undo is not None
        call, timeout_s = step.undo.call, step.undo.timeout_s
        node = step.undo.node or node
    place = (walk.context.cluster_id, walk.job.id, walk.at, number, step.id)
    event = ev.TaskRequested(
        task=task_id(*place, received_ms=walk.job.received_ms, undo=undo, attempt=attempt),
        op=walk.at,
        plan=number,
        step=step.id,
        call=call,
        resource=step.resource or walk.scratch.stream,
        timeout_s=timeout_s,
        undo=undo,
        attempt=attempt,
    )
    walk.scratch.add(event, stream=f"node/{node}", size_bytes=len(bytes(call.data)) + 300)
    return event


def _runs(op: OpState) -> bool:
    return any(state.state == STEP_SENT for plan in op.plans for state in plan.steps)


def _watch_all(walk: Walk) -> None:
    for number, plan in enumerate(walk.op.plans):
        for step, state in zip(plan.plan.steps, plan.steps, strict=True):
            if state.state == STEP_SENT:
                watch(walk, number, step, state)


def _bug(walk: Walk, error: Exception) -> Problem:
    log.error("job %d, opcode %d: %s", walk.job.id, walk.at, error)
    return Problem(
        code=INTERNAL_ERROR,
        message=f"the plan contradicts the configuration: {error}",
        hint="this is a bug; the log of the master daemon has more",
    )

"""The way back of an opcode: withdraw, then undo, last first (pure).

1. What still runs is withdrawn; the agent says whether it never ran, is done, failed or still runs.
   Until all of it is settled nothing is undone: an undo must not overtake its do.
2. Then each step that was ever sent is undone, strictly last first, over all plans of the opcode.
   An undo is tried UNDO_ATTEMPTS times; then the opcode is parked, with its locks.
3. A node that is lost or offline cannot undo. The undo is recorded in its stream all the same, as a
   **duty**: the agent finds it when it returns, after the withdrawal of what it is to undo. What
   becomes of duties stands in duties.py.
4. When nothing is left, the opcode ends: failed for the reason it turned back, or canceled.
"""

from __future__ import annotations

from commands.engine import endings
from commands.engine.forward import Walk, give_up, request_task, withdraw
from commands.engine.reach import GONE, PROMISED, reach
from commands.engine.timers import ANSWER_S, Key, pause_s
from commands.errors import INTERNAL_ERROR
from projections.errors import CorruptHistory
from projections.events.configuration import DutyRecorded
from projections.events.jobs import StepRecorded
from projections.job_state import (
    CANCELED,
    STEP_SENT,
    UNDO_DONE,
    UNDO_DUTY,
    UNDO_FAILED,
    UNDO_NONE,
    UNDO_SENT,
    Problem,
    UndoState,
)
from projections.plans import Call, Record


def go_back(walk: Walk) -> None:
    """Draft what comes next on the way back."""
    if _withdraw_what_runs(walk):
        return
    op = walk.op
    for number, name in reversed(op.sent):
        plan = op.plans[number]
        at = plan.position(name)
        step, undo = plan.plan.steps[at], plan.steps[at].undo
        if undo.state in (UNDO_DONE, UNDO_DUTY):
            continue
        settled = True
        if isinstance(step, Record) and step.undo:
            settled = _undo_record(walk, number, step)
        elif isinstance(step, Call) and step.undo is not None:
            settled = _undo_call(walk, number, step, undo)
        if not settled or walk.scratch.full:
            return
    _end(walk)


def _withdraw_what_runs(walk: Walk) -> bool:
    """Withdraw every call under way. Returns whether one is not settled yet."""
    unsettled = False
    for number, plan in enumerate(walk.op.plans):
        for step, state in zip(plan.plan.steps, plan.steps, strict=True):
            if state.state != STEP_SENT or not isinstance(step, Call):
                continue
            if not state.withdraw:
                withdraw(walk, state.task, step.node, "cancel")
            node = reach(walk.context, walk.scratch.cluster, step.node)
            if node.out:
                give_up(walk, number, step.id, node.why)
            else:
                unsettled = True
    return unsettled


def _undo_record(walk: Walk, number: int, step: Record) -> bool:
    saved = walk.scratch.savepoint()
    try:
        walk.scratch.add_facts(step.undo)
        walk.scratch.add(StepRecorded(op=walk.at, plan=number, step=step.id, undo=True))
    except CorruptHistory as contradiction:  # such a fact must not come into the log
        walk.scratch.rollback(saved)
        message = f"undo of {step.id} contradicts the configuration: {contradiction}"
        endings.park(walk.scratch, walk.at, Problem(code=INTERNAL_ERROR, message=message))
        return False
    return True


def _undo_call(walk: Walk, number: int, step: Call, undo: UndoState) -> bool:
    """Undo a call. Returns whether it is settled, so that the one before it may follow."""
    assert step.undo is not None
    uuid = step.undo.node or step.node
    node = reach(walk.context, walk.scratch.cluster, uuid)
    timers, job = walk.context.timers, walk.job.id
    if undo.state == UNDO_FAILED:
        problem = undo.problem or Problem(code=INTERNAL_ERROR, message="no reason was told")
        message = f"undo of {step.id} failed: {problem.message}"
        endings.park(walk.scratch, walk.at, Problem(code=problem.code, message=message))
        return False
    if undo.state == UNDO_SENT:
        return _watch_undo(walk, number, step, undo)
    assert undo.state == UNDO_NONE
    tried = undo.attempt - undo.base
    again = Key(walk.at, number, step.id, "again", undo.attempt)
    if tried and not timers.over(job, again, pause_s(tried)):
        return False
    if not node.out and node.how != PROMISED:
        return False
    task = request_task(walk, number, step, attempt=undo.attempt + 1, undo=True)
    if node.out:
        _owe(walk, number, step, task.task, uuid, node.why)
    return node.out


def _watch_undo(walk: Walk, number: int, step: Call, undo: UndoState) -> bool:
    """An undo was sent: it is settled only if it becomes a duty, or its agent tells."""
    assert step.undo is not None
    uuid = step.undo.node or step.node
    node = reach(walk.context, walk.scratch.cluster, uuid)
    sent = Key(walk.at, number, step.id, "undo", undo.attempt)
    late = walk.context.timers.over(walk.job.id, sent, step.undo.timeout_s + ANSWER_S)
    if node.how == GONE or (node.out and late):
        _owe(walk, number, step, undo.task, uuid, node.why)
        return True
    if late and not undo.withdraw:
        withdraw(walk, undo.task, uuid, "timeout")
    return False


def _owe(walk: Walk, number: int, step: Call, task: str, uuid: str, why: str) -> None:
    """The node owes this undo, whose task stands in its stream, until it returns."""
    assert step.undo is not None
    duty = DutyRecorded(
        node=uuid,
        duty=task,
        job=walk.job.id,
        what=f"{step.undo.call.name}, to undo {step.id} of job {walk.job.id}",
        call=step.undo.call,
        resource=step.resource or walk.scratch.stream,
        timeout_s=step.undo.timeout_s,
    )
    if uuid in walk.scratch.cluster.nodes:  # a node that was removed owes nothing any more
        walk.scratch.add(duty, stream=f"node/{uuid}")
    give_up(walk, number, step.id, why, undo=True)


def _end(walk: Walk) -> None:
    problem = walk.op.problem
    assert problem is not None, "an opcode goes back for a reason"
    if problem.code == CANCELED:
        endings.cancel(walk.scratch, walk.at)
    else:
        endings.fail(walk.scratch, walk.at, problem)

"""How an opcode ends, and with it the opcodes after it (pure).

Every opcode ends once. Where one fails or is canceled, those after it end in the same batch.
"""

from __future__ import annotations

import msgspec

from commands.engine.scratch import Scratch
from projections.cluster import Cluster
from projections.events.jobs import OpCanceled, OpFailed, OpParked, OpSucceeded
from projections.job_state import NIL, UNDO_DONE, UNDO_DUTY, OpState, Problem
from projections.plans import Call, Record


def succeed(scratch: Scratch, at: int, result: msgspec.Raw) -> None:
    """End the opcode well."""
    scratch.add(OpSucceeded(op=at, result=result), size_bytes=len(bytes(result)) + 100)


def fail(scratch: Scratch, at: int, problem: Problem) -> None:
    """End the opcode and those after it with an error."""
    job = scratch.job
    assert job is not None
    failed = OpFailed(
        op=at,
        code=problem.code,
        message=problem.message,
        hint=problem.hint,
        details=problem.details,
        step=problem.step,
    )
    scratch.add(failed, size_bytes=len(bytes(problem.details)) + 500)
    for later in range(at + 1, len(job.ops)):
        message = f"opcode {at} of this job failed: {problem.message}"
        scratch.add(OpFailed(op=later, code=problem.code, message=message, details=NIL))


def cancel(scratch: Scratch, at: int) -> None:
    """End the opcode and those after it as canceled."""
    job = scratch.job
    assert job is not None
    for op in range(at, len(job.ops)):
        scratch.add(OpCanceled(op=op))


def park(scratch: Scratch, at: int, problem: Problem) -> None:
    """Leave the opcode, with its locks, to a person."""
    job = scratch.job
    assert job is not None
    left = what_is_left(job.ops[at], scratch.cluster)
    scratch.add(OpParked(op=at, code=problem.code, message=problem.message, left=left))


def what_is_left(op: OpState, cluster: Cluster) -> tuple[str, ...]:
    """Return, for people, what the opcode did and what was not undone: step, call, node."""
    left: list[str] = []
    for number, name in reversed(op.sent):
        plan = op.plans[number]
        at = plan.position(name)
        step, state = plan.plan.steps[at], plan.steps[at]
        if state.undo.state in (UNDO_DONE, UNDO_DUTY):
            continue
        if isinstance(step, Call) and (step.undo is not None or not op.undoing):
            problem = state.undo.problem or state.problem
            said = f": {problem.message}" if problem else ""
            left.append(f"{name}: {step.call.name} on {node_name(cluster, step.node)}{said}")
        elif isinstance(step, Record) and (step.undo or not op.undoing):
            kinds = ", ".join(fact.kind for fact in step.facts)
            left.append(f"{name}: recorded {kinds}")
    return tuple(left)


def node_name(cluster: Cluster, uuid: str) -> str:
    """Return a node's name, or its uuid where it is no member any more."""
    node = cluster.nodes.get(uuid)
    return uuid if node is None else node.name

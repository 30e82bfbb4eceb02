"""Asking a handler: what does this opcode want to do next?

The one place where code of handlers runs. Whatever goes wrong in it ends the opcode, never the
daemon.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from commands.api import JobSpec
from commands.engine.context import Context
from commands.errors import INTERNAL_ERROR, UNKNOWN_ENTITY, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Outcomes, PlanOutcome
from commands.opcode import Opcode
from commands.registry import AnyHandler
from nodeagent.calls import NodeStatus
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.job_state import NIL, STEP_DONE, STEP_FAILED, OpState, PlanState, Problem
from projections.plans import Call, Plan, check

log = logging.getLogger(__name__)

MAX_GIVEN_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan, and the given values that it was made from. `size_bytes`: of both, encoded."""

    plan: Plan
    given: msgspec.Raw
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The opcode is over, with this result (MessagePack).

    With a `problem` it failed, and what it did stays all the same; `jobs` follow from it
    (`handler.Done`).
    """

    result: msgspec.Raw
    problem: Problem | None = None
    jobs: tuple[JobSpec, ...] = ()


def decide(
    context: Context, cluster: Cluster, job: int, at: int, op: OpState
) -> Decided | Succeeded | Problem:
    """Ask the handler of a running opcode."""
    try:
        opcode = context.registry.decode(op.op)
        handler = context.registry.handler(op.op.name, op.handler)
        if not op.plans:
            require_a_cluster(cluster)
        given = draw(context, handler, opcode, cluster, (job, at, len(op.plans)))
        given = _with_what_was_seen_before(given, op)
        decision = handler.decide(opcode, cluster, given, outcomes(op))
        if isinstance(decision, Done):
            problem = None if decision.problem is None else problem_of(decision.problem, "")
            result = msgspec.Raw(msgspec.msgpack.encode(decision.result))
            return Succeeded(result, problem, decision.jobs)
        check(decision)
        drawn = recorded(given)
        size_bytes = len(msgspec.msgpack.encode(decision)) + len(drawn)
        return Decided(decision, msgspec.Raw(drawn), size_bytes)
    except Exception as error:  # a handler's bug ends its opcode, not the daemon
        return problem_of(error, f"job {job}, opcode {at} ({op.summary})")


def require_a_cluster(cluster: Cluster) -> None:
    """Raise Refused after the cluster was given up: its log takes no more facts."""
    if cluster.info is not None and cluster.info.destroyed:
        raise Refused(
            WRONG_STATE,
            f"the cluster {cluster.info.name} was destroyed",
            hint="its log can still be read; gnt-cluster init makes another, in a new directory",
        )


def locks_of(
    context: Context, cluster: Cluster, job: int, at: int, op: OpState
) -> tuple[AnyHandler, tuple[Lock, ...]] | Problem:
    """Return the newest handler of an opcode that is about to start, and the locks it needs."""
    try:
        handler = context.registry.handler(op.op.name)
        return handler, handler.locks(context.registry.decode(op.op), cluster)
    except Exception as error:  # as in `decide`
        return problem_of(error, f"job {job}, opcode {at} ({op.summary})")


def draw(
    context: Context,
    handler: AnyHandler,
    opcode: Opcode,
    cluster: Cluster,
    place: tuple[int, int, int],
) -> Given:
    """Draw the given values of one decision."""
    seen = context.look(handler.looks_at(opcode, cluster))
    return Given(now_ms=context.draws.now_ms(), seed=context.draws.seed(*place), seen=seen)


def _with_what_was_seen_before(given: Given, op: OpState) -> Given:
    """Add what earlier plans of the opcode were given of nodes that were not heard since.

    A new leader has heard nobody yet; without this the opcode would know less than when it began.
    """
    if not op.plans:
        return given
    seen: dict[str, NodeStatus] = {}
    for plan in op.plans:
        seen.update(msgspec.msgpack.decode(plan.given, type=Given).seen)
    return msgspec.structs.replace(given, seen={**seen, **given.seen})


def recorded(given: Given) -> bytes:
    """Return the given values as they stand in `op.planned`.

    What was seen of very many nodes would not fit into a record. The lists of instances, disks
    and OS definitions are left out then: they would only explain a decision that stands in its
    plan anyway.
    """
    whole = msgspec.msgpack.encode(given)
    if len(whole) <= MAX_GIVEN_BYTES:
        return whole
    seen = {
        node: msgspec.structs.replace(status, instances=(), disks=(), versions={}, os=None)
        for node, status in given.seen.items()
    }
    return msgspec.msgpack.encode(msgspec.structs.replace(given, seen=seen))


def outcomes(op: OpState) -> Outcomes:
    """Return what came of the opcode's plans so far; all of them are through."""
    return tuple(map(_outcome, op.plans))


def problem_of(error: Exception, where: str) -> Problem:
    """Return what a handler raised as the reason why its opcode failed; a bug goes to the log."""
    match error:
        case Refused():
            details = msgspec.Raw(error.basis) if error.basis else NIL
            return Problem(code=error.code, message=error.message, hint=error.hint, details=details)
        case NoSuchObject():
            return Problem(code=UNKNOWN_ENTITY, message=str(error), hint=error.hint)
    log.error("%s: the handler failed", where, exc_info=error)
    return Problem(
        code=INTERNAL_ERROR,
        message=f"{type(error).__name__}: {error}",
        hint="this is a bug; the log of the master daemon has the trace",
    )


def _outcome(plan: PlanState) -> PlanOutcome:
    results: dict[str, msgspec.Raw] = {}
    failures: dict[str, tuple[str, str]] = {}
    for step, state in zip(plan.plan.steps, plan.steps, strict=True):
        if isinstance(step, Call) and state.state == STEP_DONE:
            results[step.id] = state.result
        elif state.state == STEP_FAILED and state.problem is not None:
            failures[step.id] = (state.problem.code, state.problem.message)
    return PlanOutcome(plan=plan.plan, results=results, failures=failures)

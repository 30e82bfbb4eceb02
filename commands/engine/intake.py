"""What the world tells the engine, as facts: submissions, orders, results, feedback (pure).

Who speaks is known from the key of the connection; the caller passes it. A node speaks only about
its own tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from commands.api import JobOrder, JobOrderReply, Submit
from commands.engine import duties, orders
from commands.engine.endings import fail
from commands.engine.flight import Told
from commands.engine.history import History
from commands.engine.results import LATE, TaskFact, fact_of, standing
from commands.engine.results import RECORDED as IS_RECORDED
from commands.engine.scratch import FULL_DRAFTS, Scratch, State
from commands.engine.submission import admit
from commands.errors import ACCESS_DENIED, ENVIRONMENT_ERROR
from commands.registry import Registry
from eventstore.record import Batch, Draft, Event
from eventstore.replica import Committed, Outcome, Refused
from nodeagent.calls import Failure, Feedback, TaskResult
from projections.events.jobs import JobSubmitted, OpFeedback, OpResolved, TaskRuns
from projections.jobs import Jobs

MAX_TOLD = 32  # feedback lines of a job that may wait for its batch under way
FEEDBACK_CHARACTERS = 4096 // 4
MAX_RESULT_BYTES = 64 << 10  # REPLICATION 4.1: more stays on the node
RECORDED: Outcome = Committed(())


class News(NamedTuple):
    """A fact that its job waits for. `task`: which task it is about."""

    job: int
    event: Event
    task: str


@dataclass(slots=True)
class Order:
    """An order to several jobs: what to record, and the reply once all of it is."""

    reply: JobOrderReply
    open: list[tuple[int, Event]]  # jobs, and the fact about each
    batches: list[Batch]  # about jobs that have ended
    outstanding: int


def submission(
    jobs: Jobs,
    history: History,
    registry: Registry,
    actor: str,
    role: str,
    submit: Submit,
    key: str | None,
    first: int,
) -> Batch:
    """Return the jobs of a submission, numbered from `first`. Raises commands.errors.Refused."""
    facts = admit(submit, role=role, registry=registry, jobs=jobs, history=history, first=first)
    drafts = tuple(
        Draft(
            stream=f"job/{job}", event=fact, actor=actor, job=job, key=key if job == first else None
        )
        for job, fact in enumerate(facts, start=first)
    )
    return Batch(drafts=drafts, expected={draft.stream: 0 for draft in drafts})


def jobs_of(outcome: Committed) -> tuple[int, ...]:
    """Return the jobs that a submission made the first time it came."""
    return tuple(
        stored.record.job
        for stored in outcome.records
        if stored.record.kind == JobSubmitted.KIND and stored.record.job is not None
    )


def order(state: State, history: History, actor: str, asked: JobOrder, now_ms: int) -> Order:
    """Return what an order asks to be recorded. Raises commands.errors.Refused."""
    orders.check(asked)
    jobs = state.jobs
    rows: list[tuple[int, bool, str]] = []
    wanted: list[tuple[int, Event]] = []
    drafts: list[Draft] = []
    for job in orders.subjects(asked, history, now_ms):
        owed = duties.of_job(state.cluster, job) if job not in jobs.open else ()
        if asked.order == orders.RESOLVE and owed:
            drafts += (resolved := duties.resolve(owed, asked.how, actor))
            rows.append((job, bool(resolved), "" if resolved else duties.WAITS.format(job)))
            continue
        fact = orders.fact_of(asked, job, jobs, history)
        if isinstance(fact, str):
            rows.append((job, False, fact))
            continue
        rows.append((job, True, ""))
        if job in jobs.open:
            wanted.append((job, fact))
        else:
            drafts.append(Draft(stream=f"job/{job}", event=fact, actor=actor, job=job))
    batches = [
        Batch(drafts=tuple(drafts[at : at + FULL_DRAFTS]))
        for at in range(0, len(drafts), FULL_DRAFTS)
    ]
    reply = JobOrderReply(jobs=tuple(rows))
    return Order(reply, wanted, batches, outstanding=len(wanted) + len(batches))


def result(state: State, node: str, told: TaskResult) -> News | Batch | Outcome:
    """Return what to record of an agent's answer: news of a job, a batch, or nothing."""
    fact = fact_of(_bounded(told))
    place = state.jobs.tasks.get(told.task)
    if place is not None and place.node != node:
        return Refused(ACCESS_DENIED, f"task {told.task} is not one of this node")
    how = standing(state.jobs, fact)
    if how == IS_RECORDED or (how == LATE and isinstance(fact, TaskRuns)):
        return RECORDED
    if how == LATE:
        return _late(state, node, fact)
    assert place is not None
    return News(place.job, fact, told.task)


def _bounded(told: TaskResult) -> TaskResult:
    """A result that is too large for a record is a failure: the agent should have kept it."""
    size_bytes = len(bytes(told.done or b"")) + len(msgspec.msgpack.encode(told.failed))
    if size_bytes <= MAX_RESULT_BYTES:
        return told
    message = f"its answer has {size_bytes} bytes; {MAX_RESULT_BYTES} are allowed"
    failed = Failure(code=ENVIRONMENT_ERROR, message=message, hint="see the log of the node")
    return TaskResult(task=told.task, failed=failed, duration_ms=told.duration_ms)


def _late(state: State, node: str, fact: TaskFact) -> Batch:
    """Record an end that nobody waits for, once, and what it means for a duty of the node."""
    place = state.jobs.tasks.get(fact.task)
    duty = duties.find(state.cluster, node, fact.task)
    job = place.job if place is not None else duty[1].job if duty is not None else None
    stream, actor = f"node/{node}", f"node:{node}"
    key = f"end/{fact.task}"
    drafts = [Draft(stream=stream, event=fact, actor=actor, job=job, key=key)]
    if duty is not None and (follows := duties.what_follows(*duty, fact)) is not None:
        drafts.append(Draft(stream=stream, event=follows, actor=actor, job=job))
    return Batch(drafts=tuple(drafts))


def feedback(state: State, node: str, line: Feedback) -> News | None:
    """Return an agent's line for those who watch; None if its task is over or not its own."""
    place = state.jobs.tasks.get(line.task)
    if place is None or place.node != node:
        return None
    event = OpFeedback(
        op=place.op,
        step=place.step,
        text=line.text[:FEEDBACK_CHARACTERS],
        percent=line.percent,
        eta_s=line.eta_s,
    )
    return News(place.job, event, line.task)


def draft(scratch: Scratch, told: Told) -> None:
    """Draft a fact that was told. Raises CorruptHistory if it does not fit any more."""
    job = scratch.job
    assert job is not None
    size_bytes = len(bytes(getattr(told.event, "result", b""))) + 500
    scratch.add(told.event, stream=told.stream, actor=told.actor, size_bytes=size_bytes)
    if isinstance(told.event, OpResolved) and told.event.how == "accept":
        problem = job.ops[told.event.op].problem
        assert problem is not None, "an opcode is parked for a reason"
        fail(scratch, told.event.op, problem)

"""Orders: one submission, whatever happens on the way, and following what it started (edge).

A submission bears an idempotency key. If no answer comes, it is sent again with the same key: the
master answers with the jobs of the first time, or makes them now. So an order is never doubled,
and never lost without a word.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from commands.api import JobSpec, PlanReply, PlanRequest, Submit, Submitted
from commands.opcode import Opcode, pack
from eventstore.errors import Unreachable
from shell.failure import Failure, Status
from shell.following import Result, follow
from shell.parsing import Words
from shell.session import Session

PRIORITIES = {"low": 10, "normal": 0, "high": -10}
PATIENCE_S = 60.0  # how long a submission is repeated
_TRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One job that is to be submitted. `subject` names it where there are several."""

    ops: tuple[Opcode, ...]
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of an order. `results` is None where nothing was followed to its end."""

    status: int
    results: tuple[Result, ...] | None = None


def carry_out(session: Session, words: Words, *ops: Opcode) -> Ended:
    """Submit one job and follow it, or do what --dry-run, --submit say. Raises Failure."""
    return carry_out_all(session, words, [Wanted(ops)])


def carry_out_all(session: Session, words: Words, jobs: Sequence[Wanted]) -> Ended:
    """Submit jobs, all or none, and follow them. Raises Failure if a single one fails."""
    if words.flag("dry_run"):
        return Ended(_show_plans(session, jobs))
    ids = submit(session, words, jobs)
    if words.flag("print_jobid"):
        for job in ids:
            session.say(str(job))
    if words.flag("submit_only"):
        for job in ids:
            session.say(f"JobID: {job}")
        return Ended(Status.SUCCESS)
    if len(jobs) == 1:
        return Ended(Status.SUCCESS, (follow(session, ids[0]),))
    return _follow_all(session, ids, jobs)


def submit(session: Session, words: Words, jobs: Sequence[Wanted]) -> tuple[int, ...]:
    """Append the jobs, once, and return their ids."""
    specs = tuple(
        JobSpec(
            ops=tuple(map(pack, job.ops)),
            priority=PRIORITIES[words.get("priority", "normal")],
            reason=reason_trail(words),
        )
        for job in jobs
    )
    key = os.urandom(16).hex()
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            return session.ask(
                "submit", Submit(jobs=specs), Submitted, timeout_s=_TRY_S, key=key
            ).jobs
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
            if not told:
                session.note("The master daemon does not answer; trying again.")
                told = True


def reason_trail(words: Words) -> tuple[tuple[str, str, int], ...]:
    """Return Ganeti's trail: who gave the reason, what it is, when (ns since 1970 UTC)."""
    now = time.time_ns()
    text = words.get("reason")
    given = (("gnt:user", text, now),) if text else ()
    return (*given, (f"gnt:client:{words.tool}", words.command, now))


def _show_plans(session: Session, jobs: Sequence[Wanted]) -> int:
    from shell.render.plan import text

    for job in jobs:
        for op in job.ops:
            reply = session.ask("plan", PlanRequest(op=pack(op)), PlanReply)
            session.out.write(text(op.summary(), reply))
    return Status.SUCCESS


def _follow_all(session: Session, ids: Sequence[int], jobs: Sequence[Wanted]) -> Ended:
    session.say(f"Submitted jobs {', '.join(map(str, ids))}")
    results, failed = [], 0
    for job, wanted in zip(ids, jobs, strict=True):
        session.say(f"Waiting for job {job} for {wanted.subject} ...")
        try:
            results.append(follow(session, job))
        except Failure as failure:
            if failure.status is Status.INTERRUPTED:
                raise
            failed += 1
            session.note(f"Job {job} for {wanted.subject} has failed: {failure.message}")
            if failure.hint:
                session.note(f"hint: {failure.hint}")
    if failed:
        raise Failure(
            f"There were errors during {failed} of {len(ids)} jobs",
            hint="gnt-job info shows each of them",
        )
    return Ended(Status.SUCCESS, tuple(results))

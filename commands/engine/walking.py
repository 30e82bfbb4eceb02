"""One walk of a job: from what is committed, and what was just told, to the next batch (pure)."""

from __future__ import annotations

from commands.engine import endings
from commands.engine.backward import go_back
from commands.engine.context import Context
from commands.engine.forward import Walk, advance, refuse
from commands.engine.scratch import Scratch
from projections.job_state import NEEDS_ATTENTION, NOT_STARTED, Problem


def walk(
    scratch: Scratch,
    context: Context,
    *,
    may_reserve: bool,
    will_reserve: bool,
    refusal: Problem | None = None,
) -> bool:
    """Draft all that follows, until something from outside is needed, or the batch is full.

    True: the handler's decision reserves something and must wait until another is committed; if it
    is known to (`will_reserve`), it is not even asked.
    `refusal`: why the last batch of this job could not be appended; the opcode fails with it.
    """
    while not scratch.full:
        job = scratch.job
        if job is None or job.current is None:
            return False
        at = job.current
        status = job.ops[at].status
        if status in NOT_STARTED:
            if job.cancel:
                endings.cancel(scratch, at)
            return False
        if status == NEEDS_ATTENTION:
            return False
        before = len(scratch.drafts)
        turn = Walk(scratch, context, job, at, may_reserve, will_reserve)
        if job.ops[at].undoing:
            go_back(turn)
        elif refusal is not None:
            refuse(turn, refusal)
            refusal = None
        elif advance(turn):
            return True
        if len(scratch.drafts) == before:
            return False
    return False

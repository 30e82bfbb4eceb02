"""How long steps have been under way, on CLOCK_BOOTTIME (pure but for the clock).

A step's time runs from when this leader saw the record that sent it. So it never runs short within
a reign, and a suspended machine counts. After a failover the clock of the old leader is gone: what
the log's own times say is taken as elapsed, less SKEW_S (leaders' clocks may differ by so much),
and never more than the log shows. Waiting longer than asked is allowed, firing early is not.

Between two tries of a call there is a pause, 1 s at first and twice as long each time. It is the
leader's politeness, not history: a new leader starts it anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from projections.job_state import (
    CANCELING,
    RUNNING,
    STEP_READY,
    STEP_SENT,
    UNDO_NONE,
    UNDO_SENT,
    Job,
)
from projections.plans import Call, Record

SKEW_S = 10.0  # REPLICATION 4.1: peers further ahead are refused
ANSWER_S = 5.0  # an agent stops a call in time by itself; so much longer is waited for its word
LOST_S = 60.0  # a call on a node that is lost is given up so long after it was sent
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Key(NamedTuple):
    """What is timed: a stage of a step at one attempt."""

    op: int
    plan: int
    step: str
    stage: str  # ready, pause (before another try), sent; undo (sent), again (its pause)
    attempt: int


class Timing(NamedTuple):
    """When a stage began by the log (ms since 1970 UTC, 0: unknown), and what it may last."""

    key: Key
    began_ms: int
    lasts_s: float


class Timers:
    """When each stage under way began, and what is due. One for each reign."""

    def __init__(self, boot_s: Callable[[], float]) -> None:
        """`boot_s` reads CLOCK_BOOTTIME."""
        self._boot_s = boot_s
        self._began: dict[int, dict[Key, float]] = {}
        self._due: list[tuple[float, int]] = []  # heap of (time, job); may hold what is past

    @property
    def now_s(self) -> float:
        """The time on CLOCK_BOOTTIME."""
        return self._boot_s()

    def watch(self, job: Job, *, log_ms: int | None = None) -> None:
        """Note the stages of a committed job that are under way; forget those that are not.

        `log_ms`, the time of the last record before this reign, is given at its beginning.
        """
        known = self._began.get(job.id, {})
        began: dict[Key, float] = {}
        for key, began_ms, lasts_s in timings(job):
            start = known.get(key)
            if start is None:
                start = self.now_s - _elapsed_s(began_ms, log_ms)
                heapq.heappush(self._due, (start + lasts_s, job.id))
            began[key] = start
        if began:
            self._began[job.id] = began
        else:
            self._began.pop(job.id, None)

    def forget(self, job: int) -> None:
        """The job is over."""
        self._began.pop(job, None)

    def over(self, job: int, key: Key, lasts_s: float) -> bool:
        """Say whether a committed stage has lasted so long. One that is not committed has not."""
        start = self._began.get(job, {}).get(key)
        return start is not None and self.now_s >= start + lasts_s

    def due(self) -> set[int]:
        """Return the jobs for which something has become over since it was asked last."""
        jobs: set[int] = set()
        now_s = self.now_s
        while self._due and self._due[0][0] <= now_s:
            jobs.add(heapq.heappop(self._due)[1])
        return jobs

    @property
    def next_s(self) -> float | None:
        """When something is due next, if anything is."""
        while self._due and self._due[0][1] not in self._began:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None


def timings(job: Job) -> Iterator[Timing]:
    """Yield what is under way in a job, and how long each may last."""
    at = job.current
    if at is None or job.ops[at].status not in (RUNNING, CANCELING):
        return
    op = job.ops[at]
    for number, plan in enumerate(op.plans):
        for step, state in zip(plan.plan.steps, plan.steps, strict=True):
            if isinstance(step, Record):
                continue
            if state.state == STEP_SENT:
                lasts_s = step.timeout_s + (ANSWER_S if isinstance(step, Call) else 0.0)
                key = Key(at, number, step.id, "sent", state.attempt)
                yield Timing(key, state.sent_ms, lasts_s)
                if isinstance(step, Call) and lasts_s > LOST_S:  # look then, its node may be lost
                    yield Timing(key, state.sent_ms, LOST_S)
            elif state.state == STEP_READY and not op.undoing and isinstance(step, Call):
                yield Timing(Key(at, number, step.id, "ready", state.attempt), 0, step.timeout_s)
                if tried := state.attempt - state.base:
                    key = Key(at, number, step.id, "pause", state.attempt)
                    yield Timing(key, 0, pause_s(tried))
            if not (op.undoing and isinstance(step, Call) and step.undo):
                continue
            undo = state.undo
            if undo.state == UNDO_SENT:
                key = Key(at, number, step.id, "undo", undo.attempt)
                yield Timing(key, undo.sent_ms, step.undo.timeout_s + ANSWER_S)
            elif undo.state == UNDO_NONE and undo.attempt > undo.base:
                key = Key(at, number, step.id, "again", undo.attempt)
                yield Timing(key, 0, pause_s(undo.attempt - undo.base))


def pause_s(tried: int) -> float:
    """Return the pause before another try, after so many."""
    return min(PAUSE_S * 2.0 ** (tried - 1), LONGEST_PAUSE_S)


def _elapsed_s(began_ms: int, log_ms: int | None) -> float:
    if log_ms is None or not began_ms:
        return 0.0
    return max(0.0, (log_ms - began_ms) / 1000 - SKEW_S)

"""Which job may start its next opcode (pure).

An opcode starts when

- the jobs that it depends on have ended as it wants (if one cannot any more, it fails),
- fewer than `max_running` jobs run (a job that waits for locks or for a person does not count),
- its locks can be granted, all of them, behind nobody (projections/locks.py).

Candidates are taken by priority, the lower number first, the oldest first within one. A job becomes
a candidate when something happened that may let it start: it was submitted, its last opcode ended,
a job that it depends on ended, a lock that it waits for was given back. So looking costs what has
changed, not what is in the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from commands.engine.submission import accepted
from commands.errors import WRONG_STATE
from projections.job_state import NOT_STARTED, Job, Problem
from projections.jobs import Jobs
from projections.locks import LockTable


class Candidates:
    """Jobs that may be able to start their next opcode, first come first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._turns: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def consider(self, job: Job) -> None:
        """Look at this job again, at its present priority."""
        turn = (job.priority, job.id)
        if self._turns.get(job.id) != turn:
            self._turns[job.id] = turn
            heapq.heappush(self._heap, turn)

    def take(self) -> int | None:
        """Return the next job to look at, and forget it until it is considered again."""
        while self._heap:
            turn = heapq.heappop(self._heap)
            if self._turns.get(turn[1]) == turn:
                del self._turns[turn[1]]
                return turn[1]
        return None


def may_start(job: Job) -> bool:
    """Say whether the job's next opcode has not started yet."""
    at = job.current
    return at is not None and job.ops[at].status in NOT_STARTED


def dependencies(job: Job, jobs: Jobs) -> tuple[tuple[int, ...], Problem | None]:
    """Return the jobs that the next opcode still waits for, and why it can never start, if so."""
    at = job.current
    if at is None or at >= len(job.depends):
        return (), None
    waits: list[int] = []
    met = job.met
    for dependency in job.depends[at]:
        ended = met.get(dependency.job)
        if ended is None:
            if dependency.job in jobs.open:
                waits.append(dependency.job)
        elif ended not in accepted(dependency):
            wanted = " or ".join(accepted(dependency))
            return (), Problem(
                code=WRONG_STATE,
                message=f"it depends on job {dependency.job}, which ended as {ended}",
                hint=f"submit it again; that job would have to end as {wanted}",
            )
    return tuple(waits), None


def lock_names(locks: LockTable, job: int) -> frozenset[str]:
    """Return the names of the locks that a job holds or waits for."""
    names = {lock.name for lock in locks.owned.get(job, ())}
    request = locks.waiting.get(job)
    if request is not None:
        names.update(lock.name for lock in request.locks)
    return frozenset(names)


def given_back(before: LockTable, after: LockTable, jobs: Iterable[int]) -> frozenset[str]:
    """Return the locks of `jobs` about which something changed, so that others may have a turn."""
    names: set[str] = set()
    for job in jobs:
        if before.owned.get(job) != after.owned.get(job) or before.waiting.get(
            job
        ) != after.waiting.get(job):
            names |= lock_names(before, job)
    return frozenset(names)

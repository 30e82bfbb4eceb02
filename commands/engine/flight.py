"""What was proposed and is not decided yet, so that nothing is proposed twice (pure data)."""

from __future__ import annotations

from dataclasses import dataclass

from commands.api import Submitted
from eventstore.record import Batch, Event
from projections.events.jobs import OpBlocked, OpPlanned, OpStarted
from projections.jobs import Jobs
from projections.locks import LockTable, Request
from projections.plans import Reservations


@dataclass(frozen=True, slots=True)
class Told:
    """A fact about a job that came from outside: a result, a feedback line, an order.

    `ticket` names the request that it came with, to be answered when the fact is committed.
    """

    event: Event
    stream: str
    actor: str
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch under way. `job`: the one open job that it is about, None for a submission."""

    batch: Batch
    job: int | None = None
    priority: int = 0
    told: tuple[Told, ...] = ()
    ticket: int | None = None
    body: Submitted | None = None

    @property
    def reserves(self) -> bool:
        """Whether a plan in it takes capacity that another decision must know of."""
        events = (draft.event for draft in self.batch.drafts)
        return any(
            isinstance(event, OpPlanned) and event.plan.reserves != Reservations()
            for event in events
        )

    @property
    def starts(self) -> bool:
        """Whether an opcode starts in it."""
        return any(isinstance(draft.event, OpStarted) for draft in self.batch.drafts)

    @property
    def lock_names(self) -> tuple[str, ...]:
        """The locks that others were kept from while it was under way."""
        return tuple(
            lock.name
            for draft in self.batch.drafts
            if isinstance(draft.event, (OpStarted, OpBlocked))
            for lock in draft.event.locks
        )

    def is_current(self, jobs: Jobs) -> bool:
        """Whether it is about an open job whose stream still is where the batch expects it."""
        job = None if self.job is None else jobs.open.get(self.job)
        return job is not None and self.batch.expected[f"job/{job.id}"] == job.version

    def on(self, locks: LockTable) -> LockTable:
        """Return the lock table as it will be at least while the batch is under way.

        An opcode that ends in the same batch keeps its locks until the batch is committed.
        """
        assert self.job is not None, "only a batch about one open job is ever current"
        for draft in self.batch.drafts:
            if isinstance(draft.event, OpStarted):
                return locks.grant(self.job, draft.event.locks)
            if isinstance(draft.event, OpBlocked):
                return locks.wait(Request(self.priority, self.job, draft.event.locks))
        return locks

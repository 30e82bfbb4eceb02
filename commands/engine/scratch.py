"""The drafts of one batch, folded as they are made (pure).

What follows from a result without anything from outside (the step is done, its successors are
ready, the facts are recorded, the handler is asked again, the opcode has succeeded) needs no commit
between: all of it goes into one batch. So that each draft sees what the ones before it changed,
they are folded onto a scratch value, with the same folds that will fold them when they are
committed. The scratch value is dropped afterwards; only committed records make state.

A fact that contradicts the configuration raises CorruptHistory *here*, before it is in the log.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from eventstore.record import FORMAT, Batch, Draft, Event
from eventstore.record import Record as LogRecord
from projections.cluster import Cluster
from projections.configuration import fold_configuration
from projections.events.jobs import JobSubmitted
from projections.held import HOLDS, with_held
from projections.jobs import Job, Jobs, fold_jobs
from projections.plans import Fact
from projections.registry import CONFIGURATION_TYPES, JOB_TYPES, REGISTRY

# A batch may have 1 MiB (eventstore/record.py). Half of it leaves room for headers and for the one
# draft that goes over the mark.
FULL_BYTES = 400 << 10
FULL_DRAFTS = 256

_NO_DATA = msgspec.Raw(b"")
_JOB_EVENTS = frozenset(JOB_TYPES)
_CONFIGURATION_EVENTS = frozenset(CONFIGURATION_TYPES)


class State(Protocol):
    """What the engine reads of the projections."""

    @property
    def cluster(self) -> Cluster:
        """The configuration."""

    @property
    def jobs(self) -> Jobs:
        """The queue."""


class Savepoint(NamedTuple):
    """Where a scratch may go back to."""

    cluster: Cluster
    jobs: Jobs
    drafts: int
    size_bytes: int


class Scratch:
    """Drafts about one open job, and the state as it will be when they are committed."""

    def __init__(self, state: State, job: Job, *, now_ms: int, first_job: int = 0) -> None:
        """Begin with what is committed. `first_job`: the id of the first job that may be added."""
        self.cluster = state.cluster
        self.jobs = state.jobs
        self.drafts: list[Draft] = []
        self._id = job.id
        self._actor = job.actor
        self._cause = job.serial
        self._version = job.version
        self._time = now_ms << 16
        self._size_bytes = 0
        self.next_job = first_job
        self._new_streams: dict[str, int] = {}

    @property
    def job(self) -> Job | None:
        """The job as the drafts leave it; None once it has ended."""
        return self.jobs.open.get(self._id)

    @property
    def stream(self) -> str:
        """The job's own stream."""
        return f"job/{self._id}"

    @property
    def full(self) -> bool:
        """Whether the batch should be proposed before more is added."""
        return len(self.drafts) >= FULL_DRAFTS or self._size_bytes >= FULL_BYTES

    def add(
        self, event: Event, *, stream: str = "", actor: str = "", size_bytes: int = 100
    ) -> None:
        """Draft `event`, in the job's stream unless told otherwise, and fold it.

        Raises CorruptHistory if it contradicts what is; then nothing has changed.
        `size_bytes` is a guess at what it adds to the batch.
        """
        draft = Draft(
            stream=stream or self.stream,
            event=event,
            actor=actor or self._actor,
            job=self._id,
            cause=self._cause,
        )
        self._fold(draft)
        self.drafts.append(draft)
        self._size_bytes += size_bytes

    def add_job(self, event: JobSubmitted) -> int:
        """Draft another job, on behalf of whoever submitted this one; return its id."""
        job = self.next_job
        stream = f"job/{job}"
        draft = Draft(stream=stream, event=event, actor=self._actor, job=job, cause=self._cause)
        record = self._place(stream, event.KIND, event.SCHEMA, _NO_DATA, draft.actor, job=job)
        self.jobs = fold_jobs(self.jobs, event, record)
        self.drafts.append(draft)
        self._size_bytes += sum(len(bytes(op.data)) + 100 for op in event.ops) + 300
        self._new_streams[stream] = 0
        self.next_job += 1
        return job

    def add_facts(self, facts: tuple[Fact, ...]) -> None:
        """Draft the facts of a plan. Raises CorruptHistory; then some may have been added."""
        for fact in facts:
            event = REGISTRY.decode_data(fact.kind, fact.schema, fact.data)
            assert event is not None, f"{fact.kind} is no event that a plan may record"
            self.add(event, stream=fact.stream, size_bytes=len(bytes(fact.data)) + 100)

    def savepoint(self) -> Savepoint:
        """Return where the scratch stands."""
        return Savepoint(self.cluster, self.jobs, len(self.drafts), self._size_bytes)

    def rollback(self, to: Savepoint) -> None:
        """Forget what was added since."""
        self.cluster, self.jobs, drafts, self._size_bytes = to
        del self.drafts[drafts:]

    def batch(self) -> Batch:
        """Return the drafts. They may be appended only if the job's stream has not moved on."""
        expected = {self.stream: self._version, **self._new_streams}
        return Batch(drafts=tuple(self.drafts), expected=expected)

    def _fold(self, draft: Draft) -> None:
        event = draft.event
        record = self._place(draft.stream, event.KIND, event.SCHEMA, _NO_DATA, draft.actor)
        if type(event) in _JOB_EVENTS:
            jobs = fold_jobs(self.jobs, event, record)  # type: ignore[arg-type] # by its type
            if type(event) in HOLDS:
                self.cluster = with_held(self.cluster, jobs, event, record)
            self.jobs = jobs
        elif type(event) in _CONFIGURATION_EVENTS:
            self.cluster = fold_configuration(
                self.cluster,
                event,  # type: ignore[arg-type] # by its type
                record,
            )

    def _place(
        self,
        stream: str,
        kind: str,
        schema: int,
        data: msgspec.Raw,
        actor: str = "",
        *,
        job: int | None = None,
    ) -> LogRecord:
        """Return a record as a fold needs it; its place in the log is not known yet."""
        return LogRecord(
            v=FORMAT,
            seq=self._cause + 1 + len(self.drafts),
            gen=0,
            term=0,
            time=self._time,
            event_id=b"",
            kind=kind,
            schema=schema,
            stream=stream,
            version=self._version + 1 + len(self.drafts),
            actor=actor,
            origin="",
            job=self._id if job is None else job,
            cause=None,
            key=None,
            data=data,
        )

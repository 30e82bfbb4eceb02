"""The past as the master daemon reads it: its own log, up to what is committed (edge).

A voter's file may hold records that are not committed (yet). Nothing here shows them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from eventstore.packed import Packed
from eventstore.record import Stored
from eventstore.replica import Replica
from eventstore.storage.log_view import LogView
from projections.job_state import NIL, Job, OpState, Problem
from projections.past_jobs import ALL, NAMED, NOT_ARCHIVED, ended_job, list_jobs, list_ops
from projections.query.job_fields import JobRow

_DIGITS = 18  # of the number of a job
_RECENT = 512  # ended jobs that are remembered for those who wait for them

# Columns of a job that the index has; for any other one the job is folded again from its records.
LISTED = frozenset(
    {
        "id", "status", "priority", "summary", "actor", "archived",
        "received_ts", "start_ts", "end_ts", "opstatus", "opstart", "opexec", "opend",
    }
)  # fmt: skip


class History:
    """Committed records of one replica; a `projections.past.History`."""

    def __init__(self, view: LogView, replica: Replica) -> None:
        self._view = view
        self._replica = replica

    @property
    def head(self) -> int:
        """Seq of the last committed record."""
        return self._replica.committed

    def records(self, first: int, last: int) -> Sequence[Stored]:
        """Return the records first..last, as far as they are committed."""
        return self._view.records(first, min(last, self.head))

    def iterate(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """Yield the records first..last, as far as they are committed."""
        head = self.head
        yield from self._view.iterate(first, head if last is None else min(last, head))

    def seq_at(self, time_ms: int) -> int:
        """Return the seq of the last committed record up to this time, 0 if there is none."""
        return min(self._view.seq_at(time_ms), self.head)

    def job(self, job: int) -> Iterator[Stored]:
        """Yield the committed records that serve a job, in order."""
        head = self.head
        return (stored for stored in self._view.job(job) if stored.record.seq <= head)

    def ended_rows(
        self, jobs: Collection[int], *, archived: bool
    ) -> Iterable[Mapping[str, object]]:
        """Return what the index has of jobs that have ended, with their opcodes' rows.

        Of these `jobs`; if there are none, of all that are not archived, or with them.
        """
        index = self._view.index
        if index is None:
            return []
        which, values = (ALL if archived else NOT_ARCHIVED), []
        if jobs:
            which, values = NAMED, [msgspec.json.encode(list(jobs)).decode()]
        ops: dict[int, list[dict[str, object]]] = {}
        with index.unchanging():  # a job may end, or be archived, between the two queries
            for op in index.db.query(list_ops(which), values):
                ops.setdefault(op["job"], []).append(op)
            listed = list(index.db.query(list_jobs(which), values))
        return ({**job, "opcodes": ops[job["id"]]} for job in listed if job["status"] is not None)

    def archived(self, job: int) -> bool:
        """Say whether an ended job has been archived."""
        index = self._view.index
        row = None if index is None else index.row("job", "id", job)
        return row is not None and row["archived_ms"] is not None


class EndedJobs:
    """Jobs that have ended: the last ones in memory, all of them in the log."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._recent: dict[int, Job] = {}
        self._order: deque[int] = deque()

    def ended(self, jobs: Iterable[Job]) -> None:
        """Note jobs that have just ended (without their plans)."""
        for job in jobs:
            self._recent[job.id] = job
            self._order.append(job.id)
        while len(self._order) > _RECENT:
            self._recent.pop(self._order.popleft(), None)

    def get(self, job: int) -> Job | None:
        """Return an ended job, None if there is none of that number (or it is open)."""
        return self._recent.get(job) or ended_job(self._history, job)

    def recent(self) -> list[int]:
        """Return the last jobs that ended and are not archived."""
        return [job for job in self._recent if not self._history.archived(job)]

    def status(self, job: int) -> str | None:
        """Return how a job ended, None if it is unknown, open or archived."""
        found = self.get(job)
        return None if found is None or self._history.archived(job) else found.status

    def ended_before(self, time_ms: int) -> Sequence[int]:
        """Return the jobs that ended before a time (ms since 1970 UTC) and are not archived."""
        rows = self.rows(LISTED, (), archived=False)
        return sorted(row.job.id for row in rows if row.job.ended_ms < time_ms)

    def rows(self, fields: Iterable[str], names: Sequence[str], *, archived: bool) -> list[JobRow]:
        """Return the rows of ended jobs: all that are not archived, or the ones named."""
        deep = not LISTED.issuperset(fields)
        # Longer ones are no jobs: Python refuses to read thousands of digits, SQLite 20.
        wanted = {int(name) for name in names if name.isdecimal() and len(name) <= _DIGITS}
        if names and not wanted:
            return []
        rows = {}
        for row in self._history.ended_rows(wanted, archived=archived):
            number = _number(row["id"])
            job = self.get(number) if deep else _listed(row)
            if job is not None:
                rows[number] = JobRow(job, row["archived_ms"] is not None)
        for number in set(self._recent) - set(rows):  # the index may lag a moment behind
            if (not wanted or number in wanted) and not self._history.archived(number):
                rows[number] = JobRow(self._recent[number])
        return list(rows.values())


def _listed(row: Mapping[str, object]) -> Job:
    """Return an ended job as far as the index knows it."""
    opcodes = row["opcodes"]
    assert isinstance(opcodes, list)
    return Job(
        id=_number(row["id"]),
        actor=str(row["actor"]),
        priority=_number(row["priority"]),
        received_ms=_number(row["received_ms"]),
        ops=tuple(_listed_op(op) for op in opcodes),
    )


def _listed_op(op: Mapping[str, object]) -> OpState:
    problem = None
    if op["code"] is not None:
        problem = Problem(code=str(op["code"]), message=str(op["message"]))
    return OpState(
        op=Packed("", 0, NIL),
        summary=str(op["summary"]),
        status=str(op["status"]),
        started_ms=_number(op["started_ms"]),
        ended_ms=_number(op["ended_ms"]),
        problem=problem,
    )


def _number(value: object) -> int:
    return msgspec.convert(value or 0, int)

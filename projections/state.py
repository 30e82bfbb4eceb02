"""The state at one seq, and the runner that brings it forward: used by the master, by replay, by
`gnt-log` (pure).

`State` is an immutable value; `Projector` holds the present one. A batch is folded wholly or not at
all: if a record in it is unknown or contradicts the state, the error names its seq and the state
stays as it was before the batch. Records are folded one by one, so how the log was cut into batches
does not matter.

What the configuration takes over from the queue is the rule of `projections/held.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventstore.record import Stored
from projections.cluster import Cluster, Key
from projections.configuration import FOLDS, fold_configuration
from projections.digest import (
    Digest,
    Sum,
    add,
    as_hex,
    keys_of,
    leaf,
    object_at,
    touched_keys,
)
from projections.errors import CorruptHistory
from projections.held import HOLDS, with_held
from projections.job_state import Job
from projections.job_table import Jobs
from projections.jobs import FOLDS as JOB_FOLDS
from projections.jobs import ended_by
from projections.registry import decode

FOLD, VERSION = "state", 4  # raise VERSION when a fold or the bytes of a state mean something else
FOLD_VERSION = f"{FOLD}-{VERSION}"

_GATHER = 1024  # records after which the chain `Cluster.touched` is taken over and cut


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All projections as they are after the record `seq`."""

    seq: int = 0
    hash: bytes = b""  # of that record
    time: int = 0  # of that record: hybrid clock
    cluster: Cluster = Cluster()
    jobs: Jobs = Jobs()
    ended: bytes = bytes(32)  # sum of the leaves of all jobs that have ended: not kept in memory

    @property
    def unix_ms(self) -> int:
        """Wall-clock label of the last record, in milliseconds since 1970 UTC."""
        return self.time >> 16


class Projector:
    """Folds committed records into a state. One thread at a time."""

    def __init__(self, state: State | None = None) -> None:
        """Go on from `state`, or from the beginning of the log."""
        self.state = State() if state is None else state
        self._sums = _Sums(self.state)
        self._gathered = self.state.seq

    @property
    def seq(self) -> int:
        """The last record that was folded, 0 if none was."""
        return self.state.seq

    def apply(self, records: Iterable[Stored]) -> tuple[Job, ...]:
        """Fold the next records; return the jobs that ended by them, without their plans.

        Raises UnknownKind or CorruptHistory, and then nothing of it was folded.
        """
        state = self.state
        cluster, jobs, ended = state.cluster, state.jobs, []
        seq, stored = state.seq, None
        for stored in records:
            record = stored.record
            if record.seq != seq + 1:
                raise CorruptHistory(f"record {record.seq} after record {seq}")
            seq = record.seq
            event = decode(record)
            kind = type(event)
            job_fold = JOB_FOLDS.get(kind)
            if job_fold is not None:
                before = jobs
                jobs = job_fold(before, event, record)
                if kind in HOLDS:
                    cluster = with_held(cluster, jobs, event, record)
                    job = ended_by(before, jobs)
                    if job is not None:
                        ended.append(job)
            elif kind in FOLDS:
                cluster = fold_configuration(cluster, event, record)  # type: ignore[arg-type]
        if stored is None:
            return ()
        if seq - self._gathered >= _GATHER:
            self._sums.note(cluster)
            cluster, self._gathered = cluster.untouched(), seq
        self.state = State(
            seq=seq,
            hash=stored.hash,
            time=stored.record.time,
            cluster=cluster,
            jobs=jobs,
            ended=_with_ended(state.ended, ended),
        )
        return tuple(ended)

    def digest(self) -> Digest:
        """Return the digests of the present state. Costs one hash per object touched since."""
        cluster = self.state.cluster
        self._sums.note(cluster)
        self.state = msgspec.structs.replace(self.state, cluster=cluster.untouched())
        return self._sums.digest(self.state)


def digest_of(state: State) -> Digest:
    """Return the digests of a state from scratch; equal to what a `Projector` has kept."""
    return _Sums(state).digest(state)


class _Sums:
    """The digests of a line of states, brought forward by what was touched."""

    def __init__(self, state: State) -> None:
        self._configuration, self._changes, self._jobs = Sum(), Sum(), Sum()
        self._hashed: dict[int, Job] = {}  # the open jobs, as they are in the sum
        self._dirty: set[Key] = set(keys_of(state.cluster))

    def note(self, cluster: Cluster) -> None:
        """Remember what was touched, so that the chain may be cut."""
        self._dirty.update(touched_keys(cluster))

    def digest(self, state: State) -> Digest:
        """Return the digests of `state`, whose touched objects were all noted."""
        for key in self._dirty:
            self._configuration.set(key, object_at(state.cluster, key))
            self._changes.set(key, state.cluster.changed.get(key))
        self._dirty.clear()
        self._follow(state.jobs)
        jobs = add(self._jobs.total, int.from_bytes(state.ended, "big"))
        counters = leaf("jobs", (state.jobs.ended, state.jobs.last_id))
        return Digest(
            seq=state.seq,
            fold=FOLD_VERSION,
            configuration=as_hex(self._configuration.total),
            jobs=as_hex(add(jobs, counters)),
            changes=as_hex(self._changes.total),
        )

    def _follow(self, jobs: Jobs) -> None:
        for gone in self._hashed.keys() - jobs.open.keys():
            del self._hashed[gone]
            self._jobs.set(gone, None)
        for number, job in jobs.open.items():
            if self._hashed.get(number) is not job:
                self._hashed[number] = job
                self._jobs.set(number, job)


def _with_ended(total: bytes, ended: Iterable[Job]) -> bytes:
    number = int.from_bytes(total, "big")
    for job in ended:
        number = add(number, leaf(job.id, job))
    return number.to_bytes(32, "big")

"""The state at an older seq or time, and the present one after a start (pure: it is handed the log
and the snapshots, and reads what they give).

A state is the nearest snapshot at or below the place, and the records from there on. The law that
makes this right: snapshot and tail give the same digests as the whole log. Whoever doubts it calls
`replay`, which uses the log alone.

Batches are never cut: a seq in the middle of a batch means the state after the whole batch, since
a part of one was never the state of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from eventstore.record import Stored
from eventstore.storage.snapshots import Snapshot
from eventstore.storage.thinning import EVERY
from projections import collector
from projections.digest import Digest
from projections.errors import CorruptHistory
from projections.frozen import dump_state, load_state
from projections.state import Projector, State, digest_of

# Records folded at once: what was touched is gathered between two steps. So few that they are still
# in the processor's cache when they are folded: 1,000 took 15 % more CPU time on a busy machine.
_STEP = 50


class History(Protocol):
    """What is read of a log; `eventstore.storage.log_view.LogView` is one."""

    @property
    def head(self) -> int:
        """Seq of the last record."""

    def records(self, first: int, last: int) -> Sequence[Stored]:
        """Return the records first..last, as far as there are any."""

    def iterate(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """Yield the records first..last."""

    def seq_at(self, time_ms: int) -> int:
        """Return the seq of the last record up to this time, 0 if there is none."""

    def job(self, job: int) -> Iterator[Stored]:
        """Yield the records that serve a job, in order."""


class Snapshots(Protocol):
    """What is asked of the snapshots; `eventstore.storage.snapshots.SnapshotStore` has it."""

    def nearest(self, seq: int, hash_at: Callable[[int], bytes | None]) -> Snapshot | None:
        """Return the newest sound snapshot at or below `seq` that belongs to this log."""


def state_at(history: History, snapshots: Snapshots | None, seq: int) -> State:
    """Return the state after the batch that holds record `seq`; beyond the head, the present one.

    Raises UnknownKind or CorruptHistory if a record on the way cannot be folded.
    """
    last = _end_of_batch(history, min(seq, history.head))
    projector = Projector(_nearest(history, snapshots, last))
    _advance(projector, history, last)
    return projector.state


def state_at_time(history: History, snapshots: Snapshots | None, time_ms: int) -> State:
    """Return the state as it was at this time (ms since 1970 UTC). Raises like `state_at`."""
    return state_at(history, snapshots, history.seq_at(time_ms))


def replay(history: History) -> Projector:
    """Fold the log alone, from its first record. Raises like `state_at`."""
    projector = Projector()
    _advance(projector, history, history.head)
    return projector


def resume(history: History, snapshots: Snapshots) -> Projector:
    """Return a projector at the head of the log, for a daemon that starts.

    A snapshot whose state has another digest than when it was made is not used: then the log is
    folded from its beginning. Raises like `state_at`.
    """
    head = history.head
    snapshot = snapshots.nearest(head, _hash_at(history))
    state = None if snapshot is None else _loaded(snapshot)
    if state is not None and snapshot is not None and _digest_bytes(state) != snapshot.digest:
        state = None
    projector = Projector(state)
    _advance(projector, history, head)
    return projector


def snapshot_due(last: int, seq: int) -> bool:
    """Say whether a snapshot is due at `seq` when the last one was made at `last`."""
    return seq - last >= EVERY


def snapshot_of(state: State, digest: Digest) -> Snapshot:
    """Return the snapshot of a state and its digest; encodes the whole state."""
    return Snapshot(state.seq, state.hash, msgspec.msgpack.encode(digest), dump_state(state))


def _nearest(history: History, snapshots: Snapshots | None, seq: int) -> State | None:
    snapshot = snapshots.nearest(seq, _hash_at(history)) if snapshots is not None else None
    return None if snapshot is None else _loaded(snapshot)


def _loaded(snapshot: Snapshot) -> State | None:
    try:
        return load_state(snapshot.state)
    except CorruptHistory:  # its CRC is right: another version of the structs made it
        return None


def _digest_bytes(state: State) -> bytes:
    return msgspec.msgpack.encode(digest_of(state))


def _hash_at(history: History) -> Callable[[int], bytes | None]:
    def hash_at(seq: int) -> bytes | None:
        found = history.records(seq, seq)
        return found[0].hash if found else None

    return hash_at


def _end_of_batch(history: History, seq: int) -> int:
    if seq < 1:
        return 0
    (stored,) = history.records(seq, seq)
    return seq + stored.record.count - 1 - stored.record.index


def _advance(projector: Projector, history: History, last: int) -> None:
    records = history.iterate(projector.seq + 1, last)
    with collector.paused():
        while step := list(islice(records, _STEP)):
            projector.apply(step)

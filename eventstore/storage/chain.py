"""Walking the hash chain: the check that the writer's start and `gnt-log verify` share (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventstore.errors import CorruptLog
from eventstore.record import Stored, chain_hash
from eventstore.storage.log_file import Row
from eventstore.storage.log_reader import decoded
from eventstore.storage.sqlite_errors import VERIFY_HINT


def walk(rows: Iterable[Row], *, first: int, last: int, previous: bytes) -> Iterator[Stored]:
    """Yield the records of `rows`, each checked: seq dense first..last, hash, bytes, batches.

    That they reach to `last` is checked too: with one bit of a rowid flipped, SQLite ends a range
    early and says nothing. `previous` is the hash of record first - 1 (the genesis hash if first is
    1). Raises CorruptLog naming the first bad seq. A batch of which the end is missing is bad from
    its first record.
    """
    seq = first
    place = (0, 0)  # index and count of the last record; (0, 0): a batch may begin
    for row in rows:
        if row.seq != seq:
            raise _corrupt(seq, f"it is missing; the next there is {row.seq}")
        if chain_hash(previous, row.encoded) != row.hash:
            raise _corrupt(seq, "its bytes do not belong to its hash and the one before")
        stored = decoded(row)
        inside = stored.record.index, stored.record.count
        if (seq > first or first == 1) and not _follows(place, inside):
            raise _corrupt(seq, f"it is {inside} of a batch, after {place}")
        yield stored
        seq, previous, place = seq + 1, row.hash, inside
    if seq <= last:
        raise _corrupt(seq, f"it is missing, as are those up to {last}")
    index, count = place
    if index + 1 < count:
        begun = max(first, seq - 1 - index)
        raise _corrupt(begun, f"the end of its batch is missing ({index + 1} of {count} are there)")


def _follows(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Say whether a record at `after` (index, count) may stand behind one at `before`."""
    if before[0] + 1 < before[1]:
        return after == (before[0] + 1, before[1])
    return after[0] == 0


def _corrupt(seq: int, what: str) -> CorruptLog:
    return CorruptLog(f"record {seq}: {what}", seq=seq, hint=VERIFY_HINT)

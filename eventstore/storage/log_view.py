"""Reading a log by seq, stream, job, time or key, from any process, without its writer (edge).

`LogView` answers from the log file and uses the index to find things. The index may lag behind the
log, or be missing: what it does not hold yet is scanned, so an answer is never incomplete, only
slower. A view shows what is durable on this voter; in a cluster of one that is what is committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from eventstore.codec import decode_event
from eventstore.events import LogCreated
from eventstore.proofs.merkle import consistency_proof, inclusion_proof
from eventstore.record import Epoch, Record, Stored
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.index_table import IndexTable, Value
from eventstore.storage.layout import Layout
from eventstore.storage.log_reader import LogReader
from eventstore.storage.subtrees import Subtrees


class LogView:
    """A read-only view, as the log is at each call. One thread at a time; use as a context."""

    def __init__(self, directory: Path) -> None:
        """Open the log in `directory`. Raises NotOurLog if there is none."""
        layout = Layout(directory)
        self._log = LogReader(layout.log)
        self._index: IndexReader | None = None
        with suppress(FileNotFoundError, sqlite3.Error):  # without it: slower, not less
            self._index = IndexReader(layout.index)

    def __enter__(self) -> LogView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""
        return self._log.meta.cluster_id

    @property
    def epoch(self) -> Epoch:
        """The epoch that this voter's file is in, as of when it was opened."""
        return self._log.meta.epoch

    @property
    def origin(self) -> str:
        """The log's name in its checkpoints."""
        return decode_event(LogCreated, self.records(1, 1)[0].record.data).origin

    @property
    def head(self) -> int:
        """Seq of the last record."""
        return self._log.head()

    @property
    def indexed(self) -> int:
        """Seq up to which the index has followed, 0 if there is none of this log's."""
        try:
            seq, stored_hash = self._index.progress if self._index else (0, b"")
        except sqlite3.Error:
            return 0
        row = self._log.row(seq) if seq else None
        return seq if row and row.hash == stored_hash else 0

    @property
    def index(self) -> IndexReader | None:
        """The index, for queries of one's own: as far as `indexed`."""
        return self._index

    def records(self, first: int, last: int) -> Sequence[Stored]:
        """Return the records first..last, as far as there are any."""
        return list(self.iterate(first, last))

    def iterate(self, first: int = 1, last: int | None = None) -> Iterator[Stored]:
        """Yield the records first..last (to the head as it is now), a chunk in memory at a time."""
        head = self.head
        return self._log.stored(max(1, first), head if last is None else min(last, head))

    def stream(self, name: str, from_version: int = 1) -> Iterator[Stored]:
        """Yield the records of a stream, in order."""
        return self._find(
            "stream = ? AND version >= ?",
            (name, from_version),
            lambda record: record.stream == name and record.version >= from_version,
        )

    def job(self, job: int) -> Iterator[Stored]:
        """Yield the records that serve a job, in order."""
        return self._find("job = ?", (job,), lambda record: record.job == job)

    def keyed(self, key: str) -> Iterator[Stored]:
        """Yield the records that bear an idempotency key."""
        return self._find("key = ?", (key,), lambda record: record.key == key)

    def between(self, first_ms: int, last_ms: int) -> Iterator[Stored]:
        """Yield the records of a span of time, both ends included (ms since 1970 UTC)."""
        return self.iterate(self.seq_at(first_ms - 1) + 1, self.seq_at(last_ms))

    def seq_at(self, time_ms: int) -> int:
        """Return the seq of the last record up to this time, 0 if there is none.

        Time never goes backwards in a log, so this needs no index.
        """
        low, high = 0, self.head
        while low < high:
            middle = (low + high + 1) // 2
            if self.records(middle, middle)[0].record.unix_ms <= time_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def lookup(self, table: IndexTable, key: Value) -> dict[str, Value] | None:
        """Return a row of a table that another room registered, up to date, None if none."""
        indexed = self.indexed
        found = self._index.row(table.name, table.key, key) if self._index and indexed else None
        for stored in self.iterate(indexed + 1):
            for row in table.rows(stored.record):
                if row[table.key] == key:
                    found = {**dict.fromkeys(table.columns), **(found or {}), **row}
        return found

    def inclusion_proof(self, seq: int, size: int) -> list[bytes]:
        """Return the RFC 6962 proof that record `seq` is among the first `size`."""
        return inclusion_proof(seq - 1, size, Subtrees(self._log, self._index))

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the RFC 6962 proof that the first `old` records did not change up to `new`."""
        return consistency_proof(old, new, Subtrees(self._log, self._index))

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        if self._index:
            self._index.close()

    def _find(
        self, where: str, parameters: Sequence[Value], holds: Callable[[Record], bool]
    ) -> Iterator[Stored]:
        indexed = self.indexed
        if self._index and indexed:
            for seq in self._index.seqs(f"{where} AND seq <= ?", (*parameters, indexed)):
                yield from self._log.stored(seq, seq)
        for stored in self.iterate(indexed + 1):
            if holds(stored.record):
                yield stored

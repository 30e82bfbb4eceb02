"""The thread that keeps the index behind the committed log, never in the way of it (edge)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import islice

from eventstore.errors import DiskFull, EventStoreError
from eventstore.storage.index import IndexWriter
from eventstore.storage.index_table import IndexTable
from eventstore.storage.layout import Layout
from eventstore.storage.log_reader import LogReader

STEP = 2000  # records per transaction
RETRY_S = 1.0  # after the index could not be written
GATHER_S = 0.05  # after a wake-up, wait so long for more: fewer, larger transactions
BULK = 500  # records within that time: the log is written in bulk, and the interpreter is its own
MOST_GATHERS = 10  # for so long


class Indexer:
    """Follow the log up to what `advance` says is committed."""

    def __init__(
        self,
        layout: Layout,
        tables: Sequence[IndexTable] = (),
        *,
        fatal: Callable[[EventStoreError], None] | None = None,
    ) -> None:
        """Open the index, or make it. Raises DiskFull if that cannot be done.

        `fatal` hears, on the index's thread, that the log itself cannot be read any more.
        """
        self._fatal = fatal
        try:
            self._index = IndexWriter(layout.index, tables)
        except sqlite3.Error as error:
            raise DiskFull(f"{layout.index} cannot be made: {error}") from error
        self._log = LogReader(layout.log)
        if self._index.seq:
            row = self._log.row(self._index.seq)
            if row is None or row.hash != self._index.hash:
                self._index.remake()
        self._target = 0
        self.error = ""  # what last kept the index from following
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-index", daemon=True)

    @property
    def seq(self) -> int:
        """Everything up to this record is in the index."""
        return self._index.seq

    @property
    def root(self) -> tuple[int, bytes]:
        """How many records are indexed, and the Merkle root over them."""
        return self._index.root

    def catch_up(self, last: int) -> None:
        """Index the log up to `last` now, on the caller's thread. Before `start` only.

        If the index cannot be written (a full disk, say), it stays behind and `error` says why.
        """
        try:
            while self._index.seq < last and self._step(last):
                pass
        except sqlite3.Error as error:
            self.error = str(error)
        else:
            self.error = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def advance(self, last: int) -> None:
        """Say that everything up to `last` is committed; returns at once."""
        with self._changed:
            self._target = last
            self._changed.notify()

    def wait_for(self, seq: int, timeout_s: float) -> bool:
        """Wait until `seq` is in the index; say whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._index.seq >= seq, timeout_s)

    def close(self) -> None:
        """Stop after the transaction under way; what is missing is indexed at the next start."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._index.close()
        self._log.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._target > self._index.seq or self._closing.is_set()
                )
            self._gather()
            try:
                self.catch_up(self._target)
            except EventStoreError as error:
                if self._fatal is None:
                    raise
                self._fatal(error)
                return
            if self.error:
                self._closing.wait(RETRY_S)
            with self._changed:
                self._changed.notify_all()

    def _gather(self) -> None:
        """Wait for more, and longer while it comes in bulk: indexing costs the interpreter more
        than appending does, and it is the appends that somebody waits for."""
        for _ in range(MOST_GATHERS):
            before = self._target
            if self._closing.wait(GATHER_S) or self._target - before < BULK:
                return

    def _step(self, last: int) -> bool:
        first = self._index.seq + 1
        records = list(islice(self._log.stored(first, min(last, first + STEP - 1)), STEP))
        if records:
            self._index.add(records)
        return bool(records) and not self._closing.is_set()

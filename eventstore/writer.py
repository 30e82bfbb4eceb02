"""The writer: one thread that makes batches durable, many at a time (edge).

It owns the log file and the ack mark. It takes what waits (up to GROUP_RECORDS or GROUP_BYTES; no
timer, the sync that is under way is the window), and for that group

    commits one transaction (the sync of the WAL)  ->  writes the ack mark (its sync)  ->  tells

so there are two sequential syncs per group, however many proposals it holds. SQLite gives up the
interpreter's lock while it syncs, so the reactor's thread goes on.

What can go wrong:

- No room: nothing of the group is in the log. What waits behind it was encoded on its hash and can
  never follow, so it is dropped: a pending append is written only if it continues the durable head.
- An error of the disk, or damage: final. After a failed sync Linux may forget the dirty pages and
  the next sync succeeds (fsyncgate), so nothing more is written and `fatal` must end the process.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from eventstore.ack_mark import AckMark
from eventstore.appended import Placed
from eventstore.errors import CorruptLog, DiskFull, EventStoreError, StorageFailed
from eventstore.faults import Fault
from eventstore.log_file import PAGE_BYTES, LogFile, MetaValue, RowValues
from eventstore.metrics import StorageMetrics

GROUP_RECORDS = 4000  # inserted in 4 ms, which a slow disk needs for one of the two syncs
GROUP_BYTES = 1 << 20
WAL_PAGES = (4 << 20) // PAGE_BYTES  # checkpoint the WAL when it has grown to this
IDLE_S = 1.0  # after so long without an append the WAL is copied whole and truncated


@dataclass(frozen=True, slots=True)
class Append:
    """One batch, and the meta values that are set in the same transaction."""

    placed: Placed
    values: Mapping[str, MetaValue]


class Writer:
    """Appends go in by `submit`; `on_durable` and `on_refused` are called on the writer's thread.

    `on_durable(seq)`: everything up to `seq` is on the disk. `on_refused(seq, error)`: there was no
    room for record `seq`; it and all that was submitted after it is dropped. `fatal(error)`: the
    process must end; the writer has stopped.
    """

    def __init__(
        self,
        log: LogFile,
        mark: AckMark,
        *,
        on_durable: Callable[[int], None],
        on_refused: Callable[[int, DiskFull], None],
        fatal: Callable[[EventStoreError], None],
        metrics: StorageMetrics,
        fault: Fault | None = None,
        sync_delay_s: float = 0.0,
    ) -> None:
        self._log, self._mark = log, mark
        self._on_durable, self._on_refused, self._fatal = on_durable, on_refused, fatal
        self._metrics, self._fault, self._sync_delay_s = metrics, fault, sync_delay_s
        self._head = mark.mark
        self._waiting: deque[Append] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, append: Append) -> None:
        """Hand over a batch; returns at once."""
        with self._changed:
            self._waiting.append(append)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, then stop. The caller closes the log and the mark."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while (group := self._take()) is not None:
                if group:
                    self._write(group)
                if not group or self._log.wal_pages >= WAL_PAGES:
                    self._checkpoint(truncate=not group)
            self._checkpoint(truncate=True)
        except (StorageFailed, CorruptLog) as error:
            self._fatal(error)

    def _take(self) -> list[Append] | None:
        """Wait for appends and return a group of them, [] if it is quiet, None at the end."""
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(IDLE_S if self._log.wal_pages else None)
            if not self._waiting and self._closing:
                return None
            return self._group()

    def _group(self) -> list[Append]:
        group: list[Append] = []
        records, size = 0, 0
        while self._waiting:
            following = self._waiting[0]
            records += len(following.placed.records)
            size += following.placed.size
            if group and (records > GROUP_RECORDS or size > GROUP_BYTES or self._cut(following)):
                break
            group.append(self._waiting.popleft())
            if self._cut(following):
                break
        return group

    def _cut(self, append: Append) -> bool:
        placed = append.placed
        return self._fault is not None and self._fault.cuts(placed.first, placed.last)

    def _write(self, group: list[Append]) -> None:
        """Write what continues the durable head, drop what cannot any more."""
        fitting: list[Append] = []
        seq, last_hash = self._head.seq, self._head.hash
        for append in group:
            if append.placed.first == seq + 1 and append.placed.previous == last_hash:
                fitting.append(append)
                seq, last_hash = append.placed.last, append.placed.hash
        if not fitting:
            return
        try:
            self._commit(fitting)
        except DiskFull as error:
            self._metrics.disk_full = True
            self._on_refused(fitting[0].placed.first, error)
        else:
            self._metrics.disk_full = False
            self._on_durable(seq)

    def _commit(self, group: list[Append]) -> None:
        """Log, then mark; on return both are on the disk. Raises DiskFull: neither changed."""
        first, last = group[0].placed.first, group[-1].placed
        rows: list[RowValues] = []
        values: dict[str, MetaValue] = {}
        for append in group:
            rows.extend(append.placed.rows())
            values.update(append.values)
        if self._fault:
            self._fault.before_commit(first, last.last)
        begun = time.perf_counter()
        self._log.append(rows, values)
        self._emulate_sync()
        self._count(group, (time.perf_counter() - begun) * 1000)
        if self._fault:
            self._fault.after_commit(first, last.last)
        gen, term = last.epoch
        self._head = msgspec.structs.replace(
            self._head, seq=last.last, hash=last.hash, gen=gen, term=term
        )
        self._mark.write(self._head)
        self._emulate_sync()
        self._metrics.mark_syncs += 1
        if self._fault:
            self._fault.after_mark(first, last.last)

    def _emulate_sync(self) -> None:
        if self._sync_delay_s:
            time.sleep(self._sync_delay_s)

    def _count(self, group: list[Append], took_ms: float) -> None:
        metrics = self._metrics
        metrics.log_commits += 1
        metrics.records += sum(len(append.placed.records) for append in group)
        metrics.encoded_bytes += sum(append.placed.size for append in group)
        metrics.last_fsync_ms = took_ms
        metrics.worst_fsync_ms = max(metrics.worst_fsync_ms, took_ms)

    def _checkpoint(self, *, truncate: bool = False) -> None:
        """Shorten the WAL. A full disk is no error here: the WAL holds what it holds."""
        try:
            self._log.checkpoint(truncate=truncate)
            self._metrics.checkpoints += 1
        except DiskFull:
            self._metrics.disk_full = True

"""The one thread that makes a voter's state durable: log first, then the ack mark, then the word.

Persists come from the core by way of a queue and become durable in their order. The thread takes
what waits (up to GROUP_RECORDS or GROUP_BYTES; no timer, the sync that is under way is the window),
and for that group

    commits one transaction (the sync of the WAL)  ->  writes the ack mark (its sync)  ->  tells

so there are two sequential syncs per group, however many Persists it holds, and nothing that
depends on them is said before (R1). Epoch and vote are written if they are others than the file
holds; mostly they are not, and would cost each commit one more page. SQLite gives up the
interpreter's lock while it syncs, so the reactor's thread goes on.

What can go wrong:

- No room: nothing of the group is on the disk. It is dropped, with all that comes after it, until
  the core has heard and tries again (`Persist.retry`).
- An error of the disk, or damage: final. After a failed sync Linux may forget the dirty pages and
  the next sync succeeds (fsyncgate), so nothing more is written and `fatal` must end the process.

A segment (raft/segments.py) waits in the same queue and is one transaction, however large: it is in
the log whole or not at all. Its mark comes with the next Persist, before anything is said of it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from eventstore.errors import (
    CorruptLog,
    DecodeError,
    DiskFull,
    EventStoreError,
    StorageFailed,
)
from eventstore.faults import Fault
from eventstore.raft.effects import Persist
from eventstore.raft.entry import Entry
from eventstore.raft.state import HardState, Identity
from eventstore.storage.ack_mark import AckMark
from eventstore.storage.log_file import PAGE_BYTES, LogFile, MetaValue
from eventstore.storage.metrics import StorageMetrics
from eventstore.storage.rows import Change

GROUP_RECORDS = 4000
GROUP_BYTES = 1 << 20
WAL_PAGES = (4 << 20) // PAGE_BYTES  # checkpoint the WAL when it has grown to this
IDLE_S = 1.0  # after so long without news the WAL is copied whole and truncated


@dataclass(frozen=True, slots=True)
class Installation:
    """Entries that were fetched in bulk, to be appended behind all that was submitted before.

    `done(None)` is called on the writer's thread when they are durable; with an error if there was
    no room for them, or they were not to be had after all, and then the log is as it was.
    """

    entries: Iterable[Entry]
    done: Callable[[EventStoreError | None], None]


class Persister:
    """Persists go in by `submit`; the callbacks are called on this thread.

    `on_durable(ticket, took_ms)`: everything up to the ticket is on the disk, log and mark; the
    log's sync took so long. `on_no_room(error)`: what was submitted is dropped until a retry.
    `fatal(error)`: the process must end; the thread has stopped.
    """

    def __init__(
        self,
        log: LogFile,
        mark: AckMark,
        *,
        on_durable: Callable[[int, float], None],
        on_no_room: Callable[[DiskFull], None],
        fatal: Callable[[EventStoreError], None],
        metrics: StorageMetrics,
        fault: Fault | None = None,
        sync_delay_s: float = 0.0,
    ) -> None:
        self._log, self._mark = log, mark
        self._on_durable, self._on_no_room, self._fatal = on_durable, on_no_room, fatal
        self._metrics, self._fault, self._sync_delay_s = metrics, fault, sync_delay_s
        self._handed: SimpleQueue[Persist | Installation | None] = SimpleQueue()  # None: the end
        self._waiting: deque[Persist | Installation | None] = deque()  # taken from there
        self._dropping = False
        self._held = HardState(log.meta.epoch, Identity(log.meta.voted_for, log.meta.voted_inc))
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, persist: Persist) -> None:
        """Hand over what must become durable; returns at once."""
        self._handed.put(persist)

    def install(self, installation: Installation) -> None:
        """Hand over a segment; returns at once."""
        self._handed.put(installation)

    def close(self) -> None:
        """Write what waits, then stop. The caller closes the log and the mark."""
        self._handed.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while (group := self._take()) is not None:
                if isinstance(group, Installation):
                    self._install(group)
                elif group:
                    self._write(group)
                if not group or self._log.wal_pages >= WAL_PAGES:
                    self._checkpoint(truncate=not group)
            self._checkpoint(truncate=True)
        except (StorageFailed, CorruptLog) as error:
            self._fatal(error)

    def _take(self) -> list[Persist] | Installation | None:
        """Wait for what there is to write; return a group of Persists or a segment, [] if it is
        quiet, None at the end."""
        self._wait()
        if not self._waiting:
            return []
        first = self._waiting[0]
        if isinstance(first, Persist):
            return self._group()
        self._waiting.popleft()
        return first

    def _wait(self) -> None:
        """Take what was handed over; if there is nothing to do, wait for it, while it is quiet."""
        with suppress(Empty):
            if not self._waiting:
                idle_s = IDLE_S if self._log.wal_pages else None
                self._waiting.append(self._handed.get(timeout=idle_s))
            for _ in range(self._handed.qsize()):  # this thread alone takes from it
                self._waiting.append(self._handed.get_nowait())

    def _group(self) -> list[Persist]:
        group: list[Persist] = []
        records, size = 0, 0
        while self._waiting and isinstance(following := self._waiting[0], Persist):
            if self._dropping and not following.retry:
                self._waiting.popleft()
                continue
            self._dropping = False
            records += sum(len(entry.records) for entry in following.entries)
            size += sum(entry.size for entry in following.entries)
            if group and (records > GROUP_RECORDS or size > GROUP_BYTES or self._cut(following)):
                break
            self._waiting.popleft()
            group.append(following)
            if self._cut(following):
                break
        return group

    def _cut(self, persist: Persist) -> bool:
        """Say whether this Persist must be a transaction of its own, for a fault in it."""
        if self._fault is None or not persist.entries:
            return False
        return self._fault.cuts(persist.entries[0].first, persist.entries[-1].last)

    def _write(self, group: list[Persist]) -> None:
        try:
            took_ms = self._commit(group)
        except DiskFull as error:
            self._metrics.disk_full = self._dropping = True
            self._on_no_room(error)
        else:
            self._metrics.disk_full = False
            self._on_durable(group[-1].ticket, took_ms)

    def _commit(self, group: list[Persist]) -> float:
        """Log, then mark; on return both are on the disk. Raises DiskFull: neither changed."""
        last, entries = group[-1], _entries(group)
        span = (entries[0].first, entries[-1].last) if entries else None
        changes = [
            Change(each.truncate_from, [entry.run() for entry in each.entries]) for each in group
        ]
        if self._fault and span:
            self._fault.before_commit(*span)
        begun = time.perf_counter()
        self._log.carry_out(changes, _values(last.hard) if last.hard != self._held else None)
        self._held = last.hard
        self._emulate_sync()
        took_ms = (time.perf_counter() - begun) * 1000
        self._count(entries, took_ms)
        if self._fault and span:
            self._fault.after_commit(*span)
        self._mark.write(last.mark)
        self._emulate_sync()
        self._metrics.mark_syncs += 1
        if self._fault and span:
            self._fault.after_mark(*span)
        return took_ms

    def _install(self, installation: Installation) -> None:
        """Append a segment in one transaction."""
        changes = (Change(0, [entry.run()]) for entry in installation.entries)
        try:
            self._log.carry_out(changes)
        except (DiskFull, DecodeError) as error:
            installation.done(error)
        else:
            self._metrics.log_commits += 1
            installation.done(None)

    def _emulate_sync(self) -> None:
        if self._sync_delay_s:
            time.sleep(self._sync_delay_s)

    def _count(self, entries: list[Entry], took_ms: float) -> None:
        metrics = self._metrics
        metrics.synced(took_ms)
        metrics.records += sum(len(entry.records) for entry in entries)
        metrics.encoded_bytes += sum(entry.size for entry in entries)

    def _checkpoint(self, *, truncate: bool = False) -> None:
        """Shorten the WAL. A full disk is no error here: the WAL holds what it holds."""
        try:
            self._log.checkpoint(truncate=truncate)
            self._metrics.checkpoints += 1
        except DiskFull:
            self._metrics.disk_full = True


def _entries(group: list[Persist]) -> list[Entry]:
    return [entry for persist in group for entry in persist.entries]


def _values(hard: HardState) -> dict[str, MetaValue]:
    """Return epoch and vote as the log's file holds them."""
    (gen, term), (name, inc) = hard
    return {"gen": gen, "term": term, "voted_for": name, "voted_inc": inc}

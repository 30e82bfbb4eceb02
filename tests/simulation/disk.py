"""A voter's storage: log, epoch and vote in one transaction, then the mark; and what crashes leave.

A write has three moments: begun, log durable, mark durable. A crash in between leaves what the
last moment made durable, or by chance already the next, or the first transactions of a group. What
waited is gone. A disk that lies has said "durable" too early: a crash takes some of the last
transactions away, the mark stays. A flipped bit in the tail does the same: SQLite takes it for a
torn write and drops acknowledged transactions without a word. After an error of I/O the process
ends, and nobody knows what of the last group was written.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from eventstore.codec import encode_record
from eventstore.raft.effects import Persist
from eventstore.raft.entry import Entry, from_records
from eventstore.raft.membership import Config, config_in
from eventstore.raft.state import NOBODY, HardState
from eventstore.record import Epoch, Stored, chain_hash, genesis_hash
from eventstore.storage.ack_mark import Mark
from tests.simulation.kernel import Kernel


@dataclass(slots=True)
class DiskWeather:
    """How the disk does."""

    sync_ms: int = 4  # at most, of one sync
    stall: float = 0.0  # share of syncs that take up to `stall_ms`
    stall_ms: int = 900
    full: bool = False
    failing: bool = False  # the next sync is an error of I/O
    lies: bool = False
    flips: bool = False  # bits may flip: keep what the last transactions found


class Disk:
    """What a voter has written. Implements the core's `Storage`."""

    def __init__(self, kernel: Kernel, cluster_id: str, inc: bytes) -> None:
        self.weather = DiskWeather()
        self.entries_: list[Entry] = []
        self.hard = HardState(Epoch(0, 0), NOBODY)
        self.mark = Mark(0, genesis_hash(cluster_id), 0, 0, "", b"", inc)
        self.on_failure: Callable[[], None] = lambda: None  # must end the process
        self.snapshot = 0  # a fold was kept up to this record: it is committed
        self.tampered = False
        self._firsts: list[int] = []
        self._kernel = kernel
        self._waiting: list[Persist] = []
        self._group: list[Persist] = []  # under way
        self._log_done = False  # of the group under way
        self._life = 0
        self._needs_retry = False
        self._flipped = False
        self._before: list[
            tuple[list[Entry], HardState]
        ] = []  # recent states, for a disk that lies

    # -- Storage

    def entry_at(self, seq: int) -> Entry | None:
        """Return the batch that holds the record, None if there is none."""
        at = bisect_right(self._firsts, seq) - 1
        if at < 0 or seq > self.entries_[at].last:
            return None
        return self.entries_[at]

    def entries(self, first: int, max_bytes: int) -> Sequence[Entry]:
        """Return batches from the one that begins at `first` on."""
        at = bisect_right(self._firsts, first) - 1
        found: list[Entry] = []
        size = 0
        for entry in self.entries_[max(at, 0) :]:
            size += entry.size
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    @property
    def last(self) -> int:
        """Seq of the last durable record."""
        return self.entries_[-1].last if self.entries_ else 0

    @property
    def busy(self) -> bool:
        """Something is being written, or waits for that."""
        return bool(self._group)

    def configs(self) -> list[Config]:
        """Return the configurations in the log."""
        return [found for entry in self.entries_ if (found := config_in(entry))]

    # -- writing

    def submit(
        self, persist: Persist, done: Callable[[int, int], None], full: Callable[[], None]
    ) -> None:
        """Make `persist` durable, then call `done(ticket, took_ms)`; or `full()` without room."""
        if self._needs_retry and not persist.retry:
            return
        self._needs_retry = False
        self._waiting.append(persist)
        if not self._group:
            self._begin(done, full)

    def _begin(self, done: Callable[[int, int], None], full: Callable[[], None]) -> None:
        self._group, self._waiting = self._waiting, []
        self._log_done = False
        took = self._sync_ms()
        self._kernel.after(took, self._log_synced, self._life, took, done, full)

    def _sync_ms(self) -> int:
        rng = self._kernel.rng
        if self.weather.stall and rng.random() < self.weather.stall:
            return int(rng.random() * self.weather.stall_ms)
        return int(rng.random() * self.weather.sync_ms)

    def _log_synced(
        self, life: int, took: int, done: Callable[[int, int], None], full: Callable[[], None]
    ) -> None:
        if life != self._life:
            return
        if self.weather.failing:
            self.on_failure()
            return
        if self.weather.full:
            self._group, self._waiting, self._needs_retry = [], [], True
            full()
            return
        self._write_log()
        self._kernel.after(self._sync_ms(), self._mark_synced, life, took, done, full)

    def _mark_synced(
        self, life: int, took: int, done: Callable[[int, int], None], full: Callable[[], None]
    ) -> None:
        if life != self._life:
            return
        ticket = self._group[-1].ticket
        self.mark = self._group[-1].mark
        self._group = []
        if self._waiting:
            self._begin(done, full)
        done(ticket, took)

    def _write_log(self) -> None:
        if self.weather.lies or self.weather.flips:
            self._before = [*self._before[-2:], (list(self.entries_), self.hard)]
        for persist in self._group:
            if persist.truncate_from:
                self._cut(persist.truncate_from)
            for entry in persist.entries:
                assert entry.first == self.last + 1, "the runner is asked for a dense log"
                self.entries_.append(entry)
                self._firsts.append(entry.first)
            self.hard = persist.hard
        self._log_done = True

    def _cut(self, first: int) -> None:
        while self.entries_ and self.entries_[-1].first >= first:
            self.entries_.pop()
            self._firsts.pop()

    def begin_with(self, entries: Sequence[Entry], hard: HardState, mark: Mark) -> None:
        """Hold these entries from the start."""
        self.entries_, self.hard, self.mark = list(entries), hard, mark
        self._firsts = [entry.first for entry in entries]
        self.snapshot = self.last

    def tamper(self) -> bool:
        """Exchange the last batch for another of the same seqs and epoch, well chained, as from a
        wrong copy; say whether there was one to exchange. The voter must be down."""
        if not self.entries_ or self.entries_[-1].last <= self.snapshot:
            return False
        entry = self.entries_.pop()
        records, previous = [], entry.previous
        for stored in entry.records:
            record = msgspec.structs.replace(stored.record, event_id=b"another id here.")
            encoded = encode_record(record)
            previous = chain_hash(previous, encoded)
            records.append(Stored(record, encoded, previous))
        self.entries_.append(from_records(records, entry.previous))
        if self.mark.seq == entry.last:
            self.mark = msgspec.structs.replace(self.mark, hash=previous)
        self.tampered = True
        return True

    def flip(self) -> None:
        """Flip a bit in the tail; it shows when the file is opened again."""
        self._flipped = True

    def take_over(self, entry: Entry, hard: HardState, mark: Mark) -> None:
        """Begin a generation with this entry, as an offline tool does. The voter must be down."""
        self.entries_.append(entry)
        self._firsts.append(entry.first)
        self.hard, self.mark = hard, mark

    def install(self, entries: Sequence[Entry]) -> None:
        """Append what came by a segment, as a runner does behind every write."""
        for entry in entries:
            self.entries_.append(entry)
            self._firsts.append(entry.first)

    # -- the end of a life

    def crash(self, rng: random.Random) -> None:
        """Lose what is not durable; what is under way, by chance."""
        self._life += 1
        if self._group and not self._log_done and not self.weather.full and rng.random() < 0.5:
            del self._group[1 + int(rng.random() * len(self._group)) :]  # whole transactions
            self._write_log()
        if self._group and self._log_done and rng.random() < 0.5:
            self.mark = self._group[-1].mark
        self._group, self._waiting, self._needs_retry = [], [], False
        if self._before and (self._flipped or (self.weather.lies and rng.random() < 0.3)):
            entries, self.hard = self._before[int(rng.random() * len(self._before))]
            folded = {e.last: e.hash for e in self.entries_ if e.last <= self.snapshot}
            self.entries_ = list(entries)
            self._firsts = [entry.first for entry in entries]
            # A fold of other records than stand here now is of no use (its hash tells).
            same = [e.last for e in entries if folded.get(e.last) == e.hash]
            self.snapshot = same[-1] if same else 0
        self._before, self._flipped = [], False

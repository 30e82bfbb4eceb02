"""The log as one voter sees it: its recent end in memory, the rest by a port to the disk (pure).

    1 ............ committed .......... durable .......... handed .......... last
                                                          (to the runner)

`committed` may run ahead of `durable` on a voter with a slow disk. Nothing below `committed` is
ever truncated (R6). What is not yet durable is in memory for certain; what is durable and committed
is let go when memory holds more than `kept_bytes`, and read back through `Storage`.

Persists are numbered (tickets) and become durable in order. A truncation in memory caps what the
tickets before it will have made durable, so a late report never counts rows that are no longer in
this log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import NoReturn, Protocol

from eventstore.errors import CorruptLog
from eventstore.raft.entry import Entry, Position
from eventstore.record import Epoch


class Storage(Protocol):
    """What is on the disk, for reading. Answers only about rows that are durable."""

    def entry_at(self, seq: int) -> Entry | None:
        """Return the batch that holds record `seq`, None if there is none."""

    def entries(self, first: int, max_bytes: int) -> Sequence[Entry]:
        """Return batches in order, from the one that begins at `first` on: at least one if there
        is one, and further ones while all together have at most `max_bytes`."""


class EntryLog:
    """The entries of this voter's log, and how far each stage has got."""

    def __init__(
        self, storage: Storage, *, genesis: bytes, last: int, committed: int, kept_bytes: int
    ) -> None:
        """`last` is the last durable record, `committed` one known to be committed, 0 if none."""
        self._storage = storage
        self._genesis = Position(0, Epoch(0, 0), genesis)
        self._kept_bytes = kept_bytes
        self._tail: list[Entry] = []
        self._firsts: list[int] = []
        self._bytes = 0
        self._pending: deque[tuple[int, int]] = deque()  # (ticket, durable up to, once it is)
        self._truncate_from = 0  # not yet handed
        self.last = self._genesis
        if last:
            self.last = self._stored_end(last)
        self.committed = committed
        self.durable = self.handed = last

    def position(self, seq: int) -> Position | None:
        """Return where record `seq` stands, None if this log does not reach it."""
        if seq == self._genesis.seq:
            return self._genesis
        entry = self.entry_at(seq)
        if entry is None:
            return None
        return Position(seq, entry.epoch, entry.records[seq - entry.first].hash)

    def entry_at(self, seq: int) -> Entry | None:
        """Return the batch that holds record `seq`, None if this log does not reach it."""
        if self._firsts and seq >= self._firsts[0]:
            entry = self._tail[bisect_right(self._firsts, seq) - 1]
            return entry if seq <= entry.last else None
        return self._storage.entry_at(seq) if 0 < seq <= self.last.seq else None

    def entries(self, first: int, max_bytes: int) -> list[Entry]:
        """Return whole batches from the one that begins at `first` on, at least one if there is."""
        if first > self.last.seq:
            return []
        if not self._firsts or first < self._firsts[0]:
            found = list(self._storage.entries(first, max_bytes))
            if not found or found[0].first != first:
                _missing(first)
            return found
        at = bisect_right(self._firsts, first) - 1
        assert self._firsts[at] == first, "a batch is never sent or delivered in parts"
        chosen, size = [self._tail[at]], self._tail[at].size
        for entry in self._tail[at + 1 :]:
            size += entry.size
            if size > max_bytes:
                break
            chosen.append(entry)
        return chosen

    def agreement(self, seq: int, epoch: Epoch) -> Position:
        """Return the last batch's end up to `seq` that has an epoch up to `epoch`.

        Epochs never fall along a log, so this is a binary search; it touches the disk rarely.
        """
        low, high = 0, min(seq, self.last.seq)
        while low < high:
            middle = (low + high + 1) // 2
            entry = self.entry_at(middle) or _missing(middle)
            if entry.epoch <= epoch and entry.last <= min(seq, self.last.seq):
                low = entry.last
            else:
                high = entry.first - 1
        return self.position(low) or _missing(low)

    def append(self, entry: Entry) -> None:
        """Add an entry at the end. It must be chained to the last one."""
        assert entry.first == self.last.seq + 1, (entry.first, self.last.seq)
        assert entry.previous == self.last.hash, "an entry is chained to the one before"
        assert entry.epoch >= self.last.epoch, "epochs never fall along a log"
        self._tail.append(entry)
        self._firsts.append(entry.first)
        self._bytes += entry.size
        self.last = entry.end

    def truncate(self, first: int) -> None:
        """Cut the log from the batch that begins at `first` on. Raises CorruptLog if it is
        committed: then two histories were committed, and going on would destroy one (R6)."""
        if first <= self.committed:
            told = f"record {first} would be cut off, but {self.committed} are committed"
            raise CorruptLog(told, seq=first, hint="keep this voter's files; do not start it")
        self._forget(first)
        if first <= self.handed:
            self._truncate_from = min(self._truncate_from or first, first)
            self.handed = first - 1

    def drop_unwritten(self) -> int:
        """Forget what could not be written for want of room; return from where on, 0 if nothing.

        What the disk was asked to cut off is asked for again: rows may still stand there.
        """
        first = self.durable + 1
        dropped = first if first <= self.last.seq else 0
        self._forget(first)
        self.handed, self._truncate_from = self.durable, first
        self._pending.clear()
        return dropped

    def hand_over(self, ticket: int) -> tuple[int, tuple[Entry, ...]]:
        """Return from where the disk must cut off (0: nowhere) and what it must add."""
        truncate_from, self._truncate_from = self._truncate_from, 0
        at = bisect_right(self._firsts, self.handed)
        entries = tuple(self._tail[at:])
        self.handed = self.last.seq
        self._pending.append((ticket, self.handed))
        return truncate_from, entries

    @property
    def unwritten(self) -> bool:
        """There is something that the disk was not yet told."""
        return self.handed < self.last.seq or self._truncate_from > 0

    def ticket_of(self, seq: int) -> int | None:
        """Return the ticket with which `seq` becomes durable: 0 if it is, None if not handed."""
        if seq <= self.durable:
            return 0
        return next((ticket for ticket, upto in self._pending if upto >= seq), None)

    def on_durable(self, ticket: int) -> None:
        """Note that the disk has carried out everything up to `ticket`."""
        while self._pending and self._pending[0][0] <= ticket:
            self.durable = max(self.durable, self._pending.popleft()[1])
        self._trim()

    def install(self, last: int) -> None:
        """Take up what was written past this log, by a segment: committed records up to `last`."""
        assert self.handed == self.last.seq == self.durable, "nothing else is under way"
        self.last = self._stored_end(last)
        self._tail, self._firsts, self._bytes = [], [], 0
        self.durable = self.handed = last
        self.committed = max(self.committed, last)

    def _stored_end(self, seq: int) -> Position:
        entry = self._storage.entry_at(seq)
        return entry.end if entry and entry.last == seq else _missing(seq)

    def _forget(self, first: int) -> None:
        """Take everything from `first` on out of memory, and out of what is durable or will be."""
        while self._tail and self._tail[-1].first >= first:
            self._bytes -= self._tail.pop().size
            self._firsts.pop()
        if first <= self.last.seq:
            self.last = self.position(first - 1) or _missing(first - 1)
        self.durable = min(self.durable, first - 1)
        self._pending = deque((t, min(upto, first - 1)) for t, upto in self._pending)

    def _trim(self) -> None:
        safe = min(self.durable, self.committed)
        cut = 0
        while self._bytes > self._kept_bytes and self._tail[cut].last <= safe:
            self._bytes -= self._tail[cut].size
            cut += 1
            if cut == len(self._tail):
                break
        if cut:
            del self._tail[:cut]
            del self._firsts[:cut]


def _missing(seq: int) -> NoReturn:
    raise CorruptLog(f"record {seq} is missing from the log's file", seq=seq)

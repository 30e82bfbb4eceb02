"""Idempotency keys: a request that comes again finds what it did the first time.

A key belongs to its actor, so that nobody can take the name of another's request away. The newest
keys are kept in memory, at least until the index holds them; older ones are looked up there. A key
whose record is older than KEPT_MS (by record time) is answered `key-expired`: whoever retries for a
week must look before doing it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from eventstore.record import Stored
from eventstore.storage.index_reader import KeyedRecord

KEPT_MS = 7 * 24 * 3600 * 1000
RECENT = 10_000  # keys kept in memory even when the index has them


class Known(NamedTuple):
    """A key that was used: the seq of the record that bears it, and when."""

    seq: int
    time_ms: int


class IdempotencyKeys:
    """Which keys were used. `look_up` asks the index; it may know nothing of the newest records."""

    def __init__(self, look_up: Callable[[str, str], KeyedRecord | None]) -> None:
        self._look_up = look_up
        self._recent: dict[tuple[str, str], Known] = {}

    def find(self, actor: str, key: str) -> Known | None:
        """Return where this actor's key was used first, None if it was not."""
        known = self._recent.get((actor, key))
        if known is None and (found := self._look_up(actor, key)):
            known = Known(found.seq, found.time_ms)
        return known

    def add(self, stored: Stored) -> None:
        """Note the key of an appended record, if it has one."""
        record = stored.record
        if record.key is not None:
            self._recent.setdefault((record.actor, record.key), Known(record.seq, record.unix_ms))

    def take_back(self, stored: Stored) -> None:
        """Forget the key of a record that was not appended after all."""
        record = stored.record
        if record.key is not None:
            known = self._recent.get((record.actor, record.key))
            if known and known.seq == record.seq:
                del self._recent[record.actor, record.key]

    def trim(self, indexed: int) -> None:
        """Forget the oldest keys beyond RECENT that the index has (it is at seq `indexed`)."""
        while len(self._recent) > RECENT:
            oldest = next(iter(self._recent))
            if self._recent[oldest].seq > indexed:
                return
            del self._recent[oldest]

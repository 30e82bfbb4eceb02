"""Records of one stream, or of some kinds, found by the index and behind it in the log (edge).

The index follows the log at its own pace on a thread of its own; a reader must not miss what it has
not reached yet. So the index answers for the records up to its own seq, and what was committed
after that, few records as a rule, is looked through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from eventstore.record import Record, Stored
from eventstore.replica import Replica

_AT_ONCE = 256


class StreamReader(Protocol):
    """Finds the records of one stream."""

    def read_stream(self, stream: str, first: int, limit: int) -> Sequence[Stored]:
        """Return at most `limit` committed records of `stream`, from version `first` on."""


class Index(Protocol):
    """What is used of `index_reader.IndexReader`."""

    @property
    def seq(self) -> int:
        """The last record that the index knows."""

    def seqs(self, where: str, parameters: Sequence[str | int]) -> Iterable[int]:
        """Return the seqs of the records for which the condition holds, in order."""


class IndexedStreams:
    """A StreamReader over a replica and its index. On the reactor's thread."""

    def __init__(self, replica: Replica, index: Index) -> None:
        self._replica = replica
        self._index = index

    def read_stream(self, stream: str, first: int, limit: int) -> Sequence[Stored]:
        """Return at most `limit` committed records of `stream`, from version `first` on."""
        last = first + limit - 1
        found = self._find(
            "stream = ? AND version BETWEEN ? AND ?",
            (stream, first, last),
            lambda record: record.stream == stream and first <= record.version <= last,
        )
        return list(islice(found, limit))

    def of_kinds(self, stream: str, kinds: Sequence[str]) -> Iterator[Stored]:
        """Yield the committed records of `stream` of one of these kinds."""
        marks = ", ".join("?" * len(kinds))
        return self._find(
            f"stream = ? AND kind IN ({marks})",
            (stream, *kinds),
            lambda record: record.stream == stream and record.kind in kinds,
        )

    def _find(
        self, where: str, parameters: Sequence[str | int], holds: Callable[[Record], bool]
    ) -> Iterator[Stored]:
        indexed, head = self._index.seq, self._replica.committed  # in this order: see above
        for seq in self._index.seqs(where, parameters):
            if seq <= min(indexed, head):
                yield from self._replica.read(seq, seq)
        for start in range(indexed + 1, head + 1, _AT_ONCE):
            for stored in self._replica.read(start, min(start + _AT_ONCE - 1, head)):
                if holds(stored.record):
                    yield stored

"""What has been appended, committed or not: where the next record goes, and whether it may (pure).

Proposals are checked against this state and not against the committed one, so that they can be
pipelined: the second of two appends to a stream expects the version that the first one makes. If an
append then fails for want of room, what was appended from there on is taken back, last first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat

from eventstore.clock import HybridClock
from eventstore.codec import MAX_NAME_BYTES, encode_event, encode_record
from eventstore.log_file import RowValues
from eventstore.record import (
    ANY_VERSION,
    FORMAT,
    MAX_BATCH_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    Draft,
    Epoch,
    Record,
    Stored,
    chain_hash,
)
from eventstore.replica import Refused

_ID_BYTES = 16
_ACTORS = 10_000  # names of actors to remember


@dataclass(frozen=True, slots=True)
class Placed:
    """A batch that has its place: encoded, chained, not yet on any disk."""

    records: tuple[Stored, ...]
    previous: bytes  # hash of the record before the first
    epoch: Epoch
    size: int  # bytes of its encoded records
    undo: Mapping[str, int]  # the versions that its streams were at

    @property
    def first(self) -> int:
        """Seq of its first record."""
        return self.records[0].record.seq

    @property
    def last(self) -> int:
        """Seq of its last record."""
        return self.records[-1].record.seq

    @property
    def hash(self) -> bytes:
        """Hash of its last record."""
        return self.records[-1].hash

    def rows(self) -> Iterable[RowValues]:
        """Return the records as the log's file holds them."""
        _, encoded, hashes = zip(*self.records, strict=True)
        gen, term = self.epoch
        seqs = range(self.first, self.last + 1)
        return zip(seqs, repeat(gen), repeat(term), hashes, encoded)


class Appended:
    """The end of the log as its leader sees it."""

    def __init__(
        self,
        *,
        seq: int,
        last_hash: bytes,
        versions: dict[str, int],
        clock: HybridClock,
        origin: str,
        draw_bytes: Callable[[int], bytes],
    ) -> None:
        """`origin` names the voter that encodes; `draw_bytes` gives so many random bytes."""
        self.seq = seq
        self.hash = last_hash
        self._versions = versions
        self._clock = clock
        self._origin = origin
        self._draw_bytes = draw_bytes
        self._actors: set[str] = set()  # whose names were looked at

    def version(self, stream: str) -> int:
        """Return where the stream stands, 0 if it does not exist."""
        return self._versions.get(stream, 0)

    def clash(self, batch: Batch) -> Refused | None:
        """Return the refusal if a stream is not at the version that the batch expects."""
        for stream, expected in batch.expected.items():
            actual = self.version(stream)
            if expected not in (ANY_VERSION, actual):
                return Refused(
                    "clash",
                    f"{stream} is at version {actual}, not {expected}",
                    hint="read what was appended since, decide again",
                    stream=stream,
                    expected=expected,
                    actual=actual,
                )
        return None

    def place(self, batch: Batch, epoch: Epoch, now_ms: int) -> Placed | Refused:
        """Encode the batch at the end of the log and move the end behind it.

        Refused, with nothing changed, if it is too large. `now_ms`: the wall clock.
        """
        for draft in batch.drafts:
            self._check_names(draft)
        versions = dict[str, int]()
        records: list[Stored] = []
        last_hash, (gen, term), count = self.hash, epoch, len(batch.drafts)
        ids = self._draw_bytes(_ID_BYTES * count)
        # By position, one after the other: this loop is most of what an append costs.
        for index, draft in enumerate(batch.drafts):
            stream, event = draft.stream, draft.event
            version = versions.get(stream) or self._versions.get(stream, 0)
            versions[stream] = version + 1
            record = Record(
                FORMAT,
                self.seq + 1 + index,
                gen,
                term,
                self._clock.tick(now_ms),
                ids[_ID_BYTES * index : _ID_BYTES * (index + 1)],
                event.KIND,
                event.SCHEMA,
                stream,
                version + 1,
                draft.actor,
                self._origin,
                draft.job,
                draft.cause,
                draft.key,
                encode_event(event),
                index,
                count,
            )
            encoded = encode_record(record)
            last_hash = chain_hash(last_hash, encoded)
            records.append(Stored(record, encoded, last_hash))
        sizes = [len(stored.encoded) for stored in records]
        if refused := _too_large(sizes):
            return refused
        undo = {stream: self.version(stream) for stream in versions}
        placed = Placed(tuple(records), self.hash, epoch, sum(sizes), undo)
        self._versions.update(versions)
        self.seq, self.hash = self.seq + count, last_hash
        return placed

    def take_back(self, placed: Placed) -> None:
        """Undo the last `place`."""
        assert placed.last == self.seq, "what was placed last is taken back first"
        for stream, version in placed.undo.items():
            if version:
                self._versions[stream] = version
            else:
                del self._versions[stream]
        self.seq, self.hash = placed.first - 1, placed.previous

    def _check_names(self, draft: Draft) -> None:
        """Raise ValueError for a draft that no caller may make: its names would break a frame.

        A topic is the stream's name ended by NUL, so a stream has none. Names that are in the log
        or were used before are not looked at again.
        """
        if draft.stream not in self._versions:
            _check_name(draft.stream)
            if not draft.stream:
                raise ValueError("a draft needs a stream")
        if draft.actor not in self._actors:
            _check_name(draft.actor)
            if len(self._actors) < _ACTORS:
                self._actors.add(draft.actor)
        if draft.key is not None:
            _check_name(draft.key)


def _check_name(name: str) -> None:
    if "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{name!r}: a name has at most {MAX_NAME_BYTES} bytes and no NUL")


def _too_large(sizes: list[int]) -> Refused | None:
    largest, total = max(sizes), sum(sizes)
    if largest > MAX_RECORD_BYTES:
        told, limit = f"a record of {largest} bytes", MAX_RECORD_BYTES
    elif total > MAX_BATCH_BYTES:
        told, limit = f"a batch of {total} bytes", MAX_BATCH_BYTES
    else:
        return None
    hint = f"the limit is {limit} bytes; keep the large part elsewhere and record its digest"
    return Refused("too-large", told, hint=hint)

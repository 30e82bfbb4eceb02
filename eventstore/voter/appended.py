"""What has been appended, committed or not: where the next record goes, and whether it may (pure).

Proposals are checked against this state and not against the committed one, so that they can be
pipelined: the second of two appends to a stream expects the version that the first one makes. If an
append then fails for want of room, what was appended from there on is taken back, last first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from eventstore.clock import HybridClock
from eventstore.codec import MAX_NAME_BYTES, encode_event, encode_record
from eventstore.events import STREAM
from eventstore.raft.entry import Entry
from eventstore.record import (
    ANY_VERSION,
    FORMAT,
    MAX_BATCH_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    Epoch,
    Record,
    Stored,
    chain_hashes,
)
from eventstore.replica import Refused

_ID_BYTES = 16
_ACTORS = 10_000  # names of actors to remember


class Placed(NamedTuple):
    """A batch that has its place: encoded, chained, not yet on any disk."""

    entry: Entry
    undo: Mapping[str, int]  # the versions that its streams were at
    keyed: bool  # a request's idempotency key is on it


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
        streams = {draft.stream for draft in batch.drafts}
        keys = {draft.key for draft in batch.drafts} - {None}
        self._check_names(batch, streams, keys)
        undo = {stream: self.version(stream) for stream in streams}
        versions = dict(undo)
        records = self._numbered(batch, epoch, now_ms, versions)
        encodings = list(map(encode_record, records))
        sizes = list(map(len, encodings))
        if refused := _too_large(sizes):
            return refused
        hashes = chain_hashes(self.hash, encodings)
        stored = tuple(map(Stored, records, encodings, hashes))
        last = self.seq + len(stored)
        own = STREAM in streams
        entry = Entry(stored, self.hash, epoch, self.seq + 1, last, sum(sizes), own)
        self._versions.update(versions)
        self.seq, self.hash = last, hashes[-1]
        return Placed(entry, undo, bool(keys))

    def take_back(self, placed: Placed) -> None:
        """Undo the last `place`."""
        entry = placed.entry
        assert entry.last == self.seq, "what was placed last is taken back first"
        for stream, version in placed.undo.items():
            if version:
                self._versions[stream] = version
            else:
                del self._versions[stream]
        self.seq, self.hash = entry.first - 1, entry.previous

    def _numbered(
        self, batch: Batch, epoch: Epoch, now_ms: int, versions: dict[str, int]
    ) -> list[Record]:
        """Return the batch as the records that follow, and move `versions` of its streams on.

        Beside hashing this loop is most of what an append costs, so all that can be had for the
        whole batch at once is, and fields are given by position, which is half the time.
        """
        (gen, term), origin, count = epoch, self._origin, len(batch.drafts)
        ids = self._draw_bytes(_ID_BYTES * count)
        records: list[Record] = []
        places = zip(batch.drafts, self._clock.ticks(now_ms, count), strict=True)
        for index, (draft, time) in enumerate(places):
            stream, event = draft.stream, draft.event
            version = versions[stream] = versions[stream] + 1
            records.append(
                Record(
                    FORMAT,
                    self.seq + 1 + index,
                    gen,
                    term,
                    time,
                    ids[_ID_BYTES * index : _ID_BYTES * (index + 1)],
                    event.KIND,
                    event.SCHEMA,
                    stream,
                    version,
                    draft.actor,
                    origin,
                    draft.job,
                    draft.cause,
                    draft.key,
                    encode_event(event),
                    index,
                    count,
                )
            )
        return records

    def _check_names(self, batch: Batch, streams: Set[str], keys: Set[str | None]) -> None:
        """Raise ValueError for drafts that no caller may make: their names would break a frame.

        A topic is the stream's name ended by NUL, so a stream has none. Names that are in the log
        or were used before are not looked at again.
        """
        for stream in streams:
            if stream not in self._versions:
                _check_name(stream)
                if not stream:
                    raise ValueError("a draft needs a stream")
        for actor in {draft.actor for draft in batch.drafts} - self._actors:
            _check_name(actor)
            if len(self._actors) < _ACTORS:
                self._actors.add(actor)
        for key in keys:
            if key is not None:
                _check_name(key)


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

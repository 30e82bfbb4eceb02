"""What has been appended, committed or not: where the next record goes, and whether it may (pure).

Proposals are checked against this state and not against the committed one, so that they can be
pipelined: the second of two appends to a stream expects the version that the first one makes. If an
append then fails for want of room, what was appended from there on is taken back, last first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eventstore.clock import HybridClock
from eventstore.codec import MAX_NAME_BYTES, encode_event, encode_record
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


@dataclass(frozen=True, slots=True)
class Placed:
    """A batch that has its place: encoded, chained, not yet on any disk."""

    records: tuple[Stored, ...]
    previous: bytes  # hash of the record before the first
    undo: Mapping[str, int]  # the versions that its streams were at

    @property
    def first(self) -> int:
        """Seq of its first record."""
        return self.records[0].record.seq

    @property
    def last(self) -> int:
        """Seq of its last record."""
        return self.records[-1].record.seq


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
        draw_id: Callable[[], bytes],
    ) -> None:
        """`origin` names the voter that encodes; `draw_id` gives 16 random bytes."""
        self.seq = seq
        self.hash = last_hash
        self._versions = versions
        self._clock = clock
        self._origin = origin
        self._draw_id = draw_id

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
        previous, versions = self.hash, dict[str, int]()
        records: list[Stored] = []
        last_hash = previous
        for index, draft in enumerate(batch.drafts):
            check_names(draft)
            versions[draft.stream] = versions.get(draft.stream, self.version(draft.stream)) + 1
            record = Record(
                v=FORMAT,
                seq=self.seq + 1 + index,
                gen=epoch.gen,
                term=epoch.term,
                time=self._clock.tick(now_ms),
                event_id=self._draw_id(),
                kind=draft.event.KIND,
                schema=draft.event.SCHEMA,
                stream=draft.stream,
                version=versions[draft.stream],
                actor=draft.actor,
                origin=self._origin,
                job=draft.job,
                cause=draft.cause,
                key=draft.key,
                data=encode_event(draft.event),
                index=index,
                count=len(batch.drafts),
            )
            encoded = encode_record(record)
            last_hash = chain_hash(last_hash, encoded)
            records.append(Stored(record, encoded, last_hash))
        if refused := _too_large(records):
            return refused
        undo = {stream: self.version(stream) for stream in versions}
        self._versions.update(versions)
        self.seq, self.hash = records[-1].record.seq, last_hash
        return Placed(tuple(records), previous, undo)

    def take_back(self, placed: Placed) -> None:
        """Undo the last `place`."""
        assert placed.last == self.seq, "what was placed last is taken back first"
        for stream, version in placed.undo.items():
            if version:
                self._versions[stream] = version
            else:
                del self._versions[stream]
        self.seq, self.hash = placed.first - 1, placed.previous


def check_names(draft: Draft) -> None:
    """Raise ValueError for a draft that no caller may make: its names would break a frame.

    A topic is the stream's name ended by NUL, so a stream has none.
    """
    for name in (draft.stream, draft.actor, draft.key or ""):
        if "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"{name!r}: a name has at most {MAX_NAME_BYTES} bytes and no NUL")
    if not draft.stream:
        raise ValueError("a draft needs a stream")


def _too_large(records: list[Stored]) -> Refused | None:
    largest = max(len(stored.encoded) for stored in records)
    total = sum(len(stored.encoded) for stored in records)
    if largest > MAX_RECORD_BYTES:
        told, limit = f"a record of {largest} bytes", MAX_RECORD_BYTES
    elif total > MAX_BATCH_BYTES:
        told, limit = f"a batch of {total} bytes", MAX_BATCH_BYTES
    else:
        return None
    hint = f"the limit is {limit} bytes; keep the large part elsewhere and record its digest"
    return Refused("too-large", told, hint=hint)

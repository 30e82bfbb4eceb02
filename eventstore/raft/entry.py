"""An entry: one batch at its place, as the leader made it (pure).

The entry is the unit of append, commit, delivery and truncation; no voter does any of these to a
part of one. On the wire it is the bytes of its records. Their hashes are not sent: the receiver
computes them from the hash that it already holds, so an entry that it accepts is chained by its own
arithmetic to its own log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from eventstore.codec import decode_record
from eventstore.errors import DecodeError
from eventstore.events import STREAM
from eventstore.record import MAX_BATCH_BYTES, Epoch, Stored, chain_hash
from eventstore.storage.log_file import RowValues
from eventstore.storage.rows import Run

Packed = tuple[bytes, ...]  # an entry on the wire: the exact bytes of its records


class Position(NamedTuple):
    """A record's place: enough to say whether two logs agree up to it."""

    seq: int
    epoch: Epoch
    hash: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One batch, encoded and chained. A struct, as one is made for each append on each voter."""

    records: tuple[Stored, ...]
    previous: bytes  # hash of the record before the first
    epoch: Epoch
    first: int
    last: int
    size: int  # bytes of its encoded records
    own: bool  # a record of it is in the log's own stream: only such say anything to the log itself

    @property
    def hash(self) -> bytes:
        """Hash of its last record."""
        return self.records[-1].hash

    @property
    def end(self) -> Position:
        """Where its last record stands."""
        return Position(self.last, self.epoch, self.records[-1].hash)

    def packed(self) -> Packed:
        """Return the entry as it travels."""
        return tuple([stored.encoded for stored in self.records])

    def run(self) -> Run:
        """Return the records as the log's file holds them."""
        hashes = [stored.hash for stored in self.records]
        return Run(self.first, self.epoch, hashes, self.packed())

    def rows(self) -> Iterator[RowValues]:
        """Yield them one by one."""
        gen, term = self.epoch
        return ((s.record.seq, gen, term, s.hash, s.encoded) for s in self.records)


def from_records(records: Sequence[Stored], previous: bytes) -> Entry:
    """Return the entry of one whole batch; `previous` is the hash of the record before it."""
    first, last = records[0].record, records[-1].record
    size = sum(len(stored.encoded) for stored in records)
    own = any(stored.record.stream == STREAM for stored in records)
    return Entry(tuple(records), previous, first.epoch, first.seq, last.seq, size, own)


def unpack(packed: Packed, before: Position) -> Entry:
    """Return the entry in `packed`, chained behind `before`.

    Raises DecodeError unless it is exactly one whole batch of one epoch, not below that of
    `before`, with the seqs that follow.
    """
    if not packed or sum(map(len, packed)) > MAX_BATCH_BYTES:
        raise DecodeError(f"an entry of {len(packed)} records, {sum(map(len, packed))} bytes")
    records: list[Stored] = []
    last_hash = before.hash
    for index, encoded in enumerate(packed):
        record = decode_record(encoded)
        if record.seq != before.seq + 1 + index:
            raise DecodeError(f"record {record.seq} where {before.seq + 1 + index} follows")
        if (record.index, record.count) != (index, len(packed)):
            raise DecodeError(f"record {record.seq} is not {index} of a batch of {len(packed)}")
        if record.epoch < before.epoch or (records and record.epoch != records[0].record.epoch):
            raise DecodeError(f"record {record.seq} has epoch {tuple(record.epoch)}")
        last_hash = chain_hash(last_hash, encoded)
        records.append(Stored(record, encoded, last_hash))
    return from_records(records, before.hash)

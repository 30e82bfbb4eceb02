"""A range of the log as one stream of bytes: the content of a segment (edge).

    for each record, in order:   length of its bytes (4 bytes, big endian) | its bytes

Nothing else is in it, so the stream depends on the records alone: every voter that holds them makes
the same one, and that of a shorter range is the beginning of that of a longer one. What a follower
has fetched of it can therefore be gone on with under another leader. There is no file either: the
records that are committed never change, so the stream is made from the log whenever a piece of it
is asked for. What is kept in memory is where every MARK_BYTES a record begins.
"""

from __future__ import annotations

import hashlib
import struct
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventstore.codec import decode_record
from eventstore.errors import CorruptLog, DecodeError
from eventstore.record import MAX_BATCH_BYTES
from eventstore.storage.log_reader import LogReader

LENGTH = struct.Struct(">I")
MARK_BYTES = 256 << 10
MAX_BYTES = 256 << 20  # of one segment; it ends with the batch that passes this
_ROWS = 20  # per query: with the largest records there are, 10 MB
_REST_EVERY, _REST_S = 64 << 10, 0.001  # measuring leaves the processor to others between pieces


class Measured(NamedTuple):
    """What an offer says of the stream. `last`: the record it ends with."""

    last: int
    size: int
    sha256: bytes


class SegmentSource:
    """The stream of the records first..last of a log. One thread at a time, like its reader."""

    def __init__(self, log: LogReader, first: int, last: int) -> None:
        self._log, self.first, self.last = log, first, last
        self._seqs, self._offsets = [first], [0]  # where some records begin in the stream
        self.size = 0

    def measure(self) -> Measured:
        """Go through the stream once; it may end before `last`, where it is long enough."""
        digest, size, rested = hashlib.sha256(), 0, 0
        for row in self._log.rows(self.first, self.last, chunk=_ROWS):
            if size - self._offsets[-1] >= MARK_BYTES:
                self._seqs.append(row.seq)
                self._offsets.append(size)
            framed = LENGTH.pack(len(row.encoded)) + row.encoded
            digest.update(framed)
            size += len(framed)
            if size >= MAX_BYTES and _ends_batch(row.encoded):
                self.last = row.seq
                break
            if size - rested >= _REST_EVERY:
                rested = size
                time.sleep(_REST_S)
        self.size = size
        return Measured(self.last, size, digest.digest())

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on; fewer only at the end. After `measure`."""
        at = bisect_right(self._offsets, offset) - 1
        skip = offset - self._offsets[at]
        found = bytearray()
        for row in self._log.rows(self._seqs[at], self.last, chunk=_ROWS):
            found += LENGTH.pack(len(row.encoded)) + row.encoded
            if len(found) >= skip + count:
                break
        return bytes(found[skip : skip + count])


def records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the records of a stream that comes in pieces. Raises DecodeError if it is none."""
    pending = bytearray()
    for piece in pieces:
        pending += piece
        at = 0
        while len(pending) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(pending, at)
            if length > MAX_BATCH_BYTES:
                raise DecodeError(f"a record of {length} bytes in a segment")
            end = at + LENGTH.size + length
            if end > len(pending):
                break
            yield bytes(pending[at + LENGTH.size : end])
            at = end
        del pending[:at]
    if pending:
        raise DecodeError("a segment ends within a record")


def _ends_batch(encoded: bytes) -> bool:
    try:
        record = decode_record(encoded)
    except DecodeError as error:
        raise CorruptLog(f"a record to be sent cannot be read: {error}") from error
    return record.index + 1 == record.count

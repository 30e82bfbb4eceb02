"""Reading the log's file: by anyone who may, while the writer writes (edge).

Read-only connections, so that a reader can neither damage the log nor checkpoint it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw

from eventstore.codec import decode_record
from eventstore.errors import CorruptLog, DecodeError, NotOurLog
from eventstore.record import Stored
from eventstore.storage.log_file import Meta, Row, read_meta
from eventstore.storage.sqlite_errors import VERIFY_HINT, translated

_CHUNK = 1000  # rows per query: no long transaction that would hold up a checkpoint
# A flipped bit can change the type of a value as well; the chain then finds the bytes wrong.
_COLUMNS = (
    "seq, CAST(gen AS INTEGER), CAST(term AS INTEGER),"
    " coalesce(CAST(hash AS BLOB), x''), coalesce(CAST(bytes AS BLOB), x'')"
)


class LogReader:
    """A read-only view of the file, as it is at each call. One thread at a time."""

    def __init__(self, path: Path, *, vfs: str = "", salvage: bool = False) -> None:
        """Open the file. Raises NotOurLog if there is none or it is no log.

        `salvage`: also open a file that is shorter than it says, to read what is left of it.
        """
        if not path.exists():
            raise NotOurLog(f"there is no log at {path}", hint="gnt-cluster init makes one")
        self.path = path
        with translated(path):
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs or None)
            self._db.set_busy_timeout(5000)
            if salvage:
                self._db.execute("PRAGMA writable_schema=ON")  # SQLite's own way into such a file
            self.meta: Meta = read_meta(self._db, path)

    def head(self) -> int:
        """Return the seq of the last row, 0 if there is none."""
        with translated(self.path):
            return int(self._db.execute("SELECT max(seq) FROM log").get or 0)

    def row(self, seq: int) -> Row | None:
        """Return one row as it is stored, None if there is none."""
        return next(self.rows(seq, seq), None)

    def rows(self, first: int, last: int, *, chunk: int = _CHUNK) -> Iterator[Row]:
        """Yield the rows first..last (inclusive) as they are stored, unchecked.

        `chunk` rows are read at a time; if one of them cannot be, none of them is yielded.
        """
        while first <= last:
            upto = min(last, first + chunk - 1)
            with translated(self.path):
                found = self._db.execute(
                    f"SELECT {_COLUMNS} FROM log WHERE seq BETWEEN ? AND ? ORDER BY seq",
                    (first, upto),
                ).fetchall()
            yield from map(Row._make, found)
            first = upto + 1

    def stored(self, first: int, last: int) -> Iterator[Stored]:
        """Yield the records first..last, decoded, which must all be there.

        Raises CorruptLog at the first that is missing or cannot be decoded.
        """
        seq = first
        for row in self.rows(first, last):
            if row.seq != seq:
                break
            yield decoded(row)
            seq += 1
        if seq <= last:
            raise CorruptLog(f"record {seq} is missing", seq=seq, hint=VERIFY_HINT)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def decoded(row: Row) -> Stored:
    """Return the record in a row. Raises CorruptLog, naming its seq, if it is not what it says."""
    try:
        record = decode_record(row.encoded)
    except DecodeError as error:
        raise CorruptLog(f"record {row.seq}: {error}", seq=row.seq, hint=VERIFY_HINT) from error
    if (record.seq, record.gen, record.term) != (row.seq, row.gen, row.term):
        told = f"record {row.seq}: its bytes are those of {record.seq} in {tuple(record.epoch)}"
        raise CorruptLog(told, seq=row.seq, hint=VERIFY_HINT)
    return Stored(record, row.encoded, row.hash)

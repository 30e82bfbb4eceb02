"""Reading the log's file: by anyone who may, while the writer writes (edge).

Read-only connections, so that a reader can neither damage the log nor checkpoint it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from eventstore.codec import decode_record
from eventstore.errors import CorruptLog, DecodeError, NotOurLog
from eventstore.record import Stored
from eventstore.storage.log_file import Meta, Row, read_meta
from eventstore.storage.sqlite_errors import VERIFY_HINT, translated

_CHUNK = 1000  # rows per query: no long transaction that would hold up a checkpoint
# A flipped bit can change the type of a value as well; the chain then finds the bytes wrong.
_COLUMNS = (
    "seq, coalesce(CAST(gen AS INTEGER), -1), coalesce(CAST(term AS INTEGER), -1),"
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

        `chunk` rows are read at a time. Raises CorruptLog at the first that the file does not give,
        with its seq; all before it were yielded.
        """
        while first <= last:
            upto = min(last, first + chunk - 1)
            try:
                found = self._fetched(first, upto)
            except CorruptLog as damaged:
                if first == upto:
                    told = f"record {first}: it cannot be read: {damaged}"
                    raise CorruptLog(told, seq=first, hint=VERIFY_HINT) from damaged
                yield from self.rows(first, upto, chunk=1)  # up to the one that it is about
            else:
                yield from map(Row._make, found)
            first = upto + 1

    def _fetched(self, first: int, last: int) -> list[tuple[Any, ...]]:  # Any: as APSW has it
        query = f"SELECT {_COLUMNS} FROM log WHERE seq BETWEEN ? AND ? ORDER BY seq"
        with translated(self.path):
            return self._db.execute(query, (first, last)).fetchall()

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


def salvaged(path: Path) -> tuple[LogReader, str]:
    """Return a reader of a file that may be damaged, and why SQLite refuses it; "" if it does not.

    Raises NotOurLog, or CorruptLog if not even what the file is can be read.
    """
    try:
        return LogReader(path), ""
    except CorruptLog as damaged:
        try:
            return LogReader(path, salvage=True), str(damaged)
        except CorruptLog:
            raise damaged from None  # of the two it says better what is wrong


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

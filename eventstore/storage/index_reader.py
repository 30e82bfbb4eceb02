"""Looking things up in the index file, read-only, by any process (edge)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from eventstore.storage.index_table import Value


class KeyedRecord(NamedTuple):
    """Where a record with an idempotency key stands."""

    seq: int
    time_ms: int


class IndexReader:
    """A read-only view of the index, as far as it has followed the log. One thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises FileNotFoundError if there is no index yet."""
        if not path.exists():
            raise FileNotFoundError(path)
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self.db = Database(connection)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Let every read inside see the same moment of the index, whatever is written meanwhile.

        For what takes two queries to find out: between two of them the index goes on.
        """
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("ROLLBACK")  # nothing was written

    @property
    def seq(self) -> int:
        """Everything up to this record is in the index."""
        return self.progress[0]

    @property
    def progress(self) -> tuple[int, bytes]:
        """The last record that is in the index: its seq and its hash, (0, b"") if none is."""
        row = self.db.execute("SELECT seq, hash FROM progress").fetchone()
        return (int(row[0]), bytes(row[1])) if row else (0, b"")

    def stream_versions(self) -> dict[str, int]:
        """Return where each stream stands."""
        return dict(self.db.execute("SELECT name, version FROM stream"))

    def keyed(self, actor: str, key: str) -> KeyedRecord | None:
        """Return the first record that this actor brought in under this key."""
        row = self.db.execute(
            "SELECT seq, time_ms FROM record WHERE key = ? AND actor = ? ORDER BY seq LIMIT 1",
            (key, actor),
        ).fetchone()
        return KeyedRecord(*row) if row else None

    def subtree(self, level: int, number: int) -> bytes | None:
        """Return the root of a complete Merkle subtree, None if it is not kept."""
        row = self.db.execute(
            "SELECT hash FROM subtree WHERE level = ? AND number = ?", (level, number)
        ).fetchone()
        return bytes(row[0]) if row else None

    def row(self, table: str, key_column: str, key: Value) -> dict[str, Value] | None:
        """Return one row of a table by its key, None if there is none."""
        return next(iter(self.db.table(table).rows_where(f'"{key_column}" = ?', [key])), None)

    def seqs(self, where: str, parameters: Sequence[Value]) -> Iterable[int]:
        """Return the seqs, in order, of the records for which the SQL condition holds."""
        sql = f"SELECT seq FROM record WHERE {where} ORDER BY seq"
        return [row[0] for row in self.db.execute(sql, parameters)]

    def close(self) -> None:
        """Close the file."""
        self.db.close()

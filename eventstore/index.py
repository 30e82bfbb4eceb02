"""The index: a second SQLite file that makes the log quick to query, rebuilt at will (edge).

    record(seq, stream, version, kind, job, time_ms, actor, cause, key)
    stream(name, version, seq)    where each stream stands
    subtree(level, number, hash)  Merkle subtrees of 256 leaves and up, for quick proofs
    progress(id, seq, hash, definition)  how far which log is indexed, and by which tables
    ... and the tables that other rooms hand in

Made, migrated and queried with sqlite-utils. It is a cache: synced lazily (`synchronous=NORMAL`),
never in the way of a commit, deleted and made anew when it is missing, damaged or was made by other
definitions. Rows and progress are set in one transaction, so that a killed process leaves an index
that is behind, never one that is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlite_utils import Database

from eventstore.index_table import IndexTable, TableRow, Value, definition_hash
from eventstore.record import Record, Stored

FORMAT = 1  # raise it when the tables of this module change


def _record_rows(record: Record) -> Iterable[TableRow]:
    yield {
        "seq": record.seq,
        "stream": record.stream,
        "version": record.version,
        "kind": record.kind,
        "job": record.job,
        "time_ms": record.unix_ms,
        "actor": record.actor,
        "cause": record.cause,
        "key": record.key,
    }


def _stream_rows(record: Record) -> Iterable[TableRow]:
    yield {"name": record.stream, "version": record.version, "seq": record.seq}


OWN_TABLES = (
    IndexTable(
        name="record",
        columns={
            "seq": int, "stream": str, "version": int, "kind": str, "job": int,
            "time_ms": int, "actor": str, "cause": int, "key": str,
        },
        key="seq",
        rows=_record_rows,
        version=FORMAT,
        indexes=(("stream", "version"), ("job",), ("key",), ("time_ms",)),
    ),
    IndexTable(
        name="stream",
        columns={"name": str, "version": int, "seq": int},
        key="name",
        rows=_stream_rows,
        version=FORMAT,
    ),
)  # fmt: skip


class IndexWriter:
    """The one writer of the index. One thread at a time."""

    def __init__(self, path: Path, tables: Sequence[IndexTable] = ()) -> None:
        """Open the index, or make a new one if it is missing, damaged or defined otherwise."""
        self._tables = (*OWN_TABLES, *tables)
        self._definition = definition_hash(self._tables)
        self._path = path
        self._statements = {
            (table.name, tuple(table.columns)): _upsert(table, tuple(table.columns))
            for table in self._tables
        }
        try:
            self._db, self.seq, self.hash = self._open()
        except sqlite3.DatabaseError:
            self._db, self.seq, self.hash = self._make()

    def add(self, records: Sequence[Stored]) -> None:
        """Index the records that follow `seq`, all or none of them."""
        assert records[0].record.seq == self.seq + 1, "the index follows the log without gaps"
        rows: dict[tuple[str, tuple[str, ...]], list[tuple[Value, ...]]] = {}
        for stored in records:
            for table in self._tables:
                for row in table.rows(stored.record):
                    rows.setdefault((table.name, tuple(row)), []).append(tuple(row.values()))
        last = records[-1].record.seq
        with self._db.conn:
            self._db.conn.execute("BEGIN")
            for key, values in rows.items():
                self._db.conn.executemany(self._statement(*key), values)
            self._db.conn.execute("UPDATE progress SET seq = ?, hash = ?", (last, records[-1].hash))
        self.seq, self.hash = last, records[-1].hash

    def remake(self) -> None:
        """Throw the index away and begin anew: it does not belong to this log."""
        self._db.close()
        self._db, self.seq, self.hash = self._make()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _statement(self, name: str, columns: tuple[str, ...]) -> str:
        statement = self._statements.get((name, columns))
        if statement is None:
            table = next(table for table in self._tables if table.name == name)
            statement = self._statements[name, columns] = _upsert(table, columns)
        return statement

    def _open(self) -> tuple[Database, int, bytes]:
        if not self._path.exists():
            return self._make()
        db = _connect(self._path)
        if "progress" in db.table_names():
            (row,) = db.table("progress").rows
            if row["definition"] == self._definition:
                return db, int(row["seq"]), bytes(row["hash"])
        db.close()
        return self._make()

    def _make(self) -> tuple[Database, int, bytes]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        db = _connect(self._path)
        for table in self._tables:
            made = db.table(table.name)
            made.create(dict(table.columns), pk=table.key)
            for columns in table.indexes:
                made.create_index(list(columns))
        start = {"id": 1, "seq": 0, "hash": b"", "definition": self._definition}
        db.table("progress").insert(start, pk="id")
        return db, 0, b""


def _connect(path: Path) -> Database:
    """Return the file opened for writing, in autocommit mode: transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return Database(connection)


def _upsert(table: IndexTable, columns: tuple[str, ...]) -> str:
    """Return the statement that adds a row, or updates these columns of the one that is there."""
    assert set(columns) <= set(table.columns), f"{table.name} has no such columns: {columns}"
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join("?" * len(columns))
    rest = [f'"{column}" = excluded."{column}"' for column in columns if column != table.key]
    then = f"UPDATE SET {', '.join(rest)}" if rest else "NOTHING"
    return (
        f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'
        f' ON CONFLICT("{table.key}") DO {then}'
    )

"""The index: a second SQLite file that makes the log quick to query, rebuilt at will (edge).

    record(seq, stream, version, kind, job, time_ms, actor, cause, key)
    stream(name, version, seq)    where each stream stands
    subtree(level, number, hash)  Merkle subtrees of 256 leaves and up, for quick proofs
    progress(id, seq, hash, frontier, digest, definition)   how far which log is indexed, the
                                  Merkle frontier there and its digest, and by which tables
    ... and the tables that other rooms hand in

Made, migrated and queried with sqlite-utils. It is a cache: synced lazily (`synchronous=NORMAL`),
never in the way of a commit, deleted and made anew when it is missing, damaged or was made by other
definitions. Rows and progress are set in one transaction, so that a killed process leaves an index
that is behind, never one that is wrong.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from eventstore.proofs.merkle import HASH_BYTES, Subtree, Tree, leaf_hash
from eventstore.record import Record, Stored
from eventstore.storage.index_table import IndexTable, TableRow, Value, definition_hash

SUBTREE_LEVEL = 8  # the smallest subtrees that are kept: 256 leaves
FORMAT = 1  # raise it when the tables of this module change

_SPARSE = 'CREATE INDEX "idx_{table}_{column}" ON "{table}" ("{column}") WHERE "{column}" NOT NULL'


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
        indexes=(("stream", "version"), ("time_ms",)),
        sparse=("job", "key"),
    ),
    IndexTable(
        name="stream",
        columns={"name": str, "version": int, "seq": int},
        key="name",
        rows=_stream_rows,
        version=FORMAT,
    ),
)  # fmt: skip


class _Run(NamedTuple):
    """Rows that one statement adds, by their keys."""

    table: str
    columns: tuple[str, ...]
    rows: dict[Value, tuple[Value, ...]]


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
        self.hash = b""  # of the last record that is indexed
        self._tree = Tree()
        try:
            self._db = self._open()
        except (sqlite3.DatabaseError, ValueError):
            self._db = self._make()

    @property
    def seq(self) -> int:
        """Everything up to this record is in the index."""
        return self._tree.size

    @property
    def root(self) -> tuple[int, bytes]:
        """How many records are indexed, and the Merkle root over them. From any thread."""
        tree = self._tree  # never changed once it is here, only replaced
        return tree.size, tree.root()

    def add(self, records: Sequence[Stored]) -> None:
        """Index the records that follow `seq`, all or none of them."""
        assert records[0].record.seq == self.seq + 1, "the index follows the log without gaps"
        tree, subtrees = Tree(self._tree.size, self._tree.frontier), list[Subtree]()
        for stored in records:
            subtrees += tree.append(leaf_hash(stored.encoded), least=SUBTREE_LEVEL)
        frontier = b"".join(tree.frontier)
        with self._db.conn:
            self._db.conn.execute("BEGIN")
            for run in self._runs(records):
                statement = self._statement(run.table, run.columns)
                self._db.conn.executemany(statement, run.rows.values())
            self._db.conn.executemany("INSERT INTO subtree VALUES(?, ?, ?)", subtrees)
            self._db.conn.execute(
                "UPDATE progress SET seq = ?, hash = ?, frontier = ?, digest = ?",
                (tree.size, records[-1].hash, frontier, _digest(tree.size, frontier)),
            )
        self._tree, self.hash = tree, records[-1].hash

    def remake(self) -> None:
        """Throw the index away and begin anew: it does not belong to this log."""
        self._db.close()
        self._db = self._make()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _runs(self, records: Iterable[Stored]) -> list[_Run]:
        """Return the rows of these records, per table in the order of the records: a later row may
        update columns of an earlier one.

        One that updates all of them takes its place: a stream is written once, not per record.
        """
        runs: list[_Run] = []
        latest: dict[str, _Run] = {}
        for stored in records:
            for table in self._tables:
                for row in table.rows(stored.record):
                    columns = tuple(row)
                    run = latest.get(table.name)
                    if run is None or run.columns != columns:
                        run = latest[table.name] = _Run(table.name, columns, {})
                        runs.append(run)
                    run.rows[row[table.key]] = tuple(row.values())
        return runs

    def _statement(self, name: str, columns: tuple[str, ...]) -> str:
        statement = self._statements.get((name, columns))
        if statement is None:
            table = next(table for table in self._tables if table.name == name)
            statement = self._statements[name, columns] = _upsert(table, columns)
        return statement

    def _open(self) -> Database:
        if not self._path.exists():
            return self._make()
        db = _connect(self._path)
        if "progress" in db.table_names():
            (row,) = db.table("progress").rows
            if row["definition"] == self._definition:
                self._tree, self.hash = _tree(row), bytes(row["hash"])
                return db
        db.close()
        return self._make()

    def _make(self) -> Database:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        db = _connect(self._path)
        for table in self._tables:
            made = db.table(table.name)
            made.create(dict(table.columns), pk=table.key)
            for columns in table.indexes:
                made.create_index(list(columns))
            for column in table.sparse:
                db.execute(_SPARSE.format(table=table.name, column=column))
        db.table("subtree").create(
            {"level": int, "number": int, "hash": bytes}, pk=("level", "number")
        )
        start = {"id": 1, "seq": 0, "hash": b"", "frontier": b"", "digest": _digest(0, b"")}
        db.table("progress").insert({**start, "definition": self._definition}, pk="id")
        self._tree, self.hash = Tree(), b""
        return db


def _connect(path: Path) -> Database:
    """Return the file opened for writing, in autocommit mode: transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return Database(connection)


def _tree(progress: Mapping[str, Value]) -> Tree:
    """Return the tree as it was left. Raises ValueError if its frontier is damaged.

    A wrong frontier would be signed: that cannot be undone, so it is not left to luck.
    """
    size, frontier = int(str(progress["seq"])), progress["frontier"]
    if not isinstance(frontier, bytes) or progress["digest"] != _digest(size, frontier):
        raise ValueError("the Merkle frontier in the index is damaged")
    hashes = [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)]
    return Tree(size, hashes)


def _digest(size: int, frontier: bytes) -> bytes:
    return hashlib.sha256(size.to_bytes(8, "big") + frontier).digest()


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

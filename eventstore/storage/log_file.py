"""The log's own file: SQLite with one writer, durable commits and no surprises (edge).

    log(seq, gen, term, hash, bytes)      a rowid table: appends go to the right edge of one B-tree
    meta(name, value)                     format, cluster, inc, epoch, vote, Merkle frontier
    orphans(seq, gen, term, hash, bytes)  rows that were cut off, kept for the auditor

What is set, and why (REPLICATION 2.1): WAL, for one sync per commit. `synchronous=FULL`, read back,
since the default is a choice of whoever built the library; with NORMAL a commit is not synced.
No automatic checkpoint, as it would fall into a commit; the writer checkpoints when nobody waits.
No index: one on (stream, seq) halved the rate; indexes live in a file that can be rebuilt. APSW's
bundled SQLite, because releases before 3.51.3 can lose a WAL's frames when two connections write or
checkpoint ("WAL-reset bug"); that there is one writing connection, under a lock, is the second
guard.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import apsw

from eventstore.errors import CorruptLog, EventStoreError, NotOurLog, StorageFailed
from eventstore.record import FORMAT, Epoch
from eventstore.storage.rows import Change, Run, joined
from eventstore.storage.sqlite_errors import VERIFY_HINT, translated

APPLICATION_ID = 0x43524E4C  # "CRNL" in the header of the file
PAGE_BYTES = 4096
OLDEST_SQLITE = 3_051_003

_SCHEMA = """
CREATE TABLE log(
  seq INTEGER PRIMARY KEY, gen INTEGER NOT NULL, term INTEGER NOT NULL,
  hash BLOB NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE orphans(
  seq INTEGER NOT NULL, gen INTEGER NOT NULL, term INTEGER NOT NULL,
  hash BLOB NOT NULL, bytes BLOB NOT NULL);
"""


_INSERT = "INSERT INTO log VALUES(?,?,?,?,?)"
# All rows of a run by one statement, from arrays that SQLite reads without the interpreter: APSW
# gives up the interpreter's lock once and not for each row, and a busy thread gives it back only
# after a millisecond. The hashes are one blob, cut up here; rowid counts the array from 1.
_INSERT_RUN = (
    "INSERT INTO log SELECT ?1 + rowid, ?2, ?3, substr(?4, 32 * rowid - 31, 32), value"
    " FROM carray(?5)"
)
_KEEP_ORPHANS = "INSERT INTO orphans SELECT seq, gen, term, hash, bytes FROM log WHERE seq >= ?"


class Row(NamedTuple):
    """A record as the file holds it."""

    seq: int
    gen: int
    term: int
    hash: bytes
    encoded: bytes


RowValues = tuple[int, int, int, bytes, bytes]  # a Row, or the same as a plain tuple


class Meta(NamedTuple):
    """What the file says about itself."""

    cluster_id: str
    inc: bytes  # random id of this storage: a new disk is a new voter
    epoch: Epoch
    voted_for: str
    voted_inc: bytes


MetaValue = str | int | bytes


class LogFile:
    """The one read-write connection. The caller holds the writer's lock; one thread at a time."""

    def __init__(self, path: Path, connection: apsw.Connection, meta: Meta) -> None:
        self.path = path
        self.meta = meta
        self.wal_pages = 0  # pages in the WAL since its last complete checkpoint
        self._db = connection
        self._db.set_wal_hook(self._on_commit)

    @classmethod
    def create(
        cls, path: Path, meta: Meta, rows: Iterable[RowValues], *, orphans: Iterable[RowValues] = ()
    ) -> LogFile:
        """Make the file with its first rows, all in one transaction: it is whole or it is not."""
        with translated(path):
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            db = _open(path, flags, "")
            _settle(db, path)
            with db:
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(_SCHEMA)
                _put_meta(db, {"format": FORMAT, "cluster_id": meta.cluster_id, "inc": meta.inc})
                _put_meta(db, epoch_values(meta))
                db.executemany(_INSERT, rows)
                db.executemany("INSERT INTO orphans VALUES(?,?,?,?,?)", orphans)
        return cls(path, db, meta)

    @classmethod
    def open(cls, path: Path, *, vfs: str = "") -> LogFile:
        """Open an existing file. Raises NotOurLog, CorruptLog or StorageFailed."""
        if not path.exists():
            raise NotOurLog(f"there is no log at {path}", hint="gnt-cluster init makes one")
        with translated(path):
            db = _open(path, apsw.SQLITE_OPEN_READWRITE, vfs)
            meta = read_meta(db, path)  # before any setting: they write into what is not ours
            _settle(db, path)
            return cls(path, db, meta)

    def append(self, run: Run, values: Mapping[str, MetaValue] | None = None) -> None:
        """Add rows and set meta values in one transaction. On return they are on the disk.

        Raises DiskFull, and then nothing was added; StorageFailed or CorruptLog, and then the
        process must end without writing again.
        """
        self.carry_out([Change(0, [run])], values)

    def carry_out(
        self, changes: Iterable[Change], values: Mapping[str, MetaValue] | None = None
    ) -> None:
        """Cut off and add rows, in order, and set meta values, in one transaction.

        On return all of it is on the disk. Raises as `append`.
        """
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for step in joined(changes):
                    if isinstance(step, Run):
                        self._insert(step)
                    else:
                        self._db.execute(_KEEP_ORPHANS, (step,))
                        self._db.execute("DELETE FROM log WHERE seq >= ?", (step,))
                if values:
                    _put_meta(self._db, values)
                self._db.execute("COMMIT")
            except (apsw.FullError, EventStoreError):  # the latter: the changes were not to be had
                if self._db.in_transaction:  # SQLite may have rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    def checkpoint(self, *, truncate: bool = False) -> None:
        """Copy the WAL into the main file as far as readers allow. Two syncs; not for commits."""
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            with translated(self.path):
                frames, copied = self._db.wal_checkpoint("main", mode)
        except StorageFailed as error:
            if isinstance(error.__cause__, apsw.BusyError):
                return  # a reader holds an old state; the next one will do
            raise
        if frames <= copied:
            self.wal_pages = 0

    def close(self) -> None:
        """Close the connection; the WAL stays for readers that may not write."""
        self._db.close()

    def _insert(self, run: Run) -> None:
        (gen, term), hashes, encoded = run.epoch, b"".join(run.hashes), tuple(run.encoded)
        self._db.execute(_INSERT_RUN, (run.first - 1, gen, term, hashes, apsw.carray(encoded)))

    def _on_commit(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK


def epoch_values(meta: Meta) -> dict[str, MetaValue]:
    """Return the meta values that say in which epoch this voter is, and for whom it voted."""
    gen, term = meta.epoch
    vote: dict[str, MetaValue] = {"voted_for": meta.voted_for, "voted_inc": meta.voted_inc}
    return {"gen": gen, "term": term, **vote}


def read_meta(db: apsw.Connection, path: Path) -> Meta:
    """Return what the file says about itself. Raises NotOurLog if that is not ours to read."""
    if db.pragma("application_id") != APPLICATION_ID:
        raise NotOurLog(
            f"{path} is a database, but no Cairn log",
            hint="put the log back in its place, with its WAL, or from a copy",
        )
    try:
        found = dict(db.execute("SELECT name, value FROM meta"))
        return _meta(found, path)
    # A flipped bit changes names and types, of tables too.
    except (KeyError, TypeError, ValueError, apsw.SQLError) as error:
        raise CorruptLog(f"{path} does not say what it is: {error!r}", hint=VERIFY_HINT) from error


def _meta(found: Mapping[str, MetaValue], path: Path) -> Meta:
    if found.get("format") != FORMAT:
        raise NotOurLog(
            f"{path} has format {found.get('format')!r}; this version reads {FORMAT}",
            hint="use the version of Cairn that wrote it, or a newer one",
        )
    epoch = Epoch(int(found["gen"]), int(found["term"]))
    inc, voted_inc = found["inc"], found["voted_inc"]
    if not (isinstance(inc, bytes) and isinstance(voted_inc, bytes)):
        raise TypeError("an id that is not bytes")
    return Meta(str(found["cluster_id"]), inc, epoch, str(found["voted_for"]), voted_inc)


def _open(path: Path, flags: int, vfs: str) -> apsw.Connection:
    """Open a connection as it comes. Refuses a SQLite that is not safe, or lacks what we use."""
    if sqlite_version() < OLDEST_SQLITE:
        raise StorageFailed(
            f"SQLite {apsw.sqlitelibversion()} can lose commits; 3.51.3 is safe",
            hint="install the apsw of requirements.lock, which brings its own",
        )
    if "ENABLE_CARRAY" not in apsw.compile_options:
        raise StorageFailed(
            "this SQLite was built without carray",
            hint="install the apsw of requirements.lock, which brings its own",
        )
    db = apsw.Connection(str(path), flags=flags, vfs=vfs or None)
    db.set_busy_timeout(5000)  # only a reader that recovers the WAL can be in the way
    # The writer checkpoints, and not after an error: closing must not write.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return db


def _settle(db: apsw.Connection, path: Path) -> None:
    """Make the settings above; refuse to go on with others."""
    db.execute(f"PRAGMA page_size={PAGE_BYTES}")
    if db.pragma("journal_mode", "wal") != "wal":
        raise StorageFailed(
            f"{path}: this file system does not allow SQLite's WAL",
            hint="keep the log on a local file system, not on one of the network",
        )
    db.execute("PRAGMA synchronous=FULL")
    if db.pragma("synchronous") != 2:
        raise StorageFailed(
            f"{path}: commits would not be durable (synchronous is not FULL)",
            hint="this SQLite was built to ignore it; install the apsw of requirements.lock",
        )
    db.wal_autocheckpoint(0)
    # Without this the last connection deletes the WAL, and a reader without the right to write in
    # the directory could then not open the file.
    keep = ctypes.c_int(1)
    db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(keep))


def sqlite_version() -> int:
    """Return the version of the SQLite that APSW brings, as SQLITE_VERSION_NUMBER counts."""
    major, minor, patch = (int(part) for part in apsw.sqlitelibversion().split(".")[:3])
    return major * 1_000_000 + minor * 1_000 + patch


def _put_meta(db: apsw.Connection, values: Mapping[str, MetaValue]) -> None:
    db.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", values.items())

"""What an agent must not forget: promises, tasks and their results, observations (edge).

SQLite through APSW, WAL, `synchronous=FULL` (read back): a commit is on the disk when it returns,
and is one sync. Everything that one turn of the agent's loop has to make durable goes into one
commit, so a task costs at most two: accepted, result. What may be lost (that a result was seen
committed, how far the stream was read) rides along with the next commit and has none of its own; a
restart then reads a little of the stream again, and the rules of core.py make that harmless.

    meta(name, value)                  promised epoch, position in the stream, observation serial,
                                       that the node was told to leave and has said yes
    tasks(task, version, order, result)  accepted, and once it has ended its result
    known(kind, uuid, value)           disks and instances: what was last reported of them
    observed(serial, body)             observations that the leader has not acknowledged

WAL checkpoints are made when the agent is idle, not inside a commit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from eventstore.record import Epoch
from nodeagent.calls import Observation, TaskOrder, TaskResult
from nodeagent.errors import NodeAgentError

APPLICATION_ID = 0x4352414A  # "CRAJ"
_CHECKPOINT_PAGES = 256
_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE tasks(
  task TEXT PRIMARY KEY, version INTEGER NOT NULL, "order" BLOB, result BLOB) WITHOUT ROWID;
CREATE TABLE known(kind TEXT, uuid TEXT, value TEXT, PRIMARY KEY(kind, uuid)) WITHOUT ROWID;
CREATE TABLE observed(serial INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""


class JournalFailed(NodeAgentError):
    """The journal cannot be read or written; the agent must end without acting again."""


class Accepted(NamedTuple):
    """From here on the task may have had an effect."""

    version: int  # of its request in the node's stream; 0: in one that a forced takeover ended
    order: TaskOrder


class Ended(NamedTuple):
    """The task's result. Its task may never have been accepted (withdrawn before it ran)."""

    version: int
    result: TaskResult


class PromisedEpoch(NamedTuple):
    """Nothing from below this epoch is acted upon."""

    epoch: Epoch


class Settled(NamedTuple):
    """The log has the task's end: it may be forgotten. May be lost."""

    task: str


class Position(NamedTuple):
    """The stream up to this version need not be read again. May be lost."""

    version: int


class Leaving(NamedTuple):
    """The node has agreed to leave its cluster: whoever refuses its key now has let it go."""


class Known(NamedTuple):
    """What was last reported of a disk or an instance; None: forget it."""

    kind: str  # disk, instance, disk-of (uuid of a disk -> uuid of its instance)
    uuid: str
    value: str | None


class Noticed(NamedTuple):
    """An observation that the leader must hear."""

    observation: Observation


class Acknowledged(NamedTuple):
    """The leader has recorded the observations up to this serial. May be lost."""

    serial: int


Durable = Accepted | Ended | PromisedEpoch | Leaving | Known | Noticed
Lazy = Settled | Position | Acknowledged
Entry = Durable | Lazy
LAZY = (Settled, Position, Acknowledged)


class Remembered(NamedTuple):
    """The journal as it was found."""

    promised: Epoch = Epoch(0, 0)
    position: int = 0
    accepted: tuple[Accepted, ...] = ()  # without a result
    ended: tuple[Ended, ...] = ()  # not seen committed
    known: tuple[Known, ...] = ()
    observed: tuple[Observation, ...] = ()
    serial: int = 0  # of the last observation ever made
    leaving: bool = False


@dataclass(slots=True)
class JournalMetrics:
    """Counters since the process started."""

    syncs: int = 0
    entries: int = 0
    worst_ms: float = 0.0


class Journal:
    """The journal of one agent; one thread uses it. `sync_delay_s` emulates a slow disk."""

    def __init__(self, path: Path, *, sync_delay_s: float = 0.0) -> None:
        self.metrics = JournalMetrics()
        self._sync_delay_s = sync_delay_s
        self._wal_pages = 0
        self._lazy: list[Lazy] = []
        self._path = path
        try:
            self._db = _open(path)
        except apsw.Error as failed:
            raise JournalFailed(f"{path}: {failed}", hint=_hint(path)) from failed
        self._db.set_wal_hook(self._on_wal)

    def read(self) -> Remembered:
        """Return what was remembered."""
        meta: dict[str, int] = dict(self._rows("SELECT name, value FROM meta"))
        accepted: list[Accepted] = []
        ended: list[Ended] = []
        for version, order, result in self._rows(
            'SELECT version, "order", result FROM tasks ORDER BY version, task'
        ):
            if result is None:
                accepted.append(Accepted(version, msgspec.msgpack.decode(order, type=TaskOrder)))
            else:
                ended.append(Ended(version, msgspec.msgpack.decode(result, type=TaskResult)))
        observed = self._rows("SELECT body FROM observed ORDER BY serial")
        return Remembered(
            promised=Epoch(meta.get("gen", 0), meta.get("term", 0)),
            position=meta.get("position", 0),
            accepted=tuple(accepted),
            ended=tuple(ended),
            known=tuple(Known(*row) for row in self._rows("SELECT kind, uuid, value FROM known")),
            observed=tuple(msgspec.msgpack.decode(body, type=Observation) for (body,) in observed),
            serial=meta.get("serial", 0),
            leaving=bool(meta.get("leaving", 0)),
        )

    def write(self, entries: Iterable[Entry]) -> None:
        """Make `entries` durable, with one sync; those that may be lost wait for the next time.

        Raises JournalFailed; then nothing may be acted upon any more.
        """
        durable: list[Durable] = []
        for entry in entries:
            if isinstance(entry, LAZY):
                self._lazy.append(entry)
            else:
                durable.append(entry)
        if durable:
            self._commit([*durable, *self._lazy])
            self._lazy.clear()

    def tidy(self) -> None:
        """To be called when nothing is urgent: moves a long WAL into the main file."""
        if self._wal_pages >= _CHECKPOINT_PAGES:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._wal_pages = 0

    def forget_all(self) -> None:
        """The node has left its cluster: drop everything."""
        self._lazy.clear()
        with self._db:
            for table in ("meta", "tasks", "known", "observed"):
                self._db.execute(f"DELETE FROM {table}")
        self.metrics.syncs += 1

    def close(self) -> None:
        """Write what may be lost, too, and close."""
        if self._lazy:
            self._commit(self._lazy)
            self._lazy.clear()
        self._db.close()

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:  # the schema says what is in them
        return list(self._db.execute(statement))

    def _commit(self, entries: list[Durable] | list[Lazy] | list[Durable | Lazy]) -> None:
        began = time.monotonic()
        try:
            with self._db:
                for entry in entries:
                    self._put(entry)
        except apsw.Error as failed:
            self._lazy.clear()  # `close` must not try again
            raise JournalFailed(f"{self._path}: {failed}", hint=_hint(self._path)) from failed
        if self._sync_delay_s:
            time.sleep(self._sync_delay_s)
        self.metrics.syncs += 1
        self.metrics.entries += len(entries)
        self.metrics.worst_ms = max(self.metrics.worst_ms, (time.monotonic() - began) * 1000)

    def _put(self, entry: Entry) -> None:
        run = self._db.execute
        match entry:
            case Accepted(version, order):
                run(
                    "INSERT INTO tasks VALUES(?1,?2,?3,NULL) "
                    "ON CONFLICT DO UPDATE SET version=?2 WHERE result IS NULL",
                    (order.task, version, msgspec.msgpack.encode(order)),
                )
            case Ended(version, result):
                run(
                    "INSERT INTO tasks VALUES(?1,?2,NULL,?3) "
                    'ON CONFLICT DO UPDATE SET result=?3, "order"=NULL',
                    (result.task, version, msgspec.msgpack.encode(result)),
                )
            case PromisedEpoch(epoch):
                self._set("gen", epoch.gen)
                self._set("term", epoch.term)
            case Leaving():
                self._set("leaving", 1)
            case Settled(task):
                run("DELETE FROM tasks WHERE task=?", (task,))
            case Position(version):
                self._set("position", version)
            case Known(kind, uuid, None):
                run("DELETE FROM known WHERE kind=? AND uuid=?", (kind, uuid))
            case Known(kind, uuid, value):
                run("INSERT OR REPLACE INTO known VALUES(?,?,?)", (kind, uuid, value))
            case Noticed(observation):
                self._set("serial", observation.serial)
                body = msgspec.msgpack.encode(observation)
                run("INSERT OR REPLACE INTO observed VALUES(?,?)", (observation.serial, body))
            case Acknowledged(serial):
                run("DELETE FROM observed WHERE serial<=?", (serial,))

    def _set(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))

    def _on_wal(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK


def _open(path: Path) -> apsw.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")
    level = db.execute("PRAGMA synchronous").get
    if level != 2:
        raise JournalFailed(f"{path}: synchronous is {level}, not FULL")
    found = db.execute("PRAGMA application_id").get
    if found == 0:
        with db:
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.execute(_SCHEMA)
    elif found != APPLICATION_ID:
        raise JournalFailed(f"{path} is no agent's journal", hint="move it away")
    return db


def _hint(path: Path) -> str:
    return (
        f"free space or repair the disk under {path.parent}; without its journal the agent takes "
        "its tasks from the log anew: move the file away only if no task of this node is open"
    )

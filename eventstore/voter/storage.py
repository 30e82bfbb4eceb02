"""A voter's storage: opened with its checks, made empty for who joins, read by the core (edge).

In this order: the writer's lock; the file and what it says about itself; the ack mark, which must
be of this storage; then the end of the chain (soundness.py). A log may hold no record yet, on a
voter that joins. A mark that is ahead of the log is no error here: the other voters may hold what
is gone, so the core follows until it has it again (raft/recovery.py). Only a lone voter, that
nobody can help, is refused (`check_alone`).

A log that runs ahead of the mark is normal, a crash came between the two syncs; the mark is brought
up to it before anybody is told anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eventstore.durable_file import sync_directory
from eventstore.errors import NotOurLog
from eventstore.raft.entry import Entry, Position, from_records
from eventstore.raft.recovery import assess
from eventstore.raft.state import HardState, Identity
from eventstore.record import Epoch, Stored, genesis_hash
from eventstore.storage.ack_mark import AckMark, Mark
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile, Meta
from eventstore.storage.log_reader import LogReader, decoded
from eventstore.storage.soundness import check_chain, check_first, check_mark, check_not_gone
from eventstore.storage.writer_lock import WriterLock
from eventstore.voter.creation import make_file

_NOTHING = Epoch(0, 0)
_NO_LOG_HINT = (
    "gnt-cluster init makes the first; a voter that lost its disk is made anew by "
    "gnt-node modify --master-candidate=no, then, once its files here are gone, =yes"
)


@dataclass(frozen=True, slots=True)
class VoterStorage:
    """A voter's files, held under the writer's lock."""

    layout: Layout
    lock: WriterLock
    log: LogFile
    mark: AckMark
    reader: LogReader
    last: Stored | None

    @property
    def head(self) -> int:
        """Seq of the last record, 0 if there is none."""
        return self.last.record.seq if self.last else 0

    @property
    def hard(self) -> HardState:
        """Epoch and vote as the log's file has them."""
        meta = self.log.meta
        return HardState(meta.epoch, Identity(meta.voted_for, meta.voted_inc))

    def check_alone(self) -> None:
        """Raise CorruptLog if what was acknowledged is gone: for a voter that nobody can help."""
        check_mark(self.reader, self.log.meta, self.mark.mark)

    def close(self) -> None:
        """Close everything; the lock goes last."""
        self.reader.close()
        self.log.close()
        self.mark.close()
        self.lock.release()


def open_voter(
    layout: Layout, *, cluster_id: str | None = None, whole: bool = False, vfs: str = ""
) -> VoterStorage:
    """Open the storage for writing.

    Raises LogInUse, NotOurLog, CorruptLog (with the first bad seq), DiskFull or StorageFailed;
    then nothing stays open and nothing was changed.
    """
    if not layout.log.exists():
        check_not_gone(layout)
        raise NotOurLog(f"there is no log in {layout.directory}", hint=_NO_LOG_HINT)
    lock = WriterLock(layout.lock)
    closing = [lock.release]
    try:
        log = LogFile.open(layout.log, vfs=vfs)
        closing.append(log.close)
        if cluster_id not in (None, log.meta.cluster_id):
            raise NotOurLog(
                f"{layout.log} is the log of cluster {log.meta.cluster_id}",
                hint=f"this is cluster {cluster_id}: give its directory, or move the file away",
            )
        mark = AckMark.open(layout.mark)
        closing.append(mark.close)
        reader = LogReader(layout.log, vfs=vfs)
        closing.append(reader.close)
        if mark.mark.inc != log.meta.inc:
            check_mark(reader, log.meta, mark.mark)  # says so
        last = None
        if reader.head():
            check_first(reader, log.meta)
            last = check_chain(reader, log.meta, first=1 if whole else None)
        storage = VoterStorage(layout, lock, log, mark, reader, last)
        _raise_mark(storage)
    except BaseException:
        for close in reversed(closing):
            close()
        raise
    return storage


def _raise_mark(storage: VoterStorage) -> None:
    """Bring the mark up to the log, unless it says more than the log holds."""
    found, mark = StoredEntries(storage.reader), storage.mark
    last = found.position(storage.head)
    assert last is not None, "it was just read"
    hard, lost = assess(mark.mark, storage.hard, found.position(mark.mark.seq), last)
    said = Mark(last.seq, last.hash, *hard.epoch, *hard.vote, storage.log.meta.inc)
    if lost is None and said != mark.mark:
        mark.write(said)


def create_voter(directory: Path, *, cluster_id: str) -> bytes:
    """Make the storage of a voter that joins: no record, a new id, which is returned.

    Raises NotOurLog if there is a log already (it is left alone), CorruptLog if one was there and
    only its mark is left, LogInUse, DiskFull. After a crash in the middle it may be called again.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout = Layout(directory)
    lock = WriterLock(layout.lock)
    try:
        if layout.log.exists():
            raise NotOurLog(f"there is a log in {directory} already", hint="remove it by hand")
        check_not_gone(layout)
        inc = os.urandom(16)
        mark = Mark(0, genesis_hash(cluster_id), *_NOTHING, "", b"", inc)
        AckMark.create(layout.mark, mark).close()
        make_file(layout, Meta(cluster_id, inc, _NOTHING, "", b""), ()).rename(layout.log)
        sync_directory(layout.directory)
        return inc
    finally:
        lock.release()


class StoredEntries:
    """The batches on the disk, as the core reads them (`raft/entry_log.Storage`). One thread."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._genesis = genesis_hash(reader.meta.cluster_id)

    def entry_at(self, seq: int) -> Entry | None:
        """Return the batch that holds record `seq`, None if there is none."""
        row = self._reader.row(seq)
        if row is None:
            return None
        record = decoded(row).record
        return self._entry(seq - record.index, record.count)

    def entries(self, first: int, max_bytes: int) -> Sequence[Entry]:
        """Return batches from the one at `first` on, as `raft/entry_log.Storage` says."""
        found: list[Entry] = []
        size = 0
        while (entry := self.entry_at(first)) is not None:
            size += entry.size
            if found and size > max_bytes:
                break
            found.append(entry)
            first = entry.last + 1
        return found

    def position(self, seq: int) -> Position | None:
        """Return where record `seq` stands, None if there is none; 0 is before the first."""
        if seq == 0:
            return Position(0, _NOTHING, self._genesis)
        row = self._reader.row(seq)
        return Position(seq, Epoch(row.gen, row.term), row.hash) if row else None

    def _entry(self, first: int, count: int) -> Entry | None:
        before = self.position(first - 1)
        records = list(self._reader.stored(first, first + count - 1))
        return from_records(records, before.hash) if before else None

"""Opening a log for writing: nobody else has it, it is ours, nothing acknowledged is gone (edge).

In this order: the writer's lock; the ack mark; the file and what it says about itself; then

- the mark must belong to this storage, and its epoch must not be above the log's;
- the log must reach at least to the mark, and hold the very record that the mark names;
- the last TAIL records must chain (all of them, if the whole log is asked for).

The tail is where a crash or a bit flip in the WAL shows; the rest has been in the main file since
an earlier start, and `gnt-log verify` walks it all. A log that runs ahead of the mark is normal: a
crash came between the two syncs, nobody was told, and the mark is brought up to the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from eventstore.ack_mark import AckMark, Mark, read_mark
from eventstore.chain import walk
from eventstore.errors import CorruptLog, NotOurLog
from eventstore.layout import Layout
from eventstore.log_file import LogFile, Meta
from eventstore.log_reader import LogReader, decoded
from eventstore.record import Stored, chain_hash, genesis_hash
from eventstore.sqlite_errors import VERIFY_HINT
from eventstore.writer_lock import WriterLock

TAIL = 2000

SHORT_HINT = (
    "bring the lost records back from a copy of this log; if there is none, "
    "gnt-log accept-loss goes on without them and says so in the log"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A log that was found sound, held under the writer's lock."""

    layout: Layout
    lock: WriterLock
    log: LogFile
    mark: AckMark
    reader: LogReader
    first: Stored
    last: Stored

    @property
    def head(self) -> int:
        """Seq of the last record."""
        return self.last.record.seq

    def close(self) -> None:
        """Close everything; the lock goes last."""
        self.reader.close()
        self.log.close()
        self.mark.close()
        self.lock.release()


def open_checked(
    layout: Layout, *, cluster_id: str | None = None, whole: bool = False, vfs: str = ""
) -> Opened:
    """Open the log for writing.

    Raises LogInUse, NotOurLog, CorruptLog (with the first bad seq), DiskFull or StorageFailed;
    then nothing stays open and nothing was changed.
    """
    if not layout.log.exists():
        check_not_gone(layout)
        raise NotOurLog(f"there is no log in {layout.directory}", hint="gnt-cluster init makes one")
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
        check_mark(reader, log.meta, mark.mark)
        first = check_first(reader, log.meta)
        last = check_chain(reader, log.meta, first=1 if whole else None)
        if last.record.seq > mark.mark.seq:
            mark.write(mark_at(mark.mark, last))
    except BaseException:
        for close in reversed(closing):
            close()
        raise
    return Opened(layout, lock, log, mark, reader, first, last)


def check_not_gone(layout: Layout) -> None:
    """Raise CorruptLog if there is no log where one was: its mark tells of records. For makers."""
    mark = read_mark(layout.mark)
    if mark is not None and mark.seq and not layout.log.exists():
        raise CorruptLog(
            f"{layout.log} is gone, but records up to {mark.seq} were acknowledged",
            hint="bring it back from a copy of this log; to begin anew all the same, "
            f"move {layout.directory} away",
            seq=1,
        )


def check_mark(reader: LogReader, meta: Meta, mark: Mark) -> None:
    """Raise CorruptLog if the log lacks what the mark says was acknowledged."""
    if mark.inc != meta.inc:
        raise NotOurLog(
            f"the ack mark beside {reader.path} belongs to another storage",
            hint="do not mix the files of two logs; restore both from the same copy",
        )
    head = reader.head()
    if mark.seq > head:
        told = f"the log ends at {head}, but records up to {mark.seq} were acknowledged"
        raise CorruptLog(told, hint=SHORT_HINT, seq=head + 1)
    if mark.epoch > meta.epoch:
        told = f"the log is in epoch {tuple(meta.epoch)}, but {tuple(mark.epoch)} was acknowledged"
        raise CorruptLog(told, hint=SHORT_HINT, seq=head + 1)
    if mark.seq:
        row = reader.row(mark.seq)
        if row is None or row.hash != mark.hash:
            told = f"record {mark.seq} is not the one that was acknowledged"
            raise CorruptLog(told, hint=VERIFY_HINT, seq=mark.seq)


def check_first(reader: LogReader, meta: Meta) -> Stored:
    """Return the first record, if it follows from the cluster's id. Raises CorruptLog."""
    row = reader.row(1)
    if row is None or chain_hash(genesis_hash(meta.cluster_id), row.encoded) != row.hash:
        told = f"record 1 is missing or not that of cluster {meta.cluster_id}"
        raise CorruptLog(told, seq=1, hint=VERIFY_HINT)
    return decoded(row)


def check_chain(reader: LogReader, meta: Meta, *, first: int | None = None) -> Stored:
    """Walk the chain from `first` (by default the last TAIL records) and return the last record.

    Raises CorruptLog; a log always has a first record.
    """
    last = reader.head()
    first = max(1, last - TAIL + 1) if first is None else first
    previous = genesis_hash(meta.cluster_id)
    if first > 1:
        before = reader.row(first - 1)
        if before is None:
            raise CorruptLog(f"record {first - 1} is missing", seq=first - 1, hint=VERIFY_HINT)
        previous = before.hash
    end = None
    rows = reader.rows(first, last)
    for end in walk(rows, first=first, last=last, previous=previous):  # noqa: B007
        pass
    if end is None:
        raise CorruptLog(f"record {first} is missing", seq=first, hint=VERIFY_HINT)
    return end


def mark_at(mark: Mark, last: Stored) -> Mark:
    """Return the mark that says that everything up to `last` is durable."""
    gen, term = max(mark.epoch, last.record.epoch)
    return msgspec.structs.replace(mark, seq=last.record.seq, hash=last.hash, gen=gen, term=term)

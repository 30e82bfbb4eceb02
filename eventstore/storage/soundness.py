"""Whether a log is sound: it is there, it is ours, it chains, nothing acknowledged is gone (edge).

- A mark without a log says that there was one.
- The mark must belong to this storage, and its epoch must not be above the log's.
- The log must reach at least to the mark, and hold the very record that the mark names. Of these
  two a voter among others may fall short, and recover from them (raft/recovery.py).
- The last TAIL records must chain (all of them, if the whole log is asked for).

The tail is where a crash or a bit flip in the WAL shows; the rest has been in the main file since
an earlier start, and `gnt-log verify` walks it all.
"""

from __future__ import annotations

from eventstore.errors import CorruptLog, NotOurLog
from eventstore.record import Stored, chain_hash, genesis_hash
from eventstore.storage.ack_mark import Mark, read_mark
from eventstore.storage.chain import walk
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import Meta
from eventstore.storage.log_reader import LogReader, decoded
from eventstore.storage.sqlite_errors import VERIFY_HINT

TAIL = 2000
_UNKNOWN_END = 1 << 20  # where to stop looking if neither the file nor the mark says

SHORT_HINT = (
    "bring the lost records back from a copy of this log; if there is none, "
    "gnt-log accept-loss goes on without them and says so in the log"
)


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


def supposed_end(reader: LogReader, mark: Mark | None) -> int:
    """Return the seq at which a log that may be damaged should end."""
    try:
        return reader.head()
    except CorruptLog:  # the right edge of the tree is gone, its left may be there
        return mark.seq if mark else _UNKNOWN_END


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

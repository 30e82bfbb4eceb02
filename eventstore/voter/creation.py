"""The beginning of a log: its first records are durable before any socket opens (edge)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from eventstore.clock import HybridClock
from eventstore.durable_file import sync_directory
from eventstore.errors import CorruptLog, NotOurLog, TooLarge
from eventstore.events import STREAM, EpochStarted, LogCreated
from eventstore.proofs.checkpoint import check_key_name
from eventstore.record import Batch, Draft, Epoch, Stored, genesis_hash
from eventstore.replica import Refused
from eventstore.storage.ack_mark import AckMark, Mark
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile, Meta, RowValues
from eventstore.storage.soundness import check_not_gone
from eventstore.storage.writer_lock import WriterLock
from eventstore.voter.appended import Appended

FIRST_EPOCH = Epoch(1, 1)


def create_log(
    directory: Path,
    *,
    cluster_id: str,
    origin: str,
    voter: str,
    now_ms: int,
    first: Sequence[Draft] = (),
    actor: str = "log",
    ballast_bytes: int = 0,
) -> tuple[Stored, ...]:
    """Make a log whose first batch is LogCreated, EpochStarted and the drafts in `first`.

    `origin` is the log's name in checkpoints, `voter` the name of this voter. The batch is durable
    on return. Raises NotOurLog if a log is there already (it is left alone), CorruptLog if one was
    there and only its mark is left, LogInUse, DiskFull, TooLarge; ValueError for an origin that
    cannot name a key. After a crash in the middle it may be called again.
    """
    check_key_name(origin)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout = Layout(directory)
    lock = WriterLock(layout.lock)
    try:
        check_none(directory)
        return _create(layout, cluster_id, origin, voter, now_ms, (*first,), actor, ballast_bytes)
    finally:
        lock.release()


def check_none(directory: Path) -> None:
    """Raise NotOurLog if there is a log in `directory`, CorruptLog if only its mark is left."""
    layout = Layout(directory)
    if layout.log.exists():
        raise NotOurLog(f"there is a log in {directory} already", hint="remove it by hand")
    check_not_gone(layout)


def _create(
    layout: Layout,
    cluster_id: str,
    origin: str,
    voter: str,
    now_ms: int,
    first: tuple[Draft, ...],
    actor: str,
    ballast_bytes: int,
) -> tuple[Stored, ...]:
    inc = os.urandom(16)
    created = LogCreated(cluster_id=cluster_id, origin=origin)
    started = EpochStarted(voter=voter, inc=inc.hex())
    own = [Draft(stream=STREAM, event=event, actor=actor) for event in (created, started)]
    appended = Appended(
        seq=0,
        last_hash=genesis_hash(cluster_id),
        versions={},
        clock=HybridClock(),
        origin=voter,
        draw_bytes=os.urandom,
    )
    placed = appended.place(Batch(drafts=(*own, *first)), FIRST_EPOCH, now_ms)
    if isinstance(placed, Refused):
        raise TooLarge(placed.message, hint=placed.hint)
    meta = Meta(cluster_id, inc, FIRST_EPOCH, voter, inc)
    gen, term = FIRST_EPOCH
    # The mark first: a log without a mark cannot be trusted, a mark at 0 without a log is nothing.
    mark = AckMark.create(
        layout.mark, Mark(0, genesis_hash(cluster_id), gen, term, voter, inc, inc)
    )
    make_file(layout, meta, placed.entry.rows()).rename(layout.log)
    sync_directory(layout.directory)
    mark.write(Mark(appended.seq, appended.hash, gen, term, voter, inc, inc))
    mark.close()
    make_ballast(layout, ballast_bytes)
    return placed.entry.records


def make_file(
    layout: Layout, meta: Meta, rows: Iterable[RowValues], orphans: Iterable[RowValues] = ()
) -> Path:
    """Make a log under another name, whole in its main file and durable; return that name."""
    new = layout.log.with_name(f"{layout.log.name}.new")
    for leftover in (new, *_companions(new)):
        leftover.unlink(missing_ok=True)
    log = LogFile.create(new, meta, rows, orphans=orphans)
    log.checkpoint(truncate=True)
    log.close()
    for leftover in _companions(new):
        leftover.unlink(missing_ok=True)
    return new


def replace_file(
    layout: Layout, meta: Meta, rows: Iterable[RowValues], orphans: Iterable[RowValues]
) -> Path:
    """Put a new log in the old one's place; return where a copy of the old one is kept.

    At each moment the name holds a whole log, the old or the new: the old one's WAL goes into its
    main file before it is removed, as SQLite would read it into the new one.
    """
    new = make_file(layout, meta, rows, orphans)
    kept = _free_name(layout.log)
    for old in (layout.log, *_companions(layout.log)):
        if old.exists():
            shutil.copy2(old, kept.with_name(old.name.replace(layout.log.name, kept.name, 1)))
    with suppress(CorruptLog, NotOurLog):  # then its WAL is of no use, and there is the copy
        log = LogFile.open(layout.log)
        try:
            log.checkpoint(truncate=True)
        finally:
            log.close()
    for leftover in _companions(layout.log):
        leftover.unlink(missing_ok=True)
    new.rename(layout.log)
    sync_directory(layout.directory)
    return kept


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def make_ballast(layout: Layout, size: int) -> None:
    """Reserve room that an operator can free when the disk is full. Does nothing for 0.

    Without room for it there is none: the next start tries again.
    """
    if not size or (layout.ballast.exists() and layout.ballast.stat().st_size >= size):
        return
    try:
        with layout.ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, size)
    except OSError:
        layout.ballast.unlink(missing_ok=True)

"""Going on with what is left, when acknowledged records are gone and no copy can be had (edge).

Only for a log with one voter, and only by an operator's word, which is recorded: the generation is
raised, so that everything of the old one is below, and the first record of the new one says what
was lost and why (REPLICATION 2.2, 3.5). The damaged file is kept beside the new one under another
name, rows that could be read but do not belong any more stand in `orphans`; nothing is destroyed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from eventstore.clock import HybridClock
from eventstore.errors import CorruptLog, EventStoreError
from eventstore.events import STREAM, LossAccepted
from eventstore.record import Batch, Draft, Epoch, Stored, genesis_hash
from eventstore.replica import Refused
from eventstore.storage.ack_mark import AckMark, Mark, read_mark
from eventstore.storage.chain import walk
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import Row, RowValues
from eventstore.storage.log_reader import LogReader, salvaged
from eventstore.storage.soundness import check_mark, supposed_end
from eventstore.storage.writer_lock import WriterLock
from eventstore.voter.appended import Appended
from eventstore.voter.creation import replace_file


@dataclass(frozen=True, slots=True)
class Loss:
    """What is gone. `kept` and `acknowledged` are seqs; `why` says how it shows.

    Where both are the same, no record is gone, but the file cannot be written as it is.
    """

    kept: int
    acknowledged: int
    why: str


def find_loss(directory: Path) -> Loss | None:
    """Return what accepting the loss would give up, None if nothing is lost. Changes nothing."""
    reader, damaged = salvaged(Layout(directory).log)
    try:
        return _assess(reader, read_mark(Layout(directory).mark), damaged).loss
    finally:
        reader.close()


def accept_loss(
    directory: Path, *, reason: str, actor: str, voter: str, now_ms: int
) -> tuple[Loss, Stored]:
    """Cut the log behind its last sound record and append LossAccepted under a new generation.

    `actor` is the operator, `voter` this voter's name. Raises EventStoreError if nothing is lost,
    LogInUse, NotOurLog or CorruptLog if not even its beginning can be read. After a crash it may be
    called again.
    """
    layout = Layout(directory)
    lock = WriterLock(layout.lock)
    try:
        reader, damaged = salvaged(layout.log)
        try:
            mark = read_mark(layout.mark)
            sound = _assess(reader, mark, damaged)
            if sound.loss is None:
                raise EventStoreError("nothing is lost; the log is sound", hint="just start it")
            if sound.last is None:
                told = f"not even the first batch can be read: {sound.loss.why}"
                raise CorruptLog(told, seq=1, hint="restore the directory from a copy")
            event = LossAccepted(
                reason=reason,
                last_seq=sound.loss.kept,
                mark_seq=sound.loss.acknowledged,
                mark_hash=mark.hash.hex() if mark else "",
            )
            draft = Draft(stream=STREAM, event=event, actor=actor)
            before = max(reader.meta.epoch, mark.epoch if mark else reader.meta.epoch)
            epoch = Epoch(before.gen + 1, before.term + 1)
            return sound.loss, _rewrite(layout, reader, sound, draft, epoch, voter, now_ms)
        finally:
            reader.close()
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class _Sound:
    """The part of the log that can be trusted."""

    last: Stored | None  # the last record of the last whole batch
    end: int  # where the log ends, as far as it can be told
    versions: dict[str, int]
    loss: Loss | None


def _assess(reader: LogReader, mark: Mark | None, damaged: str) -> _Sound:
    last: Stored | None = None
    end = supposed_end(reader, mark)
    versions: dict[str, int] = {}
    batch: list[Stored] = []
    why = damaged
    try:
        if mark is None:
            raise CorruptLog("the ack mark is missing or unreadable")
        check_mark(reader, reader.meta, mark)
    except EventStoreError as error:
        why = str(error)
    try:
        start = genesis_hash(reader.meta.cluster_id)
        rows = _readable(reader, 1, end)
        for stored in walk(rows, first=1, last=end, previous=start):
            batch.append(stored)
            if stored.record.index + 1 == stored.record.count:
                versions.update((s.record.stream, s.record.version) for s in batch)
                last, batch = stored, []
    except CorruptLog as error:
        why = str(error)
    kept = last.record.seq if last else 0
    acknowledged = mark.seq if mark else kept
    return _Sound(last, end, versions, Loss(kept, acknowledged, why) if why else None)


def _rewrite(
    layout: Layout,
    reader: LogReader,
    sound: _Sound,
    draft: Draft,
    epoch: Epoch,
    voter: str,
    now_ms: int,
) -> Stored:
    """Put a log of the sound records and `draft` in the old one's place; return the new record."""
    meta, last = reader.meta, sound.last
    kept = last.record.seq if last else 0
    appended = Appended(
        seq=kept,
        last_hash=last.hash if last else genesis_hash(meta.cluster_id),
        versions=dict(sound.versions),
        clock=HybridClock(last.record.time if last else 0),
        origin=voter,
        draw_bytes=os.urandom,
    )
    placed = appended.place(Batch(drafts=(draft,)), epoch, now_ms)
    assert not isinstance(placed, Refused), "one small record is never too large"
    rows = chain[RowValues](_sound_rows(reader, kept), placed.entry.rows())
    renewed = meta._replace(epoch=epoch, voted_for=voter, voted_inc=meta.inc)
    replace_file(layout, renewed, rows, orphans=_readable(reader, kept + 1, sound.end))
    gen, term = epoch
    mark = Mark(appended.seq, appended.hash, gen, term, voter, meta.inc, meta.inc)
    AckMark.create(layout.mark, mark).close()
    return placed.entry.records[0]


def _readable(reader: LogReader, first: int, last: int) -> Iterator[Row]:
    """Yield the rows first..last for as long as the file gives them.

    Each is asked for by itself: in a range, a page that is half there adds rows of another place,
    repeats some and leaves others out, without a word.
    """
    with suppress(CorruptLog):
        for seq in range(first, last + 1):
            yield from (row for row in reader.rows(seq, seq) if row.seq == seq)


def _sound_rows(reader: LogReader, kept: int) -> Iterator[RowValues]:
    """Yield the rows up to `kept`, each checked once more as it is taken over."""
    start = genesis_hash(reader.meta.cluster_id)
    for stored in walk(_readable(reader, 1, kept), first=1, last=kept, previous=start):
        record = stored.record
        yield record.seq, record.gen, record.term, stored.hash, stored.encoded

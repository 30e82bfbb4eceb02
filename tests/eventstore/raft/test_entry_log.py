from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import CorruptLog
from eventstore.raft.entry import Entry
from eventstore.raft.entry_log import EntryLog
from eventstore.record import Epoch
from tests.eventstore.raft.bench import START, Rows, following
from tests.eventstore.storage_lab import Happened

GENESIS = START.previous


def log_of(rows: Rows, *, committed: int = 0, kept_bytes: int = 0) -> EntryLog:
    """Return a log whose memory lets go of whatever it may."""
    last = rows.rows[-1].last
    return EntryLog(rows, genesis=GENESIS, last=last, committed=committed, kept_bytes=kept_bytes)


def test_a_late_report_does_not_count_what_was_cut_off() -> None:
    """Rows that a ticket made durable are not durable if they were cut off meanwhile."""
    log = log_of(Rows([START]), committed=START.last)
    old = following(START, Epoch(1, 1))
    log.append(old)
    log.hand_over(1)
    log.truncate(old.first)
    new = following(START, Epoch(1, 2))
    log.append(new)
    log.on_durable(1)
    assert log.durable == START.last
    assert log.hand_over(2) == (old.first, (new,))
    log.on_durable(2)
    assert log.durable == new.last


def test_nothing_committed_is_cut_off() -> None:
    """R6."""
    with pytest.raises(CorruptLog):
        log_of(Rows([START]), committed=START.last).truncate(1)


def test_what_never_reached_the_disk_is_not_asked_to_be_cut_off() -> None:
    """An entry that was not handed over is just forgotten."""
    log = log_of(Rows([START]))
    old = following(START, Epoch(1, 1))
    log.append(old)
    log.truncate(old.first)
    assert not log.unwritten


def test_what_found_no_room_is_forgotten_and_cut_off_again() -> None:
    """The truncation that was in the failed transaction is not lost."""
    old = following(START, Epoch(1, 1))
    log = log_of(Rows([START, old]), committed=START.last)
    log.truncate(old.first)
    new = following(START, Epoch(1, 2))
    log.append(new)
    log.hand_over(1)
    assert log.drop_unwritten() == new.first
    assert log.hand_over(2) == (old.first, ())


@pytest.mark.property
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=12), st.data())
def test_agreement_is_the_last_end_up_to_seq_and_epoch(
    shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """The binary search finds what the definition says, whatever is in memory and what is not."""
    rows: list[Entry] = [START]
    term = 1
    for count, step in shapes:
        term += step
        rows.append(following(rows[-1], Epoch(1, term), *[Happened()] * count))
    stored = data.draw(st.integers(1, len(rows)))
    log = log_of(Rows(rows[:stored]))
    for entry in rows[stored:]:
        log.append(entry)
    seq = data.draw(st.integers(0, rows[-1].last + 2))
    epoch = Epoch(1, data.draw(st.integers(0, term + 1)))
    ends = [e.last for e in rows if e.last <= seq and e.epoch <= epoch]
    assert log.agreement(seq, epoch).seq == max(ends, default=0)


@pytest.mark.property
@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 4000))
def test_memory_lets_go_only_of_what_the_disk_has(count: int, durable: int, kept: int) -> None:
    """Every entry can be had, from memory or from the disk."""
    rows = Rows([START])
    log = log_of(rows, committed=0, kept_bytes=kept)
    entries = [START]
    for ticket in range(1, count + 1):
        entries.append(following(entries[-1], Epoch(1, 1)))
        log.append(entries[-1])
        rows.rows += log.hand_over(ticket)[1]
    log.committed = log.last.seq
    log.on_durable(min(durable, count))
    del rows.rows[1 + min(durable, count) :]
    for entry in entries:
        assert log.entry_at(entry.first) == entry
        assert log.entries(entry.first, 1)[0] == entry

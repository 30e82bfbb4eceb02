"""What the journal keeps, and what it costs."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest

from eventstore.packed import Packed
from eventstore.record import Epoch
from nodeagent.calls import DiskObserved, TaskOrder, TaskResult
from nodeagent.journal import (
    Accepted,
    Acknowledged,
    Ended,
    Entry,
    Journal,
    JournalFailed,
    Known,
    Noticed,
    Position,
    PromisedEpoch,
    Settled,
)

ORDER = TaskOrder(
    task="t1", call=Packed("probe", 1, msgspec.Raw(b"\x80")), resource="r", timeout_s=9.0
)
SEEN = DiskObserved(disk="d1", instance="i1", state="faulty", serial=4)


def reopen(journal: Journal) -> Journal:
    """Close a journal and open it again."""
    path = journal._path
    journal.close()
    return Journal(path)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.db")


def test_everything_is_read_again(journal: Journal) -> None:
    """Promise, position, tasks, what is known, observations and their serial survive."""
    result = TaskResult(task="t0", done=msgspec.Raw(b"\x01"))
    entries: list[Entry] = [
        PromisedEpoch(Epoch(2, 3)), Position(7), Accepted(8, ORDER), Ended(5, result),
        Known("disk", "d1", "faulty"), Noticed(SEEN),
    ]  # fmt: skip
    journal.write(entries)
    found = reopen(journal).read()
    assert found.promised == Epoch(2, 3)
    assert found.position == 7
    assert [(one.version, one.order.task) for one in found.accepted] == [(8, "t1")]
    assert [(one.version, bytes(one.result.done)) for one in found.ended] == [(5, b"\x01")]
    assert found.known == (Known("disk", "d1", "faulty"),)
    assert (found.observed, found.serial) == ((SEEN,), 4)


def test_a_result_takes_the_place_of_the_order(journal: Journal) -> None:
    """An ended task is not accepted any more; a settled one is gone."""
    journal.write([Accepted(1, ORDER)])
    journal.write([Ended(1, TaskResult(task="t1"))])
    assert journal.read().accepted == ()
    journal.write([Settled("t1"), PromisedEpoch(Epoch(1, 1))])
    assert journal.read().ended == ()


def test_serials_go_on_after_all_observations_are_acknowledged(journal: Journal) -> None:
    """The last serial is remembered even if no observation is left."""
    journal.write([Noticed(SEEN)])
    journal.write([Acknowledged(4), Known("disk", "d1", None)])
    found = reopen(journal).read()
    assert (found.observed, found.serial) == ((), 4)


def test_one_sync_for_each_write_and_none_for_what_may_be_lost(journal: Journal) -> None:
    """Any number of entries is one commit; lazy ones wait for the next."""
    journal.write([Accepted(1, ORDER), PromisedEpoch(Epoch(1, 1)), Position(1)])
    journal.write([Settled("t1"), Position(2)])
    assert journal.metrics.syncs == 1
    assert journal.read().accepted != ()
    journal.write([Known("disk", "d1", "ok")])
    assert journal.metrics.syncs == 2
    assert journal.read().accepted == ()
    assert journal.read().position == 2


def test_it_is_durable_by_its_settings(journal: Journal) -> None:
    """WAL and FULL, read back from the connection that writes."""
    assert journal._db.execute("PRAGMA journal_mode").get == "wal"
    assert journal._db.execute("PRAGMA synchronous").get == 2


def test_the_wal_is_moved_away_when_idle(journal: Journal) -> None:
    """A long WAL is empty after `tidy`, and nothing of it is lost."""
    for number in range(400):
        journal.write([Known("disk", f"d{number}", "x" * 2000)])
    wal = Path(f"{journal._path}-wal")
    assert wal.stat().st_size > 1_000_000
    journal.tidy()
    assert wal.stat().st_size == 0
    assert len(journal.read().known) == 400


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    """Neither another database nor another file; the error says what to do."""
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("PRAGMA application_id=7; CREATE TABLE t(x)")
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    for path in (other, garbage):
        with pytest.raises(JournalFailed) as refused:
            Journal(path)
        assert refused.value.hint


def test_a_full_disk_ends_the_agent_instead_of_acting(journal: Journal) -> None:
    """A write that fails raises JournalFailed, and nothing of it is remembered."""
    journal._db.execute("PRAGMA max_page_count=12")
    with pytest.raises(JournalFailed, match="full"):
        journal.write([Known("disk", f"d{n}", "x" * 4000) for n in range(50)])
    assert journal.read().known == ()
    journal.close()

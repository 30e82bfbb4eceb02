"""A voter on a real log: what it finds at its start, and what it tells."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eventstore.errors import LogInUse, NotOurLog
from eventstore.record import Record, Stored
from eventstore.replica import Committed, Outcome, Replica
from eventstore.storage.index_table import IndexTable, TableRow
from eventstore.voter.quorum import QuorumVoter
from tests.eventstore.storage_lab import CLUSTER, Lab, batch, fill


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "log")


def seqs(records: Sequence[Stored]) -> list[int]:
    return [stored.record.seq for stored in records]


def test_what_is_committed_is_read_back_after_a_restart(lab: Lab) -> None:
    """A committed record is there with the same bytes and hash when the log is opened again."""
    replica = lab.open()
    (outcome,) = lab.ask(replica, batch("a", "b", text="hello"))
    assert isinstance(outcome, Committed)
    replica.close()
    again = lab.open(verify_whole=True)
    assert tuple(again.read(*_span(outcome))) == outcome.records
    assert (again.version("a"), again.version("b"), again.version("c")) == (1, 1, 0)
    again.close()


def _span(outcome: Committed) -> tuple[int, int]:
    return outcome.records[0].record.seq, outcome.records[-1].record.seq


def test_a_voter_is_a_replica(lab: Lab) -> None:
    """It implements the protocol that all above the log sees."""
    replica = lab.open()
    as_replica: Replica = replica
    assert as_replica.cluster_id == CLUSTER
    replica.close()


def test_each_start_is_a_new_term_that_begins_with_its_no_op(lab: Lab) -> None:
    """The epoch rises at each start, and its first record says who leads."""
    heard: list[str] = []
    terms = []
    for _ in range(3):
        replica = lab.start()
        assert not replica.leadership.ready
        replica.on_committed(lambda records: heard.extend(s.record.kind for s in records))
        lab.run_until(lambda r=replica: r.leadership.ready)  # type: ignore[misc]  # a default
        terms.append(replica.leadership.epoch)
        replica.close()
    assert terms == [(1, 2), (1, 3), (1, 4)]
    assert heard == ["log.epoch-started"] * 3


def test_callbacks_come_in_order_before_the_answer_and_once(lab: Lab) -> None:
    """Fold first, then tell: on_committed hears each whole batch before its proposer does."""
    replica = lab.open()
    told: list[object] = []
    replica.on_committed(lambda records: told.append(seqs(records)))
    for n in range(3):
        replica.propose(batch("a", "b"), lambda _outcome, n=n: told.append(n))  # type: ignore[misc]  # a default
    assert told == [], "propose calls nobody back itself"
    lab.run_until(lambda: 2 in told)
    assert told == [[4, 5], 0, [6, 7], 1, [8, 9], 2]
    replica.close()


def test_a_callback_that_raises_does_not_swallow_the_next_batch(lab: Lab) -> None:
    """An error in a fold is the fold's; later batches are still told, none twice."""
    replica = lab.open()
    told: list[int] = []

    def fold(records: Sequence[Stored]) -> None:
        told.extend(seqs(records))
        if records[0].record.seq == 4:
            raise RuntimeError("a bug in a fold")

    replica.on_committed(fold)
    answers: list[Outcome] = []
    for _ in range(2):
        replica.propose(batch("a"), answers.append)
    with pytest.raises(RuntimeError):
        lab.run_until(lambda: False)
    lab.run_until(lambda: bool(answers))
    assert told == [4, 5]
    replica.close()


def test_a_second_writer_is_refused_and_told_who_the_first_is(lab: Lab) -> None:
    """Opened twice: the second gets LogInUse, the first goes on."""
    replica = lab.open()
    with pytest.raises(LogInUse, match=str(os.getpid())):
        lab.start()
    assert isinstance(lab.ask(replica, batch("a"))[0], Committed)
    replica.close()


def test_another_clusters_log_and_no_log_are_refused(lab: Lab, tmp_path: Path) -> None:
    """A log is opened only as the one it is."""
    with pytest.raises(NotOurLog, match=CLUSTER):
        lab.start(cluster_id="another")
    with pytest.raises(NotOurLog) as caught:
        lab.start(tmp_path / "nothing")
    assert "gnt-cluster init" in caught.value.hint
    assert not (tmp_path / "nothing").exists()


def test_the_index_is_made_anew_when_it_is_missing_damaged_or_of_another_log(lab: Lab) -> None:
    """The index is a cache: whatever happens to it, versions and keys are right after a start."""
    fill(lab, 30)
    index = lab.directory / "index.sqlite"

    def another() -> None:
        db = sqlite3.connect(index)
        with db:
            db.execute("UPDATE progress SET hash = x'00'")
            db.execute("UPDATE stream SET version = 1")
        db.close()

    for spoil in (index.unlink, lambda: index.write_bytes(b"nonsense" * 900), another):
        spoil()
        replica = lab.open()
        assert replica.version("s/0") == 10
        (repeated,) = lab.ask(replica, batch("s/1", key="k1"))
        assert isinstance(repeated, Committed)
        assert repeated.repeated
        replica.close()


def _seen_rows(record: Record) -> Iterator[TableRow]:
    yield {"stream": record.stream, "last": record.seq}
    if record.version == 1:
        yield {"stream": record.stream, "first": record.seq}


def test_tables_of_other_rooms_are_indexed(lab: Lab) -> None:
    """A registered table follows the log; a row is updated column by column by its key."""
    table = IndexTable(
        name="seen",
        columns={"stream": str, "first": int, "last": int},
        key="stream",
        rows=_seen_rows,
    )
    replica: QuorumVoter = lab.open(tables=[table])
    lab.ask(replica, batch("a"), batch("b"), batch("a"))
    assert replica.indexer.wait_for(replica.committed, 20)
    db = sqlite3.connect(lab.directory / "index.sqlite")
    assert list(db.execute("SELECT * FROM seen WHERE stream IN ('a', 'b') ORDER BY 1")) == [
        ("a", 4, 6),
        ("b", 5, 5),
    ]
    db.close()
    replica.close()

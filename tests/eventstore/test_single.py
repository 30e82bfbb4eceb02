from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from eventstore.clock import COUNTER_BITS
from eventstore.errors import EventStoreError, LogInUse, NotOurLog, StorageFailed
from eventstore.idempotency import KEPT_MS
from eventstore.index_table import IndexTable, TableRow
from eventstore.record import ANY_VERSION, Batch, Record, Stored
from eventstore.replica import Committed, Outcome, Refused, Replica, Unknown
from eventstore.single import SingleVoter, open_single
from tests.eventstore.failing_disk import FailingDisk
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


def test_a_single_voter_is_a_replica(lab: Lab) -> None:
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
        replica = open_single(lab.directory, voter="v1", post=lab.post)
        assert not replica.leadership.ready
        replica.on_committed(lambda records: heard.extend(s.record.kind for s in records))
        lab.run_until(lambda r=replica: r.leadership.ready)  # type: ignore[misc]  # a default
        terms.append(replica.leadership.epoch)
        replica.close()
    assert terms == [(1, 2), (1, 3), (1, 4)]
    assert heard == ["log.epoch-started"] * 3


def test_proposals_are_pipelined_against_what_is_appended(lab: Lab) -> None:
    """The second of two appends may expect the version that the first one makes."""
    replica = lab.open()
    good = [batch("a", expected={"a": n}) for n in range(20)]
    outcomes = lab.ask(replica, *good, batch("a", expected={"a": 7}))
    assert all(isinstance(outcome, Committed) for outcome in outcomes[:-1])
    clash = outcomes[-1]
    assert isinstance(clash, Refused)
    assert (clash.code, clash.stream, clash.expected, clash.actual) == ("clash", "a", 7, 20)
    replica.close()


def test_a_clash_in_any_stream_refuses_the_whole_batch(lab: Lab) -> None:
    """All or none: one stream at another version and nothing is appended."""
    replica = lab.open()
    before = replica.committed
    expected = {"a": 0, "b": 1, "c": ANY_VERSION}
    (outcome,) = lab.ask(replica, batch("a", "b", "c", expected=expected))
    assert isinstance(outcome, Refused)
    assert outcome.stream == "b"
    assert (replica.committed, replica.version("a")) == (before, 0)
    replica.close()


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


def test_a_repeated_key_finds_what_it_did_the_first_time(lab: Lab) -> None:
    """At once, after commit, after a restart: the same records, marked as a repetition."""
    replica = lab.open()
    asked = batch("a", "b", key="k1", expected={"a": 0})
    first, second = lab.ask(replica, asked, asked)
    (third,) = lab.ask(replica, asked)
    replica.close()
    replica = lab.open()
    (fourth,) = lab.ask(replica, asked)
    assert isinstance(first, Committed)
    assert not first.repeated
    for later in (second, third, fourth):
        assert later == Committed(first.records, repeated=True)
    assert replica.version("a") == 1
    replica.close()


def test_a_key_belongs_to_its_actor(lab: Lab) -> None:
    """Nobody can take away another's request by using its key first."""
    replica = lab.open()
    mine, yours = lab.ask(
        replica, batch("a", key="k", actor="node:1"), batch("a", key="k", actor="node:2")
    )
    assert isinstance(mine, Committed)
    assert isinstance(yours, Committed)
    assert not yours.repeated
    replica.close()


def test_a_key_of_last_week_is_expired(lab: Lab) -> None:
    """After seven days by record time a key is refused; until then it is known."""
    replica = lab.open()
    lab.ask(replica, batch("a", key="k"))
    lab.now_ms += KEPT_MS - 1000
    (known,) = lab.ask(replica, batch("a", key="k"))
    lab.now_ms += 2000
    (expired,) = lab.ask(replica, batch("a", key="k"))
    assert isinstance(known, Committed)
    assert isinstance(expired, Refused)
    assert expired.code == "key-expired"
    assert expired.hint
    replica.close()


def test_batches_beyond_the_limits_are_refused(lab: Lab) -> None:
    """A record over 512 KiB and a batch over 1 MiB are refused with what the limit is."""
    replica = lab.open()
    large, many, fine = lab.ask(
        replica,
        batch("a", text="x" * (512 << 10)),
        batch(*["a"] * 3, text="x" * (400 << 10)),
        batch("a", expected={"a": 0}),
    )
    assert isinstance(large, Refused)
    assert isinstance(many, Refused)
    assert (large.code, many.code) == ("too-large", "too-large")
    assert isinstance(fine, Committed), "nothing of what was refused is appended"
    replica.close()


@pytest.mark.parametrize("bad", [Batch(drafts=()), batch(""), batch("a\0b"), batch("x" * 256)])
def test_a_batch_that_no_caller_may_make_is_an_error(lab: Lab, bad: Batch) -> None:
    """Our own mistakes raise at once and change nothing."""
    replica = lab.open()
    with pytest.raises(ValueError):
        replica.propose(bad, lambda _outcome: None)
    assert isinstance(lab.ask(replica, batch("a", expected={"a": 0}))[0], Committed)
    replica.close()


def test_time_in_the_log_does_not_follow_a_clock_that_is_set_back(lab: Lab) -> None:
    """Also across a restart, each record's time is after the one before."""
    replica = lab.open()
    lab.ask(replica, batch("a"))
    replica.close()
    lab.now_ms -= 3_600_000
    replica = lab.open()
    lab.ask(replica, batch("a"), batch("a"))
    times = [stored.record.time for stored in replica.read(1, replica.committed)]
    assert times == sorted(set(times))
    assert times[-1] >> COUNTER_BITS > lab.now_ms
    replica.close()


def test_two_syncs_however_many_proposals_wait(lab: Lab) -> None:
    """What waits during a sync shares the next one: log, then mark, and no more."""
    replica = lab.open(sync_delay_s=0.2)
    before = replica.metrics.sequential_syncs
    outcomes = lab.ask(replica, *[batch("a") for _ in range(50)])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    groups = replica.metrics.log_commits
    assert replica.metrics.sequential_syncs - before <= 4, "one group under way, one that waited"
    assert replica.metrics.mark_syncs == groups
    assert replica.metrics.last_fsync_ms >= 200
    replica.close()


def test_a_second_writer_is_refused_and_told_who_the_first_is(lab: Lab) -> None:
    """Opened twice: the second gets LogInUse, the first goes on."""
    replica = lab.open()
    with pytest.raises(LogInUse, match=str(os.getpid())):
        open_single(lab.directory, voter="v1", post=lab.post)
    assert isinstance(lab.ask(replica, batch("a"))[0], Committed)
    replica.close()


def test_another_clusters_log_and_no_log_are_refused(lab: Lab, tmp_path: Path) -> None:
    """A log is opened only as the one it is."""
    with pytest.raises(NotOurLog, match=CLUSTER):
        open_single(lab.directory, voter="v1", post=lab.post, cluster_id="another")
    with pytest.raises(NotOurLog) as caught:
        open_single(tmp_path / "nothing", voter="v1", post=lab.post)
    assert "gnt-cluster init" in caught.value.hint
    assert not (tmp_path / "nothing").exists()


def _disk_full(replica: SingleVoter) -> bool:
    return replica.metrics.disk_full


def _ready(replica: SingleVoter) -> bool:
    return replica.leadership.ready


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(lab: Lab) -> None:
    """Disk full is a state: pipelined proposals are refused, reading works, room ends it."""
    with FailingDisk("full-disk") as disk:
        replica = lab.open(vfs="full-disk")
        lab.ask(replica, batch("a", key="k0"))
        disk.fail_writes(apsw.FullError("no room"))
        refused = lab.ask(replica, batch("a", key="k1"), batch("b"), batch("a", key="k1"))
        assert [getattr(outcome, "code", None) for outcome in refused] == ["disk-full"] * 3
        assert _disk_full(replica)
        assert (replica.version("a"), replica.version("b")) == (1, 0)
        assert len(replica.read(1, 99)) == replica.committed
        disk.heal()
        (after,) = lab.ask(replica, batch("a", key="k1", expected={"a": 1}))
        assert isinstance(after, Committed)
        assert not after.repeated
        assert not _disk_full(replica)
        replica.close()
    assert lab.open(verify_whole=True).version("a") == 2


def test_a_reign_that_began_without_room_begins_when_there_is_some(lab: Lab) -> None:
    """A voter that starts on a full disk leads as soon as an append finds room."""
    with FailingDisk("full-at-start") as disk:
        disk.fail_writes(apsw.FullError("no room"), after=2)  # SQLite recovers the WAL first
        replica = open_single(lab.directory, voter="v1", post=lab.post, vfs="full-at-start")
        outcomes: list[Outcome] = []
        replica.propose(batch("a"), outcomes.append)
        lab.run_until(lambda: bool(outcomes))
        assert isinstance(outcomes[0], Refused)
        assert not _ready(replica)
        disk.heal()
        (later,) = lab.ask(replica, batch("a"))
        assert isinstance(later, Committed)
        assert _ready(replica)
        kinds = [stored.record.kind for stored in replica.read(3, 9)]
        assert kinds == ["log.epoch-started", "test.happened"]
        replica.close()


@pytest.mark.parametrize("broken", ["fail_writes", "fail_syncs"])
def test_a_disk_error_ends_it_and_open_proposals_are_unknown(lab: Lab, broken: str) -> None:
    """After EIO nothing is ever said to be committed again, and the process is told to end."""
    fatal: list[EventStoreError] = []
    with FailingDisk(broken) as disk:
        replica = lab.open(vfs=broken, fatal=fatal.append)
        getattr(disk, broken)(apsw.IOError("input/output error"))
        outcomes = lab.ask(replica, batch("a"), batch("b"))
        assert all(isinstance(outcome, Unknown) for outcome in outcomes)
        assert [type(error) for error in fatal] == [StorageFailed]
        assert not replica.leadership.here
        (refused,) = lab.ask(replica, batch("a"))
        assert isinstance(refused, Refused)
        assert refused.code == "not-leader"
        replica.close()


def test_closing_leaves_no_proposal_without_an_answer(lab: Lab) -> None:
    """What was proposed is durable after close, and its proposer is told, or told unknown."""
    replica = lab.open()
    outcomes: list[Outcome] = []
    replica.propose(batch("a"), outcomes.append)
    replica.close()
    lab.run_posted()
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Unknown)
    again = lab.open()
    assert again.version("a") == 1
    again.close()


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
    replica: SingleVoter = lab.open(tables=[table])
    lab.ask(replica, batch("a"), batch("b"), batch("a"))
    assert replica.indexer.wait_for(replica.committed, 20)
    db = sqlite3.connect(lab.directory / "index.sqlite")
    assert list(db.execute("SELECT * FROM seen WHERE stream IN ('a', 'b') ORDER BY 1")) == [
        ("a", 4, 6),
        ("b", 5, 5),
    ]
    db.close()
    replica.close()

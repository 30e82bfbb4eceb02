"""Durable state: how often it is synced, and what becomes of a voter whose disk fails."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from eventstore.errors import EventStoreError, StorageFailed
from eventstore.replica import Committed, Refused, Unknown
from eventstore.storage.log_file import PAGE_BYTES
from eventstore.storage.log_reader import LogReader
from eventstore.voter import persister
from eventstore.voter.quorum import QuorumVoter
from tests.eventstore.failing_disk import FailingDisk
from tests.eventstore.storage_lab import Lab, batch


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "log")


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


def test_a_commit_writes_epoch_and_vote_only_where_they_changed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small append adds one page to the WAL; what a new reign changes is in the file as well."""
    monkeypatch.setattr(persister, "IDLE_S", 3600.0)  # no checkpoint between two looks
    wal, page = lab.directory / "log.sqlite-wal", 24 + PAGE_BYTES
    for _ in range(3):
        replica = lab.open()
        lab.ask(replica, batch("a"))
        with closing(LogReader(lab.directory / "log.sqlite")) as reader:
            assert reader.meta.epoch == replica.leadership.epoch
        before = wal.stat().st_size
        lab.ask(replica, batch("a"))
        assert wal.stat().st_size - before == page
        replica.close()


def _disk_full(replica: QuorumVoter) -> bool:
    return replica.metrics.disk_full


def _ready(replica: QuorumVoter) -> bool:
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
        lab.wait_for_room(replica)
        (after,) = lab.ask(replica, batch("a", key="k1", expected={"a": 1}))
        assert isinstance(after, Committed)
        assert not after.repeated
        assert not _disk_full(replica)
        replica.close()
    assert lab.open(verify_whole=True).version("a") == 2


def test_a_reign_that_began_without_room_begins_when_there_is_some(lab: Lab) -> None:
    """A voter that starts on a full disk leads as soon as there is room."""
    with FailingDisk("full-at-start") as disk:
        disk.fail_writes(apsw.FullError("no room"), after=2)  # SQLite recovers the WAL first
        replica = lab.start(vfs="full-at-start")
        lab.run_until(lambda: _disk_full(replica))
        (refused,) = lab.ask(replica, batch("a"))
        assert isinstance(refused, Refused)
        assert not _ready(replica)
        disk.heal()
        lab.run_until(lambda: _ready(replica))
        (later,) = lab.ask(replica, batch("a"))
        assert isinstance(later, Committed)
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

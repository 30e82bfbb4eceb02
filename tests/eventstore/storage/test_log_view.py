from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from eventstore.errors import NotOurLog
from eventstore.record import Record, Stored
from eventstore.storage.index_table import IndexTable
from eventstore.storage.log_view import LogView
from tests.eventstore.storage_lab import CLUSTER, ORIGIN, START_MS, Lab, batch, fill

COUNT = 100


def seqs(records: Iterable[Stored]) -> list[int]:
    return [stored.record.seq for stored in records]


@pytest.fixture(params=["indexed", "lagging", "missing", "damaged", "another"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[Stored]]:
    """A log with an index that follows, that is behind, that is gone or that is damaged."""
    lab = Lab(tmp_path / "log")
    fill(lab, COUNT // 2)
    index = lab.directory / "index.sqlite"
    assert not index.with_name("index.sqlite-wal").exists(), "a closed index is one whole file"
    old = index.read_bytes()
    lab.now_ms += 60_000
    records = fill(lab, COUNT // 2)
    if request.param == "lagging":
        index.write_bytes(old)
    elif request.param == "missing":
        index.unlink()
    elif request.param == "damaged":
        index.write_bytes(b"no database" * 1000)
    elif request.param == "another":
        other = Lab(tmp_path / "other")
        fill(other, COUNT + 50)
        index.write_bytes((other.directory / "index.sqlite").read_bytes())
    return lab.directory, records


def test_queries_answer_the_same_whatever_the_state_of_the_index(
    filled: tuple[Path, list[Stored]],
) -> None:
    """By seq, stream, job, time and key: what the definition says, with the index or without."""
    directory, records = filled
    with LogView(directory) as view:
        assert (view.cluster_id, view.origin, view.head) == (CLUSTER, ORIGIN, len(records))
        assert view.records(5, 9) == records[4:9]
        assert view.records(0, 10**9) == records
        stream = [s for s in records if s.record.stream == "s/1"]
        assert list(view.stream("s/1")) == stream
        assert list(view.stream("s/1", from_version=20)) == stream[19:]
        assert list(view.job(3)) == [s for s in records if s.record.job == 3]
        assert list(view.keyed("k7")) == [s for s in records if s.record.key == "k7"]
        assert list(view.stream("nothing")) == []


def test_time_finds_its_place_in_the_log(filled: tuple[Path, list[Stored]]) -> None:
    """seq_at is the last record up to a time; between has both ends."""
    directory, records = filled
    times = [stored.record.unix_ms for stored in records]
    with LogView(directory) as view:
        for at in (0, START_MS - 1, START_MS, START_MS + 30_000, START_MS + 60_000, 2**60):
            assert view.seq_at(at) == sum(time <= at for time in times)
        early = [s for s in records if s.record.unix_ms < START_MS + 60_000]
        assert list(view.between(START_MS, START_MS + 59_999)) == early


def test_a_registered_table_is_up_to_date(filled: tuple[Path, list[Stored]]) -> None:
    """A row of another room's table is merged with what the index does not hold yet."""

    def rows(record: Record) -> Iterable[dict[str, str | int]]:
        yield {"name": record.stream, "version": record.version}

    table = IndexTable(name="stream", columns={"name": str, "version": int}, key="name", rows=rows)
    directory, records = filled
    with LogView(directory) as view:
        row = view.lookup(table, "s/1")
        assert row is not None
        assert row["version"] == sum(s.record.stream == "s/1" for s in records)
        assert view.lookup(table, "nothing") is None


def test_a_view_reads_while_the_writer_writes(tmp_path: Path) -> None:
    """A view opened before sees what is committed after, without the writer's lock."""
    lab = Lab(tmp_path / "log")
    replica = lab.open()
    with LogView(lab.directory) as view:
        before = view.head
        lab.ask(replica, batch("a"))
        assert seqs(view.stream("a")) == [before + 1]
    replica.close()


def test_there_is_no_view_of_nothing(tmp_path: Path) -> None:
    """A directory without a log is NotOurLog, and stays empty."""
    with pytest.raises(NotOurLog):
        LogView(tmp_path)
    assert list(tmp_path.iterdir()) == []

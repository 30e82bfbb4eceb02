"""Ended jobs: listed from the index, told whole from their own records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.storage.log_view import LogView
from projections.job_state import Job
from projections.past_jobs import ALL, NAMED, NOT_ARCHIVED, ended_job, list_jobs, list_ops
from projections.state import Projector
from tests.projections.golden import every_kind
from tests.projections.log_on_disk import write_log

Told = tuple[LogView, dict[int, Job]]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    maker = every_kind()
    records = maker.records
    write_log(tmp_path, records)
    with LogView(tmp_path) as log:
        yield log, {job.id: job for job in Projector().apply(records)}


def test_an_ended_job_is_made_again_from_its_records(told: Told) -> None:
    """It equals the job that the whole log made, results, problems and feedback included."""
    log, ended = told
    assert len(ended) == 4
    for number, job in ended.items():
        assert ended_job(log, number) == job
    assert ended_job(log, 99) is None


def test_the_list_shows_each_ended_job_with_its_status(told: Told) -> None:
    """Status, times, priority and archived flag are those of the job; an open one has none."""
    log, ended = told
    assert log.index is not None
    listed = {row["id"]: row for row in log.index.db.query(list_jobs(ALL))}
    assert listed.keys() == ended.keys()
    for number, job in ended.items():
        row = listed[number]
        assert row["status"] == job.status
        assert row["priority"] == job.priority
        assert row["ended_ms"] == job.ended_ms
        assert row["started_ms"] == job.started_ms
        assert row["summary"] == ",".join(op.summary for op in job.ops)
    assert [bool(listed[number]["archived_ms"]) for number in sorted(listed)] == [
        False,
        True,
        False,
        False,
    ]


def test_only_the_jobs_that_are_asked_for_are_looked_at(told: Told) -> None:
    """By id, or those that are not archived; SQLite searches for them and scans no table."""
    log, ended = told
    assert log.index is not None
    db = log.index.db
    first, second, *later = sorted(ended)
    wanted: list[tuple[str, list[str], list[int]]] = [
        (NAMED, [f"[{later[0]},{second},99]"], [second, later[0]]),
        (NOT_ARCHIVED, [], [first, *later]),
    ]
    for which, values, expected in wanted:
        assert [row["id"] for row in db.query(list_jobs(which), values)] == expected
        assert [row["job"] for row in db.query(list_ops(which), values) if row["number"] == 0] == (
            expected
        )
        for sql in (list_jobs(which), list_ops(which)):
            plan = [row["detail"] for row in db.query(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert not [step for step in plan if step in ("SCAN job", "SCAN op")], plan


def test_a_job_that_is_open_has_no_status_yet(tmp_path: Path) -> None:
    """The index does not call a job ended while one of its opcodes is not."""
    maker = every_kind()
    first_end = next(
        at for at, stored in enumerate(maker.records) if stored.record.kind == "op.failed"
    )
    write_log(tmp_path, maker.records[: first_end + 1])  # the second opcode is still queued
    with LogView(tmp_path) as log:
        assert log.index is not None
        status = {row["id"]: row["status"] for row in log.index.db.query(list_jobs(ALL))}
    assert status == {1: "success", 2: None}

"""The past as the master reads it: what the index tells of jobs that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from commands.master.history import EndedJobs, History
from eventstore.replica import Replica
from eventstore.storage.index import IndexWriter
from eventstore.storage.layout import Layout
from eventstore.storage.log_view import LogView
from projections.tables import INDEX_TABLES
from tests.projections.golden import every_kind
from tests.projections.log_on_disk import write_log


@pytest.mark.parametrize("indexed", ["job.submitted", "op.failed"])
def test_jobs_that_end_while_they_are_listed_are_listed_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: str
) -> None:
    """The index goes on between the two queries that a list takes: each job is of one moment."""
    records = every_kind().records
    half = next(at for at, stored in enumerate(records) if stored.record.kind == indexed)
    write_log(tmp_path, records, index=False)
    writer = IndexWriter(Layout(tmp_path).index, INDEX_TABLES)
    writer.add(records[:half])
    with LogView(tmp_path) as view:
        assert view.index is not None
        history = History(view, cast(Replica, SimpleNamespace(committed=len(records))))
        before = _listed(history)
        query = view.index.db.query
        rest = [records[half:]]

        def and_then_the_rest(*words: Any) -> list[dict[str, Any]]:
            rows = list(query(*words))
            while rest:
                writer.add(rest.pop())
            return rows

        monkeypatch.setattr(view.index.db, "query", and_then_the_rest)
        assert _listed(history) == before
        assert len(_listed(history)) > len(before)
    writer.close()


@pytest.mark.parametrize("name", ["x", "9" * 30, "9" * 5000, "-1", ""])
def test_what_is_no_number_of_a_job_names_none(tmp_path: Path, name: str) -> None:
    """Not even one that no index could hold, and never all of them."""
    records = every_kind().records
    write_log(tmp_path, records)
    with LogView(tmp_path) as view:
        history = History(view, cast(Replica, SimpleNamespace(committed=len(records))))
        ended = EndedJobs(history)
        assert ended.rows(("id",), (name,), archived=True) == []
        assert [row.job.id for row in ended.rows(("id",), ("1", name), archived=True)] == [1]


def _listed(history: History) -> list[tuple[object, int]]:
    """Return each listed job's id, and how many opcodes it has."""
    rows: Iterable[Any] = history.ended_rows((), archived=True)
    return [(row["id"], len(row["opcodes"])) for row in rows]

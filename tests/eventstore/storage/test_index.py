from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.proofs.merkle import Tree, leaf_hash
from eventstore.record import Stored
from eventstore.storage.index import IndexWriter
from eventstore.storage.index_table import IndexTable
from tests.eventstore.storage_lab import Lab, fill

COUNT = 600


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    return fill(Lab(tmp_path_factory.mktemp("index") / "log"), COUNT)


def dump(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    lines = list(db.iterdump())
    db.close()
    return sorted(lines)


@pytest.mark.property
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.sets(st.integers(1, COUNT), max_size=6), reopen=st.booleans())
def test_the_index_does_not_depend_on_how_the_log_was_cut(
    records: list[Stored], tmp_path: Path, cuts: set[int], reopen: bool
) -> None:
    """In one go, in pieces, with restarts between: the same index, row for row."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for path in (whole, pieces):
        path.unlink(missing_ok=True)
    index = IndexWriter(whole)
    index.add(records)
    index.close()
    index = IndexWriter(pieces)
    points = [0, *sorted(cuts), len(records)]
    for first, last in pairwise(points):
        if first < last:
            index.add(records[first:last])
        if reopen:
            index.close()
            index = IndexWriter(pieces)
    index.close()
    assert dump(pieces) == dump(whole)


def test_the_root_is_that_of_the_records(records: list[Stored], tmp_path: Path) -> None:
    """What a checkpoint signs is the RFC 6962 root over the exact bytes."""
    tree = Tree()
    for stored in records:
        tree.append(leaf_hash(stored.encoded))
    index = IndexWriter(tmp_path / "index")
    index.add(records)
    assert index.root == (len(records), tree.root())
    index.close()


@pytest.mark.parametrize("column", ["frontier", "digest", "seq"])
def test_a_damaged_frontier_is_not_taken_up(
    records: list[Stored], tmp_path: Path, column: str
) -> None:
    """A wrong root must not be signed: the index is made anew instead."""
    path = tmp_path / "index"
    index = IndexWriter(path)
    index.add(records)
    index.close()
    db = sqlite3.connect(path)
    with db:
        value = "seq - 1" if column == "seq" else f"zeroblob(length({column}))"
        db.execute(f"UPDATE progress SET {column} = {value}")
    db.close()
    index = IndexWriter(path)
    assert index.seq == 0
    index.add(records)
    index.close()


def test_other_definitions_make_another_index(records: list[Stored], tmp_path: Path) -> None:
    """A table that changed, or came new, is filled from the beginning of the log."""
    path = tmp_path / "index"
    for version, seq in ((1, 0), (1, len(records)), (2, 0)):
        table = IndexTable(
            name="kinds",
            columns={"kind": str, "seq": int},
            key="kind",
            rows=lambda record: [{"kind": record.kind, "seq": record.seq}],
            version=version,
        )
        index = IndexWriter(path, [table])
        assert index.seq == seq
        if not seq:
            index.add(records)
        index.close()


@pytest.mark.parametrize("column", ["stream", "job", "key", "time_ms"])
def test_what_is_looked_up_often_is_found_by_an_index(
    records: list[Stored], tmp_path: Path, column: str
) -> None:
    """Also a job or a key, of which the index leaves out the records that bear none."""
    index = IndexWriter(tmp_path / "index")
    index.add(records)
    index.close()
    db = sqlite3.connect(tmp_path / "index")
    plan = db.execute(f"EXPLAIN QUERY PLAN SELECT seq FROM record WHERE {column} = ?", (3,))
    assert f"idx_record_{column}" in str(plan.fetchall())
    db.close()

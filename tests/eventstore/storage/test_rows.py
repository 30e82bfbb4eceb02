"""Runs of rows are joined, and nothing of them is lost, moved or mixed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.record import Epoch
from eventstore.storage.rows import RUN_ROWS, Change, Run, joined

Row = tuple[int, Epoch, bytes, bytes]


def run(first: int, count: int, term: int = 1) -> Run:
    """Return a run whose values say which row they belong to."""
    seqs = range(first, first + count)
    return Run(first, Epoch(1, term), [b"h%d" % n for n in seqs], [b"b%d" % n for n in seqs])


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return the rows of runs, one by one."""
    return [
        (seq, each.epoch, digest, encoded)
        for each in runs
        for seq, (digest, encoded) in enumerate(
            zip(each.hashes, each.encoded, strict=True), each.first
        )
    ]


@pytest.mark.property
@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(1, 4), max_size=4))))
def test_joining_changes_nothing(drawn: list[tuple[int, list[int]]]) -> None:
    """Cuts and rows come out in the order in which they went in, each row as it was."""
    end, term, changes = 1000, 1, []
    said: list[int | Row] = []
    for cut, counts in drawn:
        if cut:
            end, term = end - cut, term + 1
            said.append(end)
        runs = []
        for count in counts:
            term += count % 2
            runs.append(run(end, count, term))
            end += count
        said += rows(runs)
        changes.append(Change(end - sum(counts) if cut else 0, runs))
    done: list[int | Row] = []
    for step in joined(changes):
        done += rows([step]) if isinstance(step, Run) else [step]
    assert done == said


def test_what_follows_in_one_epoch_is_one_run() -> None:
    """Batches that follow each other are inserted together; another epoch begins another run."""
    changes = [Change(0, [run(1, 2), run(3, 1)]), Change(0, [run(4, 5), run(9, 1, term=2)])]
    steps = [step for step in joined(changes) if isinstance(step, Run)]
    assert [(step.first, len(step.encoded)) for step in steps] == [(1, 8), (9, 1)]


def test_a_joined_run_is_bounded() -> None:
    """A segment of any length goes by in runs, and not as a whole through the memory."""
    changes = (Change(0, [run(first, 100)]) for first in range(1, 100_000, 100))
    sizes = [len(step.encoded) for step in joined(changes) if isinstance(step, Run)]
    assert max(sizes) <= RUN_ROWS + 100
    assert len(sizes) < 30

"""What a transaction of the log does to its rows: cut off, then add, run by run (pure).

A run is rows that follow each other in one epoch. It is kept column by column, so that there is no
object for each row, and is inserted by one statement; so runs that follow each other are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from eventstore.record import Epoch

RUN_ROWS = 4000  # at most, in a run that was joined


class Run(NamedTuple):
    """Rows that follow each other in one epoch."""

    first: int  # seq
    epoch: Epoch
    hashes: Sequence[bytes]
    encoded: Sequence[bytes]


class Change(NamedTuple):
    """Rows to cut off, from this seq on (0: none), and then rows to add."""

    truncate_from: int
    runs: Sequence[Run]


def joined(changes: Iterable[Change]) -> Iterator[int | Run]:
    """Yield what to do, in order: a seq to cut off from, or a run to add.

    Between two cuts the rows of `changes` follow each other.
    """
    waiting: list[Run] = []
    count = 0
    for truncate_from, runs in changes:
        if truncate_from:
            yield from _join(waiting)
            yield truncate_from
            waiting, count = [], 0
        for run in runs:
            if waiting and (run.epoch != waiting[0].epoch or count >= RUN_ROWS):
                yield from _join(waiting)
                waiting, count = [], 0
            waiting.append(run)
            count += len(run.encoded)
    yield from _join(waiting)


def _join(runs: Sequence[Run]) -> Iterator[Run]:
    """Yield the one run that these are, or nothing."""
    if len(runs) < 2:
        yield from runs
        return
    hashes = tuple(chain.from_iterable(run.hashes for run in runs))
    encoded = tuple(chain.from_iterable(run.encoded for run in runs))
    yield Run(runs[0].first, runs[0].epoch, hashes, encoded)

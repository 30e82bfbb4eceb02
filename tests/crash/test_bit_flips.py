"""A bit flips in what a voter has on its disk: it is found out, or it does no harm.

Flips go into each kind of region in turn, in images of several moments of a voter's life: those
with a long WAL, and the last one, where all is in the main file.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eventstore.storage.ack_mark import SLOT_BYTES
from tests.crash.images import Files, PowerCut, Verdict, allowed_at, restart
from tests.crash.voter_life import Life, State, live

pytestmark = pytest.mark.acceptance

SEED = 77
PERSISTS = 40
MOMENTS = 12  # of the life, evenly spread
FLIPS = 8  # in each kind of region, at each moment
LOG, WAL, MARK = "log.sqlite", "log.sqlite-wal", "ack-mark"
PAGE = 4096
_WAL_HEAD, _FRAME_HEAD = 32, 24


class Region(NamedTuple):
    """A stretch of a file, of one kind."""

    kind: str
    file: str
    first: int
    last: int  # behind it


def moments(life: Life) -> Iterator[tuple[Files, list[State]]]:
    """Yield what is on the disk at some moments, and what the voter has said or may have done."""
    disk, wanted = PowerCut(life.start, random.Random(SEED)), len(life.steps) // MOMENTS
    for number, step in enumerate(life.steps, 1):
        disk.carry_out(step)
        if number % wanted == 0 or number == len(life.steps):
            yield disk.image("all"), allowed_at(life, number)[0]


def regions(files: Files) -> Iterator[Region]:
    """Yield the regions of the files, by what stands there."""
    log, wal = len(files[LOG]), len(files.get(WAL, b""))
    yield Region("header of the file", LOG, 0, 100)
    yield Region("first page", LOG, 100, min(PAGE, log))
    yield Region("pages", LOG, min(PAGE, log), log)
    if wal > _WAL_HEAD:
        yield Region("header of the WAL", WAL, 0, _WAL_HEAD)
        yield Region("header of a frame", WAL, _WAL_HEAD, _WAL_HEAD + _FRAME_HEAD)
        newest = wal - (wal - _WAL_HEAD) % (PAGE + _FRAME_HEAD) - PAGE
        yield Region("oldest page of the WAL", WAL, _WAL_HEAD + _FRAME_HEAD, _WAL_HEAD + PAGE)
        yield Region("newest page of the WAL", WAL, newest, newest + PAGE)
        yield Region("somewhere in the WAL", WAL, 0, wal)
    yield Region("slot of the mark", MARK, 0, 200)
    yield Region("other slot of the mark", MARK, SLOT_BYTES, SLOT_BYTES + 200)


def flipped(files: Files, region: Region, draw: random.Random) -> Files:
    """Return the files with one bit of the region the other way round."""
    content = bytearray(files[region.file])
    content[draw.randrange(region.first, region.last)] ^= 1 << draw.randrange(8)
    return {**files, region.file: bytes(content)}


@pytest.mark.timeout(240)
def test_no_flipped_bit_makes_a_voter_vote_that_lacks_what_it_said(
    tmp_path: Path, scratch: Path
) -> None:
    """Wherever a bit flips, the voter refuses to start, or recovers without a vote, or has all that
    it said; and each of the three is seen."""
    draw = random.Random(SEED)
    life = live(tmp_path / "voter", seed=SEED, persists=PERSISTS)
    seen = {verdict: Counter[str]() for verdict in Verdict}
    for files, allowed in moments(life):
        for region in regions(files):
            if region.first == region.last:
                continue
            for _ in range(FLIPS):
                verdict = restart(flipped(files, region, draw), scratch, allowed)
                seen[verdict][region.kind] += 1
    assert not seen[Verdict.LACKING], seen
    assert seen[Verdict.WHOLE], "a bit that nobody needs"
    assert seen[Verdict.REFUSED]["pages"], "a record that does not chain"
    assert seen[Verdict.RECOVERING]["newest page of the WAL"], "what looks like a torn tail"

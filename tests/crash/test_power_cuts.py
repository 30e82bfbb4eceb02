"""Power is cut after any write of a voter's life: what it said is there, or it does not vote.

python -m pytest tests/crash                                5,000 images and more, the control
CAIRN_CRASH_IMAGES=200000 python -m pytest tests/crash      a long run
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.images import PowerCut, Verdict, allowed_at, restart
from tests.crash.recording_disk import Synced, Wrote
from tests.crash.voter_life import Life, live

pytestmark = pytest.mark.acceptance

IMAGES = int(os.environ.get("CAIRN_CRASH_IMAGES", "5000"))
PERSISTS = 28  # in one life
SEED = 20_261_122


def cut_everywhere(life: Life, scratch: Path, *, seed: int) -> Counter[Verdict]:
    """Cut power after each step of a life, in each way, and count what its voter then does."""
    disk, seen = PowerCut(life.start, random.Random(seed)), Counter[Verdict]()
    for steps in range(len(life.steps) + 1):
        if steps:
            disk.carry_out(life.steps[steps - 1])
        allowed, may_recover = allowed_at(life, steps)
        for choice in disk.ways():
            verdict = restart(disk.image(choice), scratch, allowed)
            if verdict is Verdict.RECOVERING and not may_recover:
                verdict = Verdict.LACKING  # nothing was cut off: something is gone
            seen[verdict] += 1
    return seen


@pytest.mark.timeout(240 + IMAGES // 20)
def test_a_voter_has_what_it_said_wherever_power_is_cut(tmp_path: Path, scratch: Path) -> None:
    """Records, epoch and vote are there after any write, whichever unsynced sectors made it to the
    disk; the chain is sound; what was under way is there whole or not at all."""
    seen = Counter[Verdict]()
    for seed in itertools.count(SEED):
        life = live(tmp_path / f"voter-{seed}", seed=seed, persists=PERSISTS)
        seen += cut_everywhere(life, scratch, seed=seed)
        assert not seen[Verdict.LACKING], f"life {seed}: {seen}"
        assert not seen[Verdict.REFUSED], f"life {seed}: {seen}"
        if seen.total() >= IMAGES:
            break
    assert 0 < seen[Verdict.RECOVERING] < seen.total() / 10, "only between a cut and its mark"


def test_the_cuts_find_a_commit_that_is_not_synced(tmp_path: Path, scratch: Path) -> None:
    """The control: with synchronous=NORMAL the same cuts do lose what was said."""
    life = live(tmp_path / "voter", seed=SEED, persists=20, full_sync=False)
    seen = cut_everywhere(life, scratch, seed=SEED)
    lost = seen[Verdict.LACKING] + seen[Verdict.RECOVERING]
    assert lost > seen.total() / 10, seen


def test_a_word_comes_after_the_mark_and_the_mark_after_the_log(tmp_path: Path) -> None:
    """Whatever is said: the log's sync, then the mark's, and only then the word."""
    life = live(tmp_path / "voter", seed=SEED, persists=PERSISTS)
    assert life.said
    for at, _ticket in life.said:
        *_, synced, marked, mark_synced = life.steps[:at]
        assert (synced, mark_synced) == (Synced("log.sqlite-wal"), Synced("ack-mark"))
        assert isinstance(marked, Wrote)
        assert marked.file == "ack-mark"

"""Three and five voters, real processes, under faults and a load of clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.acceptance.storm import Storm
from tools.lab import wires

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

SEED = 20_261_122


def weather(directory: Path, voters: int, faults: Sequence[str], *, apart: bool) -> None:
    """Let these faults pass over a lab, one after the other."""
    lab = LiveLab(directory / "lab")
    try:
        lab.up(nodes=voters, voters=voters, apart=apart)
        storm = Storm(lab, directory / "notes", seed=SEED)
        try:
            for name in faults:
                storm.faults[name]()
            assert storm.settle() == []
        finally:
            storm.end()
    finally:
        lab.down()


def test_three_voters_killed_and_stopped(tmp_path: Path) -> None:
    """What was acknowledged stands once, in order, on every voter; an old master that wakes up
    changes nothing; every job ends once."""
    weather(tmp_path, 3, ["kill the leader", "stop the leader", "kill followers"], apart=False)


@pytest.mark.skipif(bool(wires.why_not()), reason=wires.why_not())
def test_five_voters_cut_apart(tmp_path: Path) -> None:
    """The same through halves, one-way cuts, a bridge and the death of the leader; who hears all
    but the leader does not depose it."""
    faults = ["cut off the leader", "a deaf follower", "a mute leader", "two halves and a bridge",
              "kill the leader"]  # fmt: skip
    weather(tmp_path, 5, faults, apart=True)

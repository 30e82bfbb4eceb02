"""Three and five voters, real processes, under faults and a load of clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.acceptance.storm import Storm
from tools.lab import wires

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

SEED = 20_261_122


def test_three_voters_killed_and_stopped(tmp_path: Path) -> None:
    """What was acknowledged stands once, in order, on every voter; an old master that wakes up
    changes nothing; every job ends once, and whatever its tasks do is done once on the nodes."""
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=3, voters=3, lost_after_s=600.0)
        storm = Storm(lab, tmp_path / "notes", seed=SEED)
        try:
            for name in ("kill the leader", "stop the leader", "kill followers"):
                storm.faults[name]()
            assert storm.settle() == []
        finally:
            storm.end()
        assert storm.builder is not None
        assert storm.builder.done > 0
    finally:
        lab.down()


@pytest.mark.skipif(bool(wires.why_not()), reason=wires.why_not())
def test_five_voters_cut_apart(tmp_path: Path) -> None:
    """The log through halves, one-way cuts, a bridge and the death of the leader, which part the
    nodes' agents from the voters as well; who hears all but the leader does not depose it.

    Jobs with tasks are under such cuts in the long storms (make soak-lab) only: there a command was
    seen that was not done within four minutes, about once in ten storms, cause not found yet.
    """
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=5, voters=5, apart=True, lost_after_s=600.0)
        storm = Storm(lab, tmp_path / "notes", seed=SEED, builds=False)
        try:
            for name in (
                "cut off the leader", "a deaf follower", "a mute leader",
                "two halves and a bridge", "kill the leader",
            ):  # fmt: skip
                storm.faults[name]()
            assert storm.settle() == []
        finally:
            storm.end()
    finally:
        lab.down()

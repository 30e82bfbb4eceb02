"""A node leaves, and may come again: its vote first, then its daemon, then its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import until
from tests.replaycheck import check_replay
from tools.lab.founding import voting

VOTER = "master@node2"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture
def two(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LiveLab]:
    """A cluster of two nodes; the parameter says how many of them vote."""
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=2, voters=request.param)
        yield lab
        lab.stop()
        check_replay(lab.log)
    finally:
        lab.down()


def agent_log(lab: LiveLab, node: str) -> str:
    return (lab.layout.agent(node) / "agent.log").read_text()


@pytest.mark.parametrize("two", [2], indirect=True)
def test_one_of_two_voters_is_removed_and_added_again(two: LiveLab) -> None:
    """Without it the other one could do nothing; so its vote goes first. Its agent then waits for
    its next ticket without a word."""
    voter = two.pid(VOTER)
    assert voter is not None
    two.ok("gnt-node remove node2")
    two.wait_for_death(VOTER, voter)
    assert voting(two.layout) == ("node1",)
    until(lambda: "left the cluster" in agent_log(two, "node2"))
    said = agent_log(two, "node2").partition("left the cluster")[2]
    assert "ERROR" not in said
    assert not (two.layout.agent("node2") / "master").exists()
    two.ok("gnt-cluster add-tags alone")
    two.ok("gnt-node add node2")
    until(lambda: voting(two.layout) == ("node1", "node2"))
    failed = [row for row in two.rows("gnt-job list -o id,status,summary") if row[1] == "error"]
    assert not failed


@pytest.mark.parametrize("two", [1], indirect=True)
def test_a_leaving_node_whose_agent_dies_leaves_all_the_same(two: LiveLab) -> None:
    """Killed when it has agreed and before the leader has heard: it knows after the next start."""
    pid = two.pid("node2")
    assert pid is not None
    two.order("node2", "die", point="journaled")
    job = two.submit("gnt-node remove node2")
    two.wait_for_death("node2", pid)
    two.start("node2")
    two.ok(f"gnt-job wait {job}")
    until(lambda: "left the cluster" in agent_log(two, "node2"))
    assert not (two.layout.agent("node2") / "identity.json").exists()

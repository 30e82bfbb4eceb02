"""Two candidates and a witness, real processes: the loss of the leader needs no operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import Voters, until
from tests.replaycheck import check_replay

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", name="lab")
def two_and_a_witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A cluster of three nodes, two of which may lead; the third one is a witness."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("witness")) / "lab")
    try:
        lab.up(voters=2, max_voters=3)
        lab.ok("gnt-node modify --master-capable=no --vm-capable=no node3")
        lab.ok("gnt-cluster add-witness node3")
        yield lab
    finally:
        lab.down()


@pytest.fixture
def voters(lab: LiveLab) -> Iterator[Voters]:
    """The voters; afterwards all are up, level, and hold the same history."""
    voters = Voters(lab)
    until(lambda: is_witness(voters, "node3"))
    yield voters
    voters.restore()
    voters.compare()
    for node in voters.nodes:
        check_replay(voters.log(node))


def is_witness(voters: Voters, node: str) -> bool:
    status = voters.status(node)
    return status is not None and status.role == "witness"


def test_the_loss_of_the_leader_needs_no_operator(lab: LiveLab, voters: Voters) -> None:
    """The other candidate leads by the witness's vote, and takes orders at once."""
    old = voters.leader()
    told = lab.ok("gnt-log status")
    assert any(line.split()[:2] == ["node3", "witness"] for line in told.splitlines()), told
    lab.kill(voters.daemon(old))
    assert {voters.leader(), old} == {"node1", "node2"}
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:22")


def test_the_witness_brings_a_candidate_level_and_hands_over(lab: LiveLab, voters: Voters) -> None:
    """It alone holds what was acknowledged last: whoever comes back gets it, and leads."""
    leader = voters.leader()
    (other,) = {"node1", "node2"} - {leader}
    lab.kill(voters.daemon(other))
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:33")
    lab.kill(voters.daemon(leader))
    lab.start(voters.daemon(other))
    until(lambda: (s := voters.status(other)) is not None and s.role == "leader")
    assert "aa:00:33" in lab.ok("gnt-cluster info")
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:44")
    until(lambda: lab.ok("gnt-cluster getmaster").strip() == other)  # recorded soon after


def test_a_witness_that_is_removed_leaves_the_log(lab: LiveLab, voters: Voters) -> None:
    """It votes no more, its files go, and it may be one again."""
    lab.refuses("gnt-cluster add-witness node3", "a witness already", hint="gnt-log status")
    home = lab.layout.home(voters.daemon("node3"))
    lab.ok("gnt-cluster remove-witness node3")
    until(lambda: not home.exists())
    lab.ok("gnt-cluster add-witness node3")
    until(lambda: is_witness(voters, "node3"))

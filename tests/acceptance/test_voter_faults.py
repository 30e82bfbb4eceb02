"""Three voters, and what should not be done to them: refused or survived, and said why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.storage.log_view import LogView
from tests.acceptance.live_lab import CLUSTER, LiveLab
from tests.acceptance.voters import Voters, shorten, until
from tools.lab.founding import found_cluster

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

PREFIX = "gnt-cluster modify --mac-prefix=aa:00"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a few MiB, gone when the module is through."""
    assert os.geteuid() == 0, "a small file system can only be mounted as root"
    where = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture(scope="module", name="lab")
def four_nodes(tmp_path_factory: pytest.TempPathFactory, small_disk: Path) -> Iterator[LiveLab]:
    """Four nodes, of which three vote; the first one's log is on a small disk."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("faults")) / "lab")
    try:
        lab.up(nodes=4, voters=3, cluster="")
        lab.layout.master.parent.mkdir(parents=True, exist_ok=True)
        (small_disk / "master").mkdir()
        lab.layout.master.symlink_to(small_disk / "master")
        found_cluster(lab.layout, CLUSTER)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def voters(lab: LiveLab) -> Iterator[Voters]:
    """The voters; after each test all of them are up, level, and hold the same history."""
    voters = Voters(lab)
    voters.nodes = ("node1", "node2", "node3")
    yield voters
    voters.restore()
    voters.compare()


def role(voters: Voters, node: str) -> str:
    """What a voter says it is, "" if it does not answer."""
    status = voters.status(node)
    return status.role if status else ""


def members(voters: Voters) -> set[str]:
    """Who votes or learns, as the leader knows it."""
    status = voters.status(voters.leader())
    return {*status.voters, *status.learners} if status else set()


def leads(lab: LiveLab, voters: Voters, node: str) -> None:
    """Let this node's voter lead."""
    if voters.leader() != node:
        lab.ok(f"gnt-cluster master-failover {node}")
    until(lambda: lab.ok("gnt-cluster getmaster").strip() == node)


def test_a_leader_whose_disk_is_full_hands_over(
    lab: LiveLab, voters: Voters, small_disk: Path
) -> None:
    """Another leads and takes orders; with room again it follows, and nothing is missing."""
    leads(lab, voters, "node1")
    before = lab.pid("master")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        until(lambda: "leader" in {role(voters, "node2"), role(voters, "node3")})
        lab.ok(f"{PREFIX}:01")
        lab.ok(f"{PREFIX}:02")
        until(lambda: (s := voters.status("node1")) is not None and s.disk in ("low", "full"))
        assert "node1" in lab.ok("gnt-log status")
        assert lab.pid("master") == before, "a full disk is a state, not a crash"
    finally:
        filler.unlink()
    until(lambda: (s := voters.status("node1")) is not None and s.disk == "ok")
    voters.level()
    assert "aa:00:02" in lab.ok("gnt-cluster info")


def test_the_master_stays_a_candidate(lab: LiveLab, voters: Voters) -> None:
    """It is refused, with what to do first; then it is done, and nobody notices."""
    leads(lab, voters, "node3")
    with lab.unchanged():
        ran = lab.run("gnt-node modify --master-candidate=no --auto-promote node3")
    assert ran.status == 1
    assert "node3 is the master node" in ran.err
    assert "master-failover" in ran.hint


def test_a_node_that_is_down_is_no_voter_yet(lab: LiveLab, voters: Voters) -> None:
    """As a candidate it is waited for: the voters go on without it, and take it in afterwards."""
    lab.kill("node4")
    try:
        lab.ok("gnt-node modify --master-candidate=yes node4")
        until(lambda: ["node4", "C"] in lab.rows("gnt-node list -o name,role"))
        lab.ok(f"{PREFIX}:03")
        assert "node4" not in members(voters)
        lab.ok(f"{PREFIX}:04")
    finally:
        lab.start("node4")
    until(lambda: "node4" in members(voters))


def test_a_takeover_under_a_living_leader_is_refused(lab: LiveLab, voters: Voters) -> None:
    """While its own daemon runs, and while another leads: nothing is done, and it is said why."""
    node = voters.followers()[0]
    leader = voters.leader()
    home = lab.layout.home(voters.daemon(node))
    line = f"gnt-cluster master-failover --no-voting --reason x --yes-do-it --dir {home / 'log'}"
    ran = lab.run(line)
    assert ran.status != 0
    assert f"{leader} leads, and answers" in ran.err
    assert "it follows" in ran.hint
    lab.kill(voters.daemon(node))
    ran = lab.run(line)
    assert ran.status == 13
    assert f"{leader} leads, and answers" in ran.err
    lab.ok(f"{PREFIX}:05")


def test_what_others_hold_is_not_given_up(lab: LiveLab, voters: Voters) -> None:
    """A voter whose log was cut is not to accept the loss: started, it gets it back."""
    node = voters.followers()[0]
    log = voters.log(node)
    lab.kill(voters.daemon(node))
    with LogView(log) as view:
        shorten(log, view.head - 5)
    ran = lab.run(f"gnt-log accept-loss --dir {log} --reason x --yes-do-it")
    assert ran.status == 13
    assert "may hold what is lost here" in ran.err
    assert "start the master daemon" in ran.hint
    lab.start(voters.daemon(node))
    voters.level()
    until(lambda: f"{node}: recovered" in lab.ok("gnt-log status"))

"""Three voters on one machine, real processes: the leader dies, stands still, is asked to go."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from commands.api import Query, QueryReply
from eventstore.raft.state import Timing
from nodeagent.calls import TASK_REQUESTED
from shell.config import ClientConfig
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import WITHIN_S, Voters, task_counts, until
from tests.replaycheck import check_replay
from tools.lab.founding import wait_for_voters

WEB = "web1.example.net"
REPLACE = f"gnt-instance replace-disks -s {WEB}"
SLOW_S = 1.0
ADDRESS = "192.0.2.9"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", name="lab")
def three_voters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A cluster of three nodes that all vote, with one mirrored instance."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("voters")) / "lab")
    try:
        lab.up(voters=3)
        lab.ok(f"gnt-instance add -n node2:node3 -t drbd -B memory=512 -s 1G -o debian {WEB}")
        yield lab
    finally:
        lab.down()


@pytest.fixture
def voters(lab: LiveLab) -> Iterator[Voters]:
    """The voters; after each test all of them are up, level, and hold the same history."""
    voters = Voters(lab)
    yield voters
    voters.restore()
    shared = voters.compare()
    assert shared >= max(s.committed for node in voters.nodes if (s := voters.status(node)))
    for node in voters.nodes:
        check_replay(voters.log(node))


def running_task(lab: LiveLab, after: int) -> None:
    """Wait until a task is under way on some node."""
    lab.wait_for_kind(TASK_REQUESTED, after=after)


def test_a_running_job_survives_its_master(lab: LiveLab, voters: Voters) -> None:
    """SIGKILL of the leader: another leads, the job goes on, the command that waits succeeds."""
    for node in voters.nodes:
        lab.order(node, "slow", seconds=SLOW_S)
    old = voters.leader()
    head = voters.status(old)
    assert head is not None
    client = lab.command(*REPLACE.split())
    running_task(lab, head.committed)
    lab.kill(voters.daemon(old))
    new = voters.leader()
    assert new != old
    for node in voters.nodes:
        lab.order(node, "slow", seconds=0)
    output, _ = client.communicate(timeout=WITHIN_S)
    assert client.returncode == 0, output
    assert task_counts(voters.log(new)) == {(1, 1)}, "a task was asked for or ended twice"
    lab.start(voters.daemon(old))
    until(lambda: (s := voters.status(old)) is not None and s.role == "follower")


def test_a_leader_that_stood_still_changes_nothing(lab: LiveLab, voters: Voters) -> None:
    """SIGSTOP: another leads and takes orders; after SIGCONT the old one follows it."""
    old = voters.leader()
    lab.kill(voters.daemon(old), signal.SIGSTOP)
    try:
        others = [node for node in voters.nodes if node != old]
        until(lambda: any((s := voters.status(n)) and s.role == "leader" for n in others))
        lab.ok("gnt-cluster modify --candidate-pool-size=3 --mac-prefix=aa:00:22")
    finally:
        lab.kill(voters.daemon(old), signal.SIGCONT)
    until(lambda: (s := voters.status(old)) is not None and s.role == "follower")
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:33")


def test_a_leader_that_is_ended_hands_over(lab: LiveLab, voters: Voters) -> None:
    """SIGTERM: another leads before the old one is gone, and orders are taken at once."""
    old = voters.leader()
    lab.kill(voters.daemon(old), signal.SIGTERM)
    new = voters.leader()
    outputs = (
        lab.layout.output_of(voters.daemon(old)),
        lab.layout.home(voters.daemon(old)) / "master.out",
    )
    told = "".join(path.read_text() for path in outputs if path.exists())
    assert f"handed over to {new}" in told
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:66")


def test_a_planned_failover_loses_no_request(lab: LiveLab, voters: Voters) -> None:
    """master-failover: the named voter leads, and what is asked meanwhile is done."""
    target = voters.followers()[0]
    client = lab.command(*REPLACE.split())
    assert f"{target} leads now" in lab.ok(f"gnt-cluster master-failover {target}")
    output, _ = client.communicate(timeout=WITHIN_S)
    assert client.returncode == 0, output
    assert voters.leader() == target
    assert lab.ok("gnt-cluster getmaster").strip() == target
    assert target in lab.ok("gnt-cluster master-ping")


def test_a_voter_that_is_down_is_not_handed_over_to(lab: LiveLab, voters: Voters) -> None:
    """It is refused at once, by the leader, which goes on leading."""
    leader = voters.leader()
    dead = voters.followers()[0]
    lab.kill(voters.daemon(dead))

    def missed() -> bool:
        status = voters.status(leader)
        return status is not None and any(
            peer.name == dead and peer.heard_ms > 2 * Timing().election_min_ms
            for peer in status.peers
        )

    until(missed)
    lab.refuses(f"gnt-cluster master-failover {dead}", "does not answer", hint="gnt-log status")
    assert voters.leader() == leader


def test_a_minority_takes_no_orders_and_answers_reads(lab: LiveLab, voters: Voters) -> None:
    """With one voter of three nothing is written, and lists are shown as they were."""
    left, *others = voters.nodes
    before = lab.ok("gnt-node list -o name")
    for node in others:
        lab.kill(voters.daemon(node))
    until(lambda: (s := voters.status(left)) is not None and s.role != "leader")
    assert lab.run("gnt-cluster master-ping").status == 11
    assert lab.run("gnt-cluster getmaster").status == 11
    assert lab.ok("gnt-node list -o name") == before
    client = lab.command("gnt-cluster", "modify", "--mac-prefix=aa:00:44")
    status = voters.status(left)
    assert status is not None
    for node in others:
        lab.start(voters.daemon(node))
    output, _ = client.communicate(timeout=WITHIN_S)
    assert client.returncode == 0, f"what was asked meanwhile is done afterwards: {output}"


def test_every_voter_answers_reads(lab: LiveLab, voters: Voters) -> None:
    """The same list from each of them, as of the same record."""
    voters.level()
    query = Query(what="instance", fields=("name", "pnode"))
    session = lab.session()
    try:
        answers = [session.client.call("query", query, timeout_s=5, voter=n) for n in voters.nodes]
    finally:
        session.close()
    assert sum(answer.leads for answer in answers) == 1
    assert len({answer.decode(QueryReply).rows for answer in answers}) == 1


def test_a_client_told_of_one_voter_finds_the_others(lab: LiveLab, voters: Voters) -> None:
    """After one command its settings name all voters, so it survives the loss of that one."""
    known = msgspec.json.decode(lab.layout.client.read_bytes(), type=ClientConfig)
    leader = voters.leader()
    only = tuple(voter for voter in known.voters if voter.name == leader)
    poor = msgspec.structs.replace(known, voters=only)
    lab.layout.client.write_bytes(msgspec.json.encode(poor))
    lab.ok("gnt-node list")
    lab.kill(voters.daemon(leader))
    lab.ok("gnt-cluster modify --mac-prefix=aa:00:55")


def test_a_candidate_that_is_given_up_leaves_the_log(lab: LiveLab, voters: Voters) -> None:
    """--master-candidate=no: no voter, no daemon, no files; yes brings a new one."""
    node = next(n for n in voters.followers() if n != voters.nodes[0])
    home = lab.layout.home(voters.daemon(node))
    lab.ok(f"gnt-node modify --master-candidate=no --force {node}")
    until(lambda: not home.exists())
    status = voters.status(voters.leader())
    assert status is not None
    assert node not in (*status.voters, *status.learners)
    lab.ok(f"gnt-node modify --master-candidate=yes {node}")
    wait_for_voters(lab.layout)
    until(lambda: (s := voters.status(node)) is not None and s.role == "follower")


def addresses(lab: LiveLab) -> list[str]:
    """Return the nodes that hold the master's address, as their drivers know it."""
    held = {
        node: json.loads(path.read_text()).get("addresses", {})
        for node in lab.layout.load().nodes
        if (path := lab.layout.machines / node / "network.json").exists()
    }
    return [node for node, addresses in held.items() if ADDRESS in addresses]


def test_the_address_of_the_master_follows_it(lab: LiveLab, voters: Voters) -> None:
    """It is on the leader's node, and on no other once that one is heard of again; an operator
    takes it down, and it stays down until it is wanted again."""
    old = voters.leader()
    lab.ok(f"gnt-cluster modify --master-netdev=br0 --master-ip={ADDRESS} --master-netmask=24")
    until(lambda: addresses(lab) == [old])
    lab.kill(old)  # its agent: for the others its machine is down, and cannot give it up
    lab.kill(voters.daemon(old), signal.SIGSTOP)
    others = [node for node in voters.nodes if node != old]
    until(lambda: any(node in addresses(lab) for node in others))
    new = voters.leader()
    assert set(addresses(lab)) == {old, new}, "it was cut off, and holds the address still"
    lab.kill(voters.daemon(old), signal.SIGCONT)
    lab.start(old)
    until(lambda: addresses(lab) == [new])
    lab.ok("gnt-cluster deactivate-master-ip --yes")
    assert addresses(lab) == []
    assert lab.ok(f"gnt-cluster master-failover {old}")
    lab.ok("gnt-cluster activate-master-ip")
    until(lambda: addresses(lab) == [old])
    lab.ok("gnt-cluster modify --master-netdev=")
    until(lambda: addresses(lab) == [])


def test_every_voter_tells_its_numbers(lab: LiveLab, voters: Voters) -> None:
    """`gnt-log metrics`: one leads, all hold the same, and each has timed its syncs."""
    leader = voters.leader()
    voters.level()
    values = dict(line.rsplit(" ", 1) for line in lab.ok("gnt-log metrics").splitlines())
    for node in voters.nodes:
        assert values[f'cairn_voter_up{{voter="{node}"}}'] == "1"
        role = f'cairn_voter_role{{voter="{node}",role="leader"}}'
        assert values[role] == ("1" if node == leader else "0")
        count = float(values[f'cairn_log_fsync_seconds_count{{voter="{node}"}}'])
        last = f'cairn_log_fsync_seconds_bucket{{voter="{node}",le="+Inf"}}'
        assert count == float(values[last]) > 0
    others = (f'cairn_peer_match{{voter="{leader}",peer="{n}"}}' for n in voters.followers())
    assert all(float(values[other]) > 0 for other in others)

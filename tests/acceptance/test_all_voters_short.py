"""Every voter has lost records that it had acknowledged: nobody can give them back (R9).

As if all disks had lied about their syncs, and the power went: each log ends before its ack mark.
The cluster stops; an operator accepts the loss on the voter that holds most, makes it the only one,
and the others come back as its followers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.record import Record
from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_REQUESTED, TaskNamed
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import Voters, shorten, until
from tests.replaycheck import check_replay

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

ADD = "gnt-instance add -t plain -o debian -s 1G --no-start"
REASON = "--reason 'the disks lied' --yes-do-it"


@pytest.fixture(name="short")
def three_voters(tmp_path: Path) -> Iterator[LiveLab]:
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=3, voters=3, lost_after_s=60.0)
        yield lab
    finally:
        lab.down()


def disks(lab: LiveLab, node: str) -> set[str]:
    """The ids of the disks that have a volume on a node."""
    path = lab.layout.machines / node / "volumes.json"
    found = json.loads(path.read_text())["volumes"] if path.exists() else {}
    return {volume["owner"] for volume in found.values()}


def task_of(record: Record) -> str:
    """The id of the task that a record is about."""
    return msgspec.msgpack.decode(record.data, type=TaskNamed).task


def lose(lab: LiveLab, voters: Voters, last: int) -> None:
    """End all voters; node1's log keeps the records up to `last`, the others' still less."""
    ends = []
    for behind, node in enumerate(voters.nodes):
        if lab.pid(voters.daemon(node)) is not None:
            lab.kill(voters.daemon(node))
        ends.append(shorten(voters.log(node), last - 5 * behind))
    assert ends[0] > max(ends[1:]), ends


def test_the_operator_goes_on_with_what_is_left(short: LiveLab) -> None:
    """Each step says what is lost and what to do next; what was kept is on all voters again.

    A job that is lost had done something on a node, and its number is given anew: the new job's
    tasks are carried out all the same, and none is taken for one of the lost job.
    """
    lab, voters = short, Voters(short)
    lab.ok(f"{ADD} -n node1 kept.example.net")
    until(lambda: voters.leader() == "node1")
    voters.level()
    kept = lab.head
    with LogView(lab.log) as view:
        chain = [stored.hash for stored in view.iterate()]

    lab.order("node2", "slow", seconds=0.5)
    lost = lab.submit(f"{ADD} -n node2 lost.example.net")
    order = lab.wait_for_kind(TASK_REQUESTED, job=lost)
    lose(lab, voters, kept)
    until(lambda: bool(disks(lab, "node2")))  # done, and nobody was there to hear it
    left_over = disks(lab, "node2")
    for node in voters.nodes:
        lab.start(voters.daemon(node))

    # Nobody can lead, and each command says so.
    until(lambda: all((s := voters.status(n)) and s.role == "recovering" for n in voters.nodes))
    told = lab.run("gnt-log status")
    assert told.status == 0
    assert "this log ends at" in told.out
    assert "No voter leads: 2 of 3 must be able to vote" in told.err
    assert "gnt-log accept-loss" in told.err
    assert "master-failover --no-voting on node1" in told.err
    assert lab.run("gnt-cluster master-ping").status == 11

    # The loss is accepted where most is left, and nowhere else by mistake.
    directory = {node: voters.log(node) for node in voters.nodes}
    elsewhere = lab.run(f"gnt-log accept-loss --dir {directory['node2']} {REASON}")
    assert (elsewhere.status, "node1 holds more records" in elsewhere.err) == (13, True)
    running = lab.run(f"gnt-log accept-loss --dir {directory['node1']} {REASON}")
    assert (running.status, "is open for writing" in running.err) == (1, True)
    lab.kill("master")
    takeover = f"gnt-cluster master-failover --no-voting --dir {directory['node1']} {REASON}"
    too_early = lab.run(takeover)
    assert (too_early.status, "gnt-log accept-loss" in too_early.hint) == (1, True)
    accepted = lab.run(f"gnt-log accept-loss --dir {directory['node1']} {REASON}")
    assert accepted.status == 0, str(accepted)
    assert f"goes on after record {kept}" in accepted.out
    assert "master-failover --no-voting makes node1 the only voter" in accepted.err

    # It is made the only voter; what was ordered is ordered again while node2 is not heard of.
    with lab.held("node2"):
        taken = lab.run(takeover)
        assert taken.status == 0, str(taken)
        assert "node2 answers: recovering" in taken.err
        assert "node1 leads now" in taken.out
        again = lab.submit(f"{ADD} -n node2 lost.example.net")
    assert again == lost, "its number was free again"
    until(lambda: lab.status_of(again) in ("success", "error", "needs-attention"))
    assert lab.status_of(again) == "success", lab.ok(f"gnt-job info {again}")
    assert disks(lab, "node2") - left_over == {
        lab.rows("gnt-instance list -o disk.uuids lost.example.net")[0][0]
    }

    # The others follow, and what each held of the lost history is gone.
    until(lambda: all((s := voters.status(n)) and s.role != "recovering" for n in voters.nodes))
    voters.level()
    assert voters.compare() > kept
    for node in voters.nodes:
        with LogView(voters.log(node)) as view:
            assert [s.hash for s in view.iterate(1, kept)] == chain[:kept]
            kinds = [s.record.kind for s in view.records(kept + 1, kept + 2)]
        assert kinds == ["log.loss-accepted", "log.takeover-forced"]
        check_replay(voters.log(node))
    requests = [s.record for s in lab.records() if s.record.kind == TASK_REQUESTED]
    assert task_of(order) not in map(task_of, requests), "an old result would answer for it"

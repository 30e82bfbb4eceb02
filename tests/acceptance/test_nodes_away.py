"""Nodes that are down, drained or offline: refused where they are needed, and owed what is left."""

from __future__ import annotations

import pytest

from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G"
DRBD = "gnt-instance add -t drbd -o debian -B memory=512 -s 1G"


def lose(lab: LiveLab, node: str) -> None:
    """Cut a node's power and wait until it counts as lost."""
    begin = lab.head
    lab.cut_power(node)
    lab.wait_for_kind("node.lost", after=begin)


def bring_back(lab: LiveLab, node: str) -> None:
    """Start it again and wait until its node has returned."""
    begin = lab.head
    lab.start(node)
    lab.wait_for_kind("node.returned", after=begin)


@pytest.mark.parametrize(
    ("flag", "says"), [("offline", "is marked offline"), ("drained", "is drained")]
)
def test_a_node_that_is_set_aside_takes_no_instance(lab: LiveLab, flag: str, says: str) -> None:
    """Named, it is refused with the command that takes the mark off; unnamed, others are chosen."""
    lab.ok(f"gnt-node modify --{flag}=yes node3")
    try:
        back = f"gnt-node modify --{flag}=no node3"
        lab.refuses(f"{ADD} -n node3 x.example.net", "node3", says, hint=back)
        lab.refuses(f"{DRBD} -n node1:node3 x.example.net", "node3", says, hint=back)
        for number in range(3):
            lab.ok(f"{ADD} chosen{number}.example.net")
        primaries = {row[0] for row in lab.rows("gnt-instance list -o pnode")}
        assert "node3" not in primaries
    finally:
        lab.ok(f"gnt-node modify --{flag}=no node3")
        lab.ok("gnt-instance remove -f chosen0.example.net")
        lab.ok("gnt-instance remove -f chosen1.example.net")
        lab.ok("gnt-instance remove -f chosen2.example.net")


def test_a_node_that_is_lost_takes_no_instance(lab: LiveLab) -> None:
    """Named, it is refused at once and by name; unnamed, others are chosen; back, it is used."""
    lose(lab, "node3")
    try:
        with lab.unchanged():
            ran = lab.run(f"{ADD} -n node3 x.example.net", within_s=20)
        assert ran.status == 1, str(ran)
        assert "node3" in ran.err
        assert ran.hint, str(ran)
        lab.ok(f"{ADD} chosen.example.net")
        assert lab.rows("gnt-instance list -o pnode chosen.example.net") != [["node3"]]
        assert "node3" in lab.run("gnt-cluster verify").out
    finally:
        bring_back(lab, "node3")
    lab.ok("gnt-instance remove -f chosen.example.net")
    lab.ok(f"{ADD} -n node3 x.example.net")
    lab.ok("gnt-instance remove -f x.example.net")


def test_every_node_but_the_master_away_says_what_is_left(lab: LiveLab) -> None:
    """With one node left, a mirror cannot be placed, and the answer names the reason per node."""
    for node in ("node2", "node3"):
        lab.ok(f"gnt-node modify --offline=yes {node}")
    try:
        ran = lab.refuses(f"{DRBD} x.example.net", hint="")
        assert "offline" in ran.err
    finally:
        for node in ("node2", "node3"):
            lab.ok(f"gnt-node modify --offline=no {node}")


def test_an_undo_for_a_lost_node_is_a_duty_done_when_it_returns(lab: LiveLab) -> None:
    """The job ends without the node, verify names what it owes, and its return pays it."""
    begin = lab.head
    lab.order("node2", "die", point="acted")
    pid = lab.pid("node2")
    assert pid is not None
    client = lab.command(*f"{ADD} -n node2 --print-jobid owed.example.net".split())
    lab.wait_for_death("node2", pid)  # its volume is made, and nobody was told
    job = lab.wait_for_kind("task.requested", after=begin).job
    lab.wait_for_kind("node.lost", after=begin)
    lab.ok(f"gnt-job cancel {job}")
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 1, output
    duty = lab.wait_for_kind("node.duty-recorded", after=begin)
    assert duty.job == job
    assert lab.drivers()["node2/volumes.json"].get("volumes"), "nothing is owed"
    verified = lab.run("gnt-cluster verify")
    assert verified.status == 1
    assert "still owes remove-volume" in verified.out
    lab.start("node2")
    lab.wait_for_kind("node.duty-done", after=begin)
    assert not lab.drivers()["node2/volumes.json"].get("volumes")
    assert lab.run("gnt-cluster verify").status == 0
    assert lab.status_of(job or 0) == "canceled"


def test_an_instance_moves_off_a_node_that_is_gone(lab: LiveLab) -> None:
    """failover --ignore-consistency, with the primary marked offline, starts it on the other."""
    lab.ok(f"{DRBD} -n node3:node2 moved.example.net")
    lose(lab, "node3")
    lab.ok("gnt-node modify --offline=yes node3")
    ran = lab.run("gnt-instance failover -f --ignore-consistency moved.example.net", within_s=30)
    assert ran.status == 0, str(ran)
    assert lab.rows("gnt-instance list -o pnode,status moved.example.net") == [["node2", "running"]]
    bring_back(lab, "node3")
    lab.ok("gnt-node modify --offline=no node3")
    lab.ok("gnt-instance activate-disks moved.example.net")
    assert lab.rows("gnt-instance list -o pnode,status moved.example.net") == [["node2", "running"]]
    lab.ok("gnt-instance remove -f moved.example.net")


def test_verify_finds_what_is_broken(lab: LiveLab) -> None:
    """A guest that ended by itself and a disk that broke are named, each with its node."""
    lab.ok(f"{DRBD} -n node1:node2 sick.example.net")
    lab.ok("gnt-cluster verify")
    uuid, disk = lab.rows("gnt-instance list -o uuid,disk.uuids sick.example.net")[0]
    begin = lab.head
    lab.order("node1", "end-guest", instance=uuid, how="crashed")
    lab.wait_for_kind("instance.state-seen", after=begin)
    verified = lab.run("gnt-cluster verify")
    assert verified.status == 1, str(verified)
    assert "sick.example.net" in verified.out
    lab.ok("gnt-instance startup sick.example.net")
    lab.ok("gnt-cluster verify")
    begin = lab.head
    lab.order("node2", "break-disk", disk=disk)
    lab.wait_for_kind("instance.disk-state-seen", after=begin)
    verified = lab.run("gnt-cluster verify")
    assert verified.status == 1, str(verified)
    assert "sick.example.net" in verified.out
    lab.ok("gnt-instance replace-disks --auto sick.example.net")
    lab.ok("gnt-cluster verify")
    lab.ok("gnt-instance remove -f sick.example.net")


def test_a_secondary_that_dies_does_not_hold_up_the_primary(lab: LiveLab) -> None:
    """shutdown, given just after the other node went down, ends once that one counts as lost."""
    lab.ok(f"{DRBD} -n node1:node3 held.example.net")
    lab.cut_power("node3")  # nobody has noticed yet
    try:
        ran = lab.run("gnt-instance shutdown held.example.net", within_s=50)
        assert ran.status == 0, str(ran)
        assert lab.rows("gnt-instance list -o status held.example.net") == [["ADMIN_down"]]
    finally:
        bring_back(lab, "node3")
    lab.ok("gnt-instance startup held.example.net")
    lab.ok("gnt-instance remove -f held.example.net")


def test_a_call_that_is_given_up_and_acts_late_leaves_nothing(lab: LiveLab) -> None:
    """The node stops in the middle of a call, is given up, and goes on later: all is undone.

    By a cancel, because a lost node's call is given up by itself only after a minute.
    """
    before = lab.configuration()
    begin = lab.head
    lab.order("node2", "slow", seconds=1.0)
    client = lab.command(*f"{ADD} -n node2 late.example.net".split())
    job = lab.wait_for_kind("task.requested", after=begin).job
    with lab.held("node2"):
        lab.wait_for_kind("node.lost", after=begin)
        lab.ok(f"gnt-job cancel {job}")
        output, _ = client.communicate(timeout=60)
        assert client.returncode == 1, output
        assert "canceled" in output
    lab.order("node2", "clear")
    lab.wait_for_kind("node.duty-done", after=begin)
    assert not lab.drivers()["node2/volumes.json"].get("volumes")
    lab.ok("gnt-cluster verify")
    after = lab.configuration()
    assert after["duties"] == before["duties"] == {}
    assert after.keys() == before.keys()
    lab.ok(f"{ADD} -n node2 late.example.net")
    lab.ok("gnt-instance remove -f late.example.net")

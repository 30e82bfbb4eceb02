"""Calls that are not done in time, on nodes that live and on nodes that stand still.

They last as long as the times that they wait for: half a minute and a minute.
"""

from __future__ import annotations

import pytest

from tests.acceptance.live_lab import LiveLab

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G -n node2 late.example.net"


def test_a_live_node_that_is_too_slow_is_told_so_and_undone(lab: LiveLab) -> None:
    """A node that is to be added answers its probe too late: it says so itself, the invitation is
    taken back with its key, and once it is quick again it can be added."""
    lab.ok("gnt-node remove node3")
    lab.order("node3", "slow", seconds=60)
    begin = lab.head
    ran = lab.run("gnt-node add node3", within_s=120)
    assert ran.status == 1, str(ran)
    assert "probe was not done in 30 s" in ran.err
    assert "probe" in ran.err
    lab.wait_for_kind("node.removed", after=begin)
    assert [row[0] for row in lab.rows("gnt-node list -o name")] == ["node1", "node2"]
    lab.order("node3", "clear")
    lab.ok("gnt-node add node3", within_s=120)
    assert lab.configuration()["duties"] == {}


def test_a_call_that_times_out_and_acts_late_leaves_nothing(lab: LiveLab) -> None:
    """The node stands still in the middle of making a volume, for longer than anybody waits: the
    job fails and says why; when the node goes on it acts, and what it then made is removed."""
    begin = lab.head
    lab.order("node2", "slow", seconds=1.0)
    client = lab.command(*ADD.split())
    lab.wait_for_kind("task.requested", after=begin)
    with lab.held("node2"):
        output, _ = client.communicate(timeout=120)
        assert client.returncode == 1, output
        assert "node2" in output
        assert "is not heard of" in output
        assert list(lab.configuration()["duties"].values()), "somebody must clear up"
    lab.order("node2", "clear")
    lab.wait_for_kind("node.duty-done", after=begin)
    kinds = [s.record.kind for s in lab.records(begin + 1) if s.record.stream.startswith("node/")]
    assert "task.withdraw-requested" in kinds
    assert not lab.drivers().get("node2/volumes.json", {}).get("volumes")
    assert lab.configuration()["duties"] == {}
    lab.ok("gnt-cluster verify")
    lab.ok(ADD)
    assert max(lab.effects("node2").values()) == 1, "nothing was done twice"
    lab.ok("gnt-instance remove -f late.example.net")

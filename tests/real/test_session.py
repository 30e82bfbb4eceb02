"""The session of the demo on real LVM and DRBD: three agents in node VMs, the master on the first.

One story, told once, because a node VM is slow: each test is a chapter, and they run in this order.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.real.story import DATA, SIMPLE, Story
from tools.testbed.bed import Bed
from tools.testbed.cluster import RealCluster

WEB, MAIL, OLD = "web1.example.net", "mail.example.net", "old.example.net"
# The shortest sequences by hand; `drbdsetup` with its order.
_SIDE = (
    *("lvcreate", "lvcreate", "drbdmeta"),
    *("drbdsetup new-resource", "drbdsetup new-minor", "drbdsetup attach", "drbdsetup connect"),
)
BY_HAND = {
    "plain": ("lvcreate", "/usr/bin/kvm"),
    "drbd, primary": (*_SIDE, "drbdsetup primary", "/usr/bin/kvm"),
    "drbd, secondary": _SIDE,
}
_LOOKS = "lvm"  # the report of all volumes, once a minute, whatever is done


@pytest.fixture(scope="module")
def story(bed: Bed, cluster: RealCluster) -> Story:
    return Story(bed, cluster)


def check_few(story: Story, before: dict[str, int], kinds: dict[str, str]) -> None:
    """Each node has run at most 1.5 times as many commands since as its part takes by hand."""
    for node, kind in kinds.items():
        ran = [line for line in story.commands(node)[before[node] :] if line != _LOOKS]
        print(f"{kind} on {node}: {len(ran)} commands, {len(BY_HAND[kind])} by hand: {ran}")
        assert not Counter(BY_HAND[kind]) - Counter(ran), "the figure counts something else"
        assert len(ran) <= 1.5 * len(BY_HAND[kind]), f"{kind} on {node}: {ran}"


def test_instances_are_made_and_started_by_few_commands(story: Story) -> None:
    """A plain and a mirrored instance of 1 GiB, with the OS that does nothing: on each node at most
    1.5 times as many commands as by hand."""
    nodes = ("node1", "node2", "node3")
    before = {node: len(story.commands(node)) for node in nodes}
    story.run(f"gnt-instance add -n node2 -t plain -s 1G {SIMPLE} {WEB}")
    check_few(story, before, {"node2": "plain"})
    before = {node: len(story.commands(node)) for node in nodes}
    story.run(f"gnt-instance add -n node3:node1 -t drbd -s 1G {SIMPLE},serial_console=true {MAIL}")
    check_few(story, before, {"node3": "drbd, primary", "node1": "drbd, secondary"})
    assert story.run("gnt-instance list --no-headers -o status").split() == ["running"] * 2
    story.until_clean()
    story.run(f"gnt-instance shutdown --timeout=0 {WEB}")


def test_it_runs_on_its_mirror(story: Story, tmp_path: Path) -> None:
    """A real QEMU has the mirror open, and both sides are in order without a sync."""
    assert "UpToDate/UpToDate" in story.mirrors("node3")
    story.install_guest("node3", "/dev/drbd0", tmp_path / "guest")
    story.write("node3", DATA)


def test_data_are_there_after_a_failover(story: Story) -> None:
    """What was written before it is read after it, on the other node, where the guest runs from
    it."""
    story.run(f"gnt-instance failover -f --shutdown-timeout=0 {MAIL}")
    assert story.place(MAIL) == ("node1", "node3", "running")
    assert story.tick("node1", MAIL) > 0
    assert story.read("node1") == DATA
    assert story.boots("node1") == 1


def test_a_guest_moves_while_it_runs(story: Story) -> None:
    """Live, over its mirror, which has two primaries only for that time: it counts on without a
    boot, and what it wrote is there."""
    before = story.tick("node1", MAIL)
    ran = {node: len(story.commands(node)) for node in ("node1", "node3")}
    story.run(f"gnt-instance migrate -f {MAIL}")
    assert story.place(MAIL) == ("node3", "node1", "running")
    assert story.tick("node3", MAIL) > before
    assert story.boots("node3") == 1
    assert story.read("node3") == DATA
    assert "ro:Primary/Secondary" in story.mirrors("node3")
    for node, count in ran.items():
        allowed = story.commands(node)[count:].count("drbdsetup net-options")
        assert allowed == 2, f"{node}: two primaries were allowed and forbidden {allowed} times"
        assert "allow-two-primaries" not in story.node(node).check("drbdsetup", "show")
    assert story.node("node1").run(["pgrep", "qemu-system"]).status == 1
    story.until_clean()


def test_a_secondary_is_replaced_and_resynced(story: Story) -> None:
    """On another node, while the instance runs; the new side has the data, the old one is gone."""
    story.run(f"gnt-instance replace-disks -n node2 {MAIL}")
    assert story.place(MAIL) == ("node3", "node2", "running")
    story.until_mirrored("node3")
    (data,) = story.node("node2").check("sh", "-c", "ls /dev/xenvg/*disk0_data").split()
    assert story.read("node2", data) == DATA
    assert story.volumes("node1") == []
    story.until_clean()


def test_a_disk_that_breaks_under_its_mirror_is_repaired(story: Story) -> None:
    """The instance goes on; the break becomes known; `--auto` replaces what is broken."""
    broken = "ls /dev/xenvg/*disk0_data | xargs -n 1 dmsetup wipe_table --force"
    story.node("node2").check("sh", "-c", broken)
    newer = DATA[::-1]
    story.write("node3", newer)
    story.until(
        lambda: "UpToDate/Diskless" in story.mirrors("node3"),
        "the mirror does not leave its broken disk",
    )
    story.until(
        lambda: "EINSTANCEFAULTYDISK" in [finding.code for finding in story.errors()],
        "nobody says that the disk is broken",
    )
    story.run(f"gnt-instance replace-disks --auto {MAIL}")
    assert "UpToDate/UpToDate" in story.mirrors("node3")
    story.run(f"gnt-instance failover -f --shutdown-timeout=0 {MAIL}")
    assert story.read("node2") == newer
    assert story.tick("node2", MAIL) > 0


def test_a_node_that_is_rebooted(story: Story) -> None:
    """Its agent is back by itself, and what does not run is told; the instance starts again where
    it was, with all that was written."""
    story.write("node2", DATA)
    boots = story.boots("node2")
    story.node("node2").kill()
    story.switch_on("node2")
    story.until(
        lambda: "EINSTANCEDOWN" in [finding.code for finding in story.errors()],
        "nobody says that the instance is down",
    )
    assert story.volumes("node2")
    story.run(f"gnt-instance startup {MAIL}")
    assert story.place(MAIL) == ("node2", "node3", "running")
    assert story.read("node2") == DATA
    story.until_mirrored("node2")
    assert story.tick("node2", MAIL) > 0
    assert story.boots("node2") == boots + 1
    story.until_clean()


def test_a_primary_that_loses_its_power(story: Story) -> None:
    """Given up for good, its instance goes on elsewhere with all that was written; back again, it
    catches up as the secondary."""
    story.write("node2", DATA[::-1])
    story.node("node2").kill()
    story.run("gnt-node modify --offline=yes node2")
    story.run(f"gnt-instance failover -f --shutdown-timeout=0 {MAIL}")
    assert story.place(MAIL) == ("node3", "node2", "running")
    assert story.read("node3") == DATA[::-1]
    story.switch_on("node2")
    story.run("gnt-node modify --offline=no node2")
    story.until_heard("node2")  # else its side is left out
    story.run(f"gnt-instance activate-disks {MAIL}")
    story.until_mirrored("node3")


def test_a_volume_that_was_there_is_taken_over(story: Story, tmp_path: Path) -> None:
    """What somebody made and filled by hand becomes the disk of an instance, which runs from it;
    the volume of another instance does not."""
    by_hand = ("lvcreate", "--quiet", "--yes", "--size", "1g", "--name", "theirs", "xenvg")
    story.node("node1").check(*by_hand)
    story.install_guest("node1", "/dev/xenvg/theirs", tmp_path / "guest")
    (another,) = {name for name in story.volumes("node2") if name.endswith("disk0")}
    for node, volume, status in (("node2", another, 1), ("node1", "theirs", 0)):
        added = story.cluster.attempt(
            f"gnt-instance add -n {node} -t plain --disk 0:adopt={volume} "
            f"{SIMPLE},serial_console=true {OLD}"
        )
        assert added.status == status, added
    assert story.tick("node1", OLD) > 0
    (disk,) = (name for name in story.volumes("node1") if name.endswith("disk0"))
    assert story.boots("node1", f"/dev/xenvg/{disk}") == 1
    story.until_clean()


def test_an_address_of_the_master_is_on_its_interface(story: Story) -> None:
    """The node of the master holds it, and no other one."""
    for node in ("node1", "node2", "node3"):
        held = "10.77.1.100/" in story.node(node).check("ip", "-4", "address", "show", "eth1")
        assert held == (node == "node1"), node


def test_the_log_tells_it_all(story: Story) -> None:
    """It verifies; with the instances all that was theirs is gone, and nothing is left that nobody
    owns."""
    story.run("gnt-log verify")
    for instance in (MAIL, WEB, OLD):
        story.run(f"gnt-instance remove -f --shutdown-timeout=0 {instance}")
    story.until_clean()
    for node in ("node1", "node2", "node3"):
        assert story.volumes(node) == []
        assert " cs:" not in story.mirrors(node)

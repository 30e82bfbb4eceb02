"""A node that loses its power in the middle of each long call, on real LVM, DRBD and QEMU.

Two nodes are lost, each in the middle of several calls at once: what makes a mirror waits in a tool
that is held, an OS definition in its script, a copy is slow, a guest that is sent meets a jam.
Nothing depends on how quick a node is: each call is seen to be under way before the power
goes. Then the node boots, and in the end nothing is left that `gnt-cluster verify` does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.real.story import DATA, SIMPLE, Finding, Story
from tools.testbed.bed import Bed
from tools.testbed.cluster import RealCluster
from tools.testbed.machine import Ended

COPIED, MOVED = "copied.example.net", "moved.example.net"  # instances that are there already
MIRROR, SCRIPT = "mirror.example.net", "script.example.net"  # that are being made
DRBDMETA, CREATE = "/sbin/drbdmeta", "/usr/share/ganeti/os/noop/create"
_SLOW_KIB_S = 2048  # a GiB takes 8 minutes: longer than the other calls need to be under way
_QUICK_KIB_S = 61_440


@pytest.fixture(scope="module")
def story(bed: Bed, cluster: RealCluster) -> Story:
    return Story(bed, cluster)


def about(findings: Iterable[Finding], code: str) -> set[str]:
    """What the findings of one kind are about."""
    return {finding.object for finding in findings if finding.code == code}


def words(ended: Ended) -> str:
    """What a command has said."""
    return (ended.stdout + ended.stderr).decode(errors="replace")


def add(where: str, template: str, name: str, more: str = "--no-start") -> str:
    """The command that adds an instance."""
    return f"gnt-instance add -n {where} -t {template} -s 1G {more} {SIMPLE} {name}"


def test_two_instances_are_there(story: Story, tmp_path: Path) -> None:
    """One on a mirror that will be copied slowly, one that runs a guest."""
    story.run(f"gnt-cluster modify -D drbd:resync-rate={_SLOW_KIB_S} -H kvm:serial_console=true")
    story.run(add("node1:node3", "drbd", COPIED))
    story.run(f"gnt-instance activate-disks {COPIED}")
    story.write("node1", DATA)
    story.run(add("node3:node2", "drbd", MOVED, ""))
    story.install_guest("node3", "/dev/drbd1", tmp_path / "guest")
    story.run(f"gnt-instance reboot -t hard {MOVED}")
    story.tick("node3", MOVED)
    story.until_clean()


def test_a_node_that_takes_part(story: Story) -> None:
    """It was to be the secondary of one that is made, the new secondary of one that is copied, the
    target of one that moves, and ran the OS definition of one that is made: all of that fails or is
    called off, what ran runs on, and what the node owes is told, and done when it is back."""
    with story.begun(f"gnt-instance replace-disks -n node2 {COPIED}") as (copying,):
        story.until(lambda: "SyncTarget" in story.mirrors("node2"), "nothing is copied")
        with (
            story.held("node2", DRBDMETA, CREATE),
            story.jammed("node2"),
            story.begun(f"gnt-instance migrate -f {MOVED}") as (moving,),
        ):
            story.until(lambda: story.is_sent("node3"), "the guest is not being sent")
            making = add("node1:node2", "drbd", MIRROR), add("node2", "plain", SCRIPT)
            with story.begun(*making) as made:
                story.until(lambda: len(story.holding("node2")) == 2, "nobody is held")
                assert "SyncTarget" in story.mirrors("node2")
                story.node("node2").kill()
                for ended in made:
                    assert ended.result().status != 0
                    assert "node2" in words(ended.result())
            assert moving.result().status != 0
            assert "runs where it ran" in words(moving.result())
            check_lost(story, "node2")
            assert story.place(MOVED) == ("node3", "node2", "running")
            story.tick("node3", MOVED)
            story.switch_on("node2")
        story.until(lambda: not about(story.findings(), "ENODEDUTY"), "node2 owes something")
        story.run(f"gnt-job cancel {story.job_of('INSTANCE_REPLACE_DISKS')}")
        assert copying.result().status != 0
    assert story.fields(COPIED, "pnode,snodes") == ("node1", "node3")
    story.run(f"gnt-cluster modify -D drbd:resync-rate={_QUICK_KIB_S}")
    settle(story)
    assert story.read("node1") == DATA
    assert [len(story.volumes(node)) for node in ("node1", "node2", "node3")] == [2, 2, 4]


def test_a_node_that_leads(story: Story) -> None:
    """It was to be the primary of one that is made, and sent a guest away: where that runs nobody
    can know, so the job waits for a person, who tries it again when the node is back."""
    story.run(f"gnt-instance failover -f --shutdown-timeout=0 {MOVED}")
    story.tick("node2", MOVED)
    boots = story.boots("node2")
    with (
        story.held("node2", DRBDMETA),
        story.jammed("node3"),
        story.begun(f"gnt-instance migrate -f {MOVED}") as (moving,),
    ):
        story.until(lambda: story.is_sent("node2"), "the guest is not being sent")
        with story.begun(add("node2:node3", "drbd", MIRROR)) as (mirroring,):
            story.until(lambda: len(story.holding("node2")) == 1, "nobody is held")
            story.node("node2").kill()
            assert mirroring.result().status != 0
            assert "node2" in words(mirroring.result())
        assert moving.result().status != 0
        assert "it is not known on which node it runs" in words(moving.result())
        check_lost(story, "node2")
        assert about(story.findings(), "EJOBATTENTION")
        story.switch_on("node2")
    story.until_heard("node2")
    job = story.job_of("INSTANCE_MIGRATE", status="needs-attention")
    story.run(f"gnt-job resolve --retry {job}")
    story.until(lambda: not about(story.findings(), "EJOBATTENTION"), "the job is not over")
    assert story.fields(MOVED, "pnode,snodes") == ("node2", "node3")
    assert about(story.findings(), "EINSTANCEDOWN") == {MOVED}
    story.run(f"gnt-instance startup {MOVED}")
    story.tick("node2", MOVED)
    assert story.boots("node2") == boots + 1
    settle(story)
    assert [len(story.volumes(node)) for node in ("node1", "node2", "node3")] == [2, 2, 4]


def test_nothing_is_left(story: Story) -> None:
    """The log verifies; with the instances all that was theirs goes."""
    story.run("gnt-log verify")
    for instance in (COPIED, MOVED):
        story.run(f"gnt-instance remove -f --shutdown-timeout=0 {instance}")
    story.until_clean()
    for node in ("node1", "node2", "node3"):
        assert story.volumes(node) == []


def check_lost(story: Story, node: str) -> None:
    """The cluster tells that the node is lost, and what it owes."""
    findings = story.findings()
    assert about(findings, "ENODERPC") == {node}
    assert about(findings, "ENODEDUTY") == {node}


def settle(story: Story) -> None:
    """All nodes are back: what they owed is done, mirrors are whole, and nothing is found."""
    story.until(lambda: not about(story.findings(), "ENODEDUTY"), "a node still owes something")
    for instance in (COPIED, MOVED):
        story.run(f"gnt-instance activate-disks {instance}")
    for node in ("node1", "node2", "node3"):
        if " cs:" in story.mirrors(node):
            story.until_mirrored(node)
    story.until_clean()

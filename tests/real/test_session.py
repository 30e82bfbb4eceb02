"""The session of the demo on real LVM and DRBD: three agents in node VMs, the master on the first.

One story, told once, because a node VM is slow: each test is a chapter, and they run in this order.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

from tools.testbed.bed import Bed
from tools.testbed.cluster import AGENTS, RealCluster

MAIL = "mail.example.net"
DATA = b"precious" * 512  # 4 KiB
_WITHIN_S = 300.0
_OFFSET = 1000  # blocks of 4 KiB from the start of the disk

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def cluster(bed: Bed) -> RealCluster:
    """Three nodes in a cluster, without instances."""
    cluster = RealCluster(bed)
    cluster.found()
    return cluster


def write(bed: Bed, node: str, data: bytes) -> None:
    """Write to the instance's disk on its primary node."""
    where = ["of=/dev/drbd0", "bs=4096", f"seek={_OFFSET}", "conv=notrunc,fsync", "status=none"]
    bed.nodes[node].check("dd", *where, stdin=data)


def read(bed: Bed, node: str, device: str = "/dev/drbd0") -> bytes:
    """Read from the disk, beneath every cache."""
    where = [f"if={device}", "bs=4096", f"skip={_OFFSET}", "count=1", "iflag=direct"]
    return bed.nodes[node].run(["dd", *where, "status=none"]).stdout


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that happens in the nodes by itself."""
    deadline = time.monotonic() + _WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def field(cluster: RealCluster, name: str) -> str:
    """One field of the instance."""
    return cluster.run(f"gnt-instance list --no-headers -o {name} {MAIL}").strip()


def commands_of(bed: Bed, node: str) -> list[str]:
    """The tools that a node's agent has run so far, and with drbdsetup the order."""
    script = f"sed -n 's/.*nodeagent.runner: //p' {AGENTS}/{node}/agent.log"
    lines = [line.split() for line in bed.nodes[node].check("sh", "-c", script).splitlines()]
    return [" ".join(line[:2]) if line[0] == "drbdsetup" else line[0] for line in lines]


def test_disks_are_made_by_few_commands(bed: Bed, cluster: RealCluster) -> None:
    """Two plain instances and a mirrored one of 1 GiB: each node runs one command for each
    effect, within 1.5 times of the shortest sequence by hand."""
    cluster.run("gnt-instance add --no-start -n node1 -t plain -s 1G -o noop web1.example.net")
    cluster.run("gnt-instance add --no-start -n node2 -t plain -s 1G -o noop web2.example.net")
    before = {node: len(commands_of(bed, node)) for node in ("node3", "node1")}
    cluster.run(
        "gnt-instance add --no-start -n node3:node1 -t drbd -s 1G -o noop "
        f"-B maxmem=128,minmem=128 -H vhost_net=false {MAIL}"
    )
    making = {
        node: [line for line in commands_of(bed, node)[count:] if line != "lvm"]
        for node, count in before.items()
    }
    up_to_role = making["node3"].index("drbdsetup primary") + 1
    # By hand: lvcreate twice, create-md, new-resource, new-minor, attach, connect, primary --force
    assert up_to_role <= 8 * 1.5, making
    assert making["node1"].count("lvcreate") == 2
    assert cluster.run("gnt-cluster verify").count("ERROR") == 0


def test_it_runs_on_its_mirror(bed: Bed, cluster: RealCluster) -> None:
    """Started, a real QEMU has the mirror open, and both sides are in order without a sync."""
    cluster.run(f"gnt-instance startup {MAIL}")
    assert field(cluster, "status") == "running"
    assert "UpToDate/UpToDate" in bed.nodes["node3"].check("cat", "/proc/drbd")
    write(bed, "node3", DATA)


def test_data_are_there_after_a_failover(bed: Bed, cluster: RealCluster) -> None:
    """What was written before it is read after it, on the other node, where the instance runs."""
    cluster.run(f"gnt-instance failover -f --shutdown-timeout=5 {MAIL}")
    assert (field(cluster, "pnode"), field(cluster, "snodes")) == ("node1", "node3")
    assert field(cluster, "status") == "running"
    assert hashlib.sha256(read(bed, "node1")).digest() == hashlib.sha256(DATA).digest()


def test_a_secondary_is_replaced_and_resynced(bed: Bed, cluster: RealCluster) -> None:
    """On another node, while the instance runs; the new side has the data, the old one is gone."""
    cluster.run(f"gnt-instance replace-disks -n node2 {MAIL}")
    assert field(cluster, "snodes") == "node2"
    until(
        lambda: "UpToDate/UpToDate" in bed.nodes["node1"].check("cat", "/proc/drbd"),
        "the new side is not in sync",
    )
    (data,) = bed.nodes["node2"].check("sh", "-c", "ls /dev/xenvg/*disk0_data").split()
    assert read(bed, "node2", data) == DATA
    assert "disk0_data" not in bed.nodes["node3"].check("lvs")
    assert cluster.run("gnt-cluster verify").count("ERROR") == 0


def test_a_disk_that_breaks_under_its_mirror_is_repaired(bed: Bed, cluster: RealCluster) -> None:
    """The instance goes on; the break becomes known; `--auto` replaces what is broken."""
    broken = "ls /dev/xenvg/*disk0_data | xargs -n 1 dmsetup wipe_table --force"
    bed.nodes["node2"].check("sh", "-c", broken)
    newer = DATA[::-1]
    write(bed, "node1", newer)
    until(
        lambda: "UpToDate/Diskless" in bed.nodes["node1"].check("cat", "/proc/drbd"),
        "the mirror does not leave its broken disk",
    )
    until(lambda: "instance.disk-" in cluster.run("gnt-log tail -n 20"), "nobody says so")
    cluster.run(f"gnt-instance replace-disks --auto {MAIL}")
    assert "UpToDate/UpToDate" in bed.nodes["node1"].check("cat", "/proc/drbd")
    cluster.run(f"gnt-instance failover -f --shutdown-timeout=5 {MAIL}")
    assert read(bed, "node2") == newer


def test_a_primary_that_loses_its_power(bed: Bed, cluster: RealCluster) -> None:
    """Given up for good, its instance goes on elsewhere with all that was written; back again, it
    catches up as the secondary."""
    write(bed, "node2", DATA)
    bed.nodes["node2"].kill()
    cluster.run("gnt-node modify --offline=yes node2")
    cluster.run(f"gnt-instance failover -f --shutdown-timeout=5 {MAIL}")
    assert (field(cluster, "pnode"), field(cluster, "status")) == ("node1", "running")
    assert read(bed, "node1") == DATA
    bed.boot("node2")
    cluster.start_agent("node2")
    cluster.run("gnt-node modify --offline=no node2")
    cluster.run(f"gnt-instance activate-disks {MAIL}")
    until(
        lambda: "UpToDate/UpToDate" in bed.nodes["node1"].check("cat", "/proc/drbd"),
        "the old primary does not catch up",
    )


def test_the_log_tells_it_all(cluster: RealCluster) -> None:
    """It verifies, and nothing is left that nobody owns."""
    cluster.run("gnt-log verify")
    cluster.run(f"gnt-instance remove -f --shutdown-timeout=5 {MAIL}")
    assert cluster.run("gnt-cluster verify").count("ERROR") == 0

"""Disks taken over from a person, and disks wiped before use, on a lab of real processes."""

from __future__ import annotations

import pytest

from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -B memory=256 -o debian"


def volumes(lab: LiveLab, node: str) -> dict[str, str]:
    """Return the owners of the volumes of a node's group, by name."""
    return owners(lab, f"{node}/volumes.json")


def owners(lab: LiveLab, state: str) -> dict[str, str]:
    """Return the owners of the volumes of a simulated driver."""
    found = lab.drivers().get(state, {}).get("volumes", {})
    return {name: volume["owner"] for name, volume in found.items()}


def test_a_volume_is_taken_over_and_goes_with_its_instance(lab: LiveLab) -> None:
    """Its size is told, no OS is installed on it, and it is removed as if it had been made."""
    lab.order("node1", "plant-volume", volume="xenvg/theirs", size_mib=3072)
    lab.ok(f"{ADD} -t plain -n node1 --disk 0:adopt=theirs adopted.example.net")
    assert "xenvg/theirs" not in volumes(lab, "node1")
    assert [row[1:] for row in lab.rows("gnt-instance list -o name,disk.size/0,status")] == [
        ["3072", "running"]
    ]
    lab.ok("gnt-cluster verify")
    lab.ok("gnt-instance remove -f adopted.example.net")
    assert volumes(lab, "node1") == {}


def test_what_went_wrong_gives_it_back(lab: LiveLab) -> None:
    """A creation that fails later leaves the volume under its name, and nobody's."""
    lab.order("node2", "plant-volume", volume="xenvg/theirs", size_mib=3072)
    lab.order("node2", "fail", call="ensure-active", times=5)
    ran = lab.run(f"{ADD} -t plain -n node2 --disk 0:adopt=theirs undone.example.net")
    assert ran.status == 1, str(ran)
    lab.order("node2", "clear")
    assert volumes(lab, "node2") == {"xenvg/theirs": ""}


def test_what_cannot_be_had_is_refused(lab: LiveLab) -> None:
    """Not there, held, of another template: nothing changes."""
    lab.order("node3", "plant-volume", volume="xenvg/held", size_mib=3072, in_use="mounted on /x")
    add = f"{ADD} -n node3 refused.example.net"
    lab.refuses(f"{add} -t plain --disk 0:adopt=nosuch", "there is no xenvg/nosuch", hint="lvs")
    lab.refuses(f"{add} -t plain --disk 0:adopt=held", "mounted on /x", hint="end that use first")
    lab.refuses(f"{add} -t plain --disk 0:adopt=held,size=3G", "has a size", hint="not both")
    lab.refuses(
        f"{ADD} -n node3:node1 refused.example.net -t drbd --disk 0:adopt=held",
        "cannot be taken over",
        hint="-t plain",
    )


def test_a_connected_disk_moves_with_its_instance_and_stays(lab: LiveLab) -> None:
    """Seen on two nodes, an instance on it fails over; removed, the disk is nobody's again."""
    device = "/dev/disk/by-id/wwn-1"
    lab.ok("gnt-cluster modify --enabled-disk-templates drbd,plain,diskless,blockdev")
    for node in ("node1", "node2"):
        lab.order(node, "plant-volume", volume=device, size_mib=2048)
    lab.ok(f"{ADD} -t blockdev -n node1 --disk 0:adopt={device} san.example.net")
    lab.refuses(
        f"{ADD} -t blockdev -n node2 --disk 0:adopt={device} two.example.net",
        "is a disk of san.example.net", hint="one instance",
    )  # fmt: skip
    lab.refuses("gnt-instance grow-disk san.example.net 0 1G", "never grown", hint="itself")
    lab.ok("gnt-instance failover -f -n node2 san.example.net")
    lab.ok("gnt-cluster verify")
    lab.ok("gnt-instance remove -f san.example.net")
    assert owners(lab, "node1/devices.json") == {device: ""}


def test_new_disks_are_wiped_where_the_cluster_wants_it(lab: LiveLab) -> None:
    """Each new disk is, and what it grows by; afterwards it can be switched off again."""
    lab.ok("gnt-cluster modify --prealloc-wipe-disks=yes")
    lab.ok(f"{ADD} -t drbd -n node1:node2 -s 1G wiped.example.net")
    lab.ok("gnt-instance grow-disk wiped.example.net 0 1G")
    assert "wipe new disks: True" in lab.ok("gnt-cluster info")
    wiped = [
        record for record in lab.records()
        if record.record.kind == "task.requested" and b"wipe-disk" in bytes(record.record.data)
    ]  # fmt: skip
    assert len(wiped) == 2
    lab.ok("gnt-cluster modify --prealloc-wipe-disks=no")
    lab.ok("gnt-instance remove -f wiped.example.net")

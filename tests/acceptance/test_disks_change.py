"""`gnt-instance modify --disk` while the guest runs: real processes, simulated disks and guests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance
WEB = "web1.example.net"


@pytest.fixture(scope="module", autouse=True)
def _web(lab: LiveLab) -> None:
    lab.ok(
        f"gnt-instance add -t drbd -o debian -B memory=512 --disk 0:size=1g,name=root"
        f" -n node1:node2 {WEB}"
    )


def disks(lab: LiveLab) -> list[dict[str, Any]]:
    """The disks that the configuration has."""
    (found,) = (each for each in lab.configuration().values() if each.get("name") == WEB)
    return list(found["disks"])


def plugged(lab: LiveLab) -> list[str]:
    """The disks (uuids) that the running guest has."""
    (guest,) = lab.drivers()["node1/hypervisor.json"]["guests"].values()
    return list(guest["disks"])


def volumes(lab: LiveLab) -> set[str]:
    """The volumes on the primary node."""
    return set(lab.drivers()["node1/volumes.json"]["volumes"])


def test_a_disk_comes_and_goes_while_the_guest_runs(lab: LiveLab) -> None:
    """Both nodes hold it, the guest has it; then neither does, and nothing is left."""
    before = volumes(lab)
    told = lab.ok(f"gnt-instance modify --disk add:size=2g,name=data {WEB}")
    assert "add:size=2048,mode=rw" in told
    assert plugged(lab) == [disk["uuid"] for disk in disks(lab)]
    assert [disk.get("name") for disk in disks(lab)] == ["root", "data"]
    lab.ok("gnt-cluster verify")
    lab.ok(f"gnt-instance modify --disk data:name=spare,mode=ro {WEB}")
    assert disks(lab)[1]["mode"] == "ro"
    lab.ok(f"gnt-instance modify --disk spare:remove {WEB}")
    assert plugged(lab) == [disk["uuid"] for disk in disks(lab)]
    assert len(disks(lab)) == 1
    assert volumes(lab) == before
    lab.ok("gnt-cluster verify")


def test_a_guest_that_does_not_let_go_keeps_its_disk(lab: LiveLab) -> None:
    """The removal fails, and all is as it was."""
    lab.ok(f"gnt-instance modify --disk add:size=1g {WEB}")
    before = disks(lab)
    lab.order("node1", "fail", call="unplug-disk", times=1)
    refused = lab.run(f"gnt-instance modify --disk 1:remove {WEB}")
    assert refused.status == 1, str(refused)
    assert disks(lab) == before
    assert plugged(lab) == [disk["uuid"] for disk in before]
    lab.ok("gnt-cluster verify")
    lab.ok(f"gnt-instance modify --disk 1:remove {WEB}")


def test_a_removal_that_fails_on_the_other_node_is_taken_back(lab: LiveLab) -> None:
    """The mirror is up again on both nodes, and the guest has its disk back."""
    lab.ok(f"gnt-instance modify --disk add:size=1g {WEB}")
    before, held = [disk["uuid"] for disk in disks(lab)], volumes(lab)
    lab.order("node2", "fail", call="remove-replicated", times=1)
    refused = lab.run(f"gnt-instance modify --disk 1:remove {WEB}")
    assert refused.status == 1, str(refused)
    assert [disk["uuid"] for disk in disks(lab)] == before == plugged(lab)
    assert volumes(lab) == held
    lab.ok(f"gnt-instance modify --disk 1:remove {WEB}")


def test_a_guest_that_does_not_take_a_disk_has_it_from_its_next_start(lab: LiveLab) -> None:
    """The person is told; the disk is there."""
    lab.order("node1", "fail", call="plug-disk", times=1)
    told = lab.ok(f"gnt-instance modify --disk add:size=1g {WEB}")
    assert "from the next start on" in told
    assert len(plugged(lab)) == 1
    lab.ok(f"gnt-instance reboot {WEB}")
    assert plugged(lab) == [disk["uuid"] for disk in disks(lab)]
    lab.ok(f"gnt-instance modify --disk 1:remove {WEB}")

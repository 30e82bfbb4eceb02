"""A cluster of one real machine, by its commands: OS, disks, guest, interface, address."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.hypervisor.kvm.records import Place
from tests.acceptance.real_machine import MASTER_ADDRESS, RealMachine
from tests.nodeagent.kvm.tiny import Console, make_disk

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make interfaces and guests"),
    pytest.mark.skipif(
        not Path("/usr/share/ganeti/os/noop/create").exists(),
        reason="ganeti-os-noop is not installed",
    ),
    pytest.mark.skipif(
        not Path("/usr/bin/qemu-system-x86_64").exists(), reason="QEMU is not installed"
    ),
]
GUEST = "-t file --disk 0:size=1024m -o noop -B memory=128m -H kvm:kernel_path= -n node1"


@pytest.fixture(scope="module")
def machine() -> Iterator[RealMachine]:
    with tempfile.TemporaryDirectory(prefix="cairn-") as directory:
        machine = RealMachine(Path(directory))
        try:
            machine.up()
            yield machine
        finally:
            machine.down()


def ports(machine: RealMachine) -> list[str]:
    """The ports of the bridge."""
    found = json.loads(machine.namespace.ip("-json link show master br0"))
    return [port["ifname"] for port in found if port]


def test_a_guest_comes_and_goes_with_all_that_it_has(machine: RealMachine) -> None:
    """Installed by Debian's own noop, it runs with its interface on the bridge; removed, nothing of
    it is left."""
    machine.ok(f"gnt-instance add {GUEST} --net 0:link=br0 web1")
    listed = "gnt-instance list --no-headers -o status,os,nic.links web1"
    machine.until(listed, "running noop br0")
    assert len(ports(machine)) == 1
    machine.ok("gnt-instance remove --force --shutdown-timeout 0 web1")
    assert ports(machine) == []
    assert [path for path in machine.files.rglob("*") if path.is_file()] == []


def test_disks_and_interfaces_come_and_go_while_the_guest_runs(
    machine: RealMachine, tmp_path: Path
) -> None:
    """By `gnt-instance modify`; QEMU has each open for as long as it is there, and no longer."""
    machine.ok(f"gnt-instance add {GUEST} --no-start --net 0:link=br0 hot")
    machine.ok("gnt-instance activate-disks hot")
    (disk,) = disks(machine)
    make_disk(tmp_path / "tiny")  # a system that knows hot-plug
    with disk.open("r+b") as image:
        image.write((tmp_path / "tiny").read_bytes())
    machine.ok("gnt-instance startup hot")
    place = machine.guest(machine.ok("gnt-instance list --no-headers -o uuid hot").strip())
    with Console(place.serial) as console:
        console.tick()
    told = machine.ok("gnt-instance modify --disk add:size=1g,name=data --net add:link=br0 hot")
    assert "from the next start on" not in told
    (new,) = disks(machine) - {disk}
    assert new in open_files(place)
    assert len(ports(machine)) == 2
    told = machine.ok("gnt-instance modify --disk data:remove --net -1:remove hot")
    assert "from the next start on" not in told
    assert open_files(place) & {disk, new} == {disk}
    assert disks(machine) == {disk}
    assert len(ports(machine)) == 1
    machine.ok("gnt-cluster verify --ignore-errors=ENODEHV")
    machine.ok("gnt-instance remove --force --shutdown-timeout 0 hot")


def disks(machine: RealMachine) -> set[Path]:
    """The disks that this cluster has made."""
    return {owner.with_suffix("") for owner in machine.files.rglob("*.owner")}


def open_files(place: Place) -> set[Path]:
    """What the QEMU of a guest has open."""
    process = int(place.pid_file.read_text())
    return {each.readlink() for each in Path(f"/proc/{process}/fd").iterdir()}


def test_a_bridge_that_is_not_there_is_named(machine: RealMachine) -> None:
    """Before anything is made, with the bridges that there are; by verify, if it went later."""
    add = f"gnt-instance add {GUEST} --net 0:link=br7 web2"
    refused = machine.run(add)
    assert refused.status == 1
    assert "node node1 has no bridge br7" in refused.err
    assert "br0" in refused.hint
    machine.namespace.ip("link add br7 type bridge")
    try:
        machine.until_ok(add)  # its agent has seen the bridge
        machine.ok("gnt-instance shutdown --timeout 0 web2")
        machine.namespace.ip("link del br7")
        found = machine.run("gnt-cluster verify --error-codes").out
        assert "ERROR:ENODENET:node1:missing links: br7" in found
        assert "ENODELVM" not in found  # no disk of this cluster is made of it
        assert "br7" in machine.run("gnt-instance startup web2").err
    finally:
        machine.run("gnt-instance remove --force --shutdown-timeout 0 web2")


def test_the_masters_address_is_on_its_interface(machine: RealMachine) -> None:
    """It is taken once the node has joined, given up and taken again on order."""

    def held() -> bool:
        return MASTER_ADDRESS in machine.namespace.ip("-brief address show br0")

    machine.ok("gnt-cluster activate-master-ip")
    assert held()
    machine.ok("gnt-cluster deactivate-master-ip --yes")
    assert not held()
    machine.ok("gnt-cluster activate-master-ip")
    assert held()


def test_the_agent_is_small(machine: RealMachine) -> None:
    """Also after it has run guests, made interfaces and told what it is; 60 MiB are permitted."""
    machine.ok(f"gnt-instance add {GUEST} --net 0:link=br0 small")
    machine.ok("gnt-cluster verify --ignore-errors=ENODEHV")
    machine.ok("gnt-instance remove --force --shutdown-timeout 0 small")
    told = Path(f"/proc/{machine.agent}/smaps_rollup").read_text()
    (resident,) = (int(line.split()[1]) for line in told.splitlines() if line.startswith("Rss:"))
    assert resident < 54 * 1024, told


def test_the_node_tells_what_it_is(machine: RealMachine) -> None:
    """Memory, processors, room for files, versions: read from the machine, not made up."""
    told = machine.ok("gnt-node list --no-headers --units m -o mtotal,ctotal node1").split()
    total_kib = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert told == [str(total_kib // 1024), str(os.cpu_count())]
    versions = machine.ok("gnt-node info node1")
    assert f"kernel: {os.uname().release}" in versions
    assert "hypervisor: QEMU" in versions

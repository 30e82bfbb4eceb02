"""Interfaces of guests on a bridge that filters VLANs, which not every machine's kernel can."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tools.testbed.bed import TREE, Bed
from tools.testbed.machine import Machine

BRIDGE = "brvlan"
# Runs in the node: a tap for each VLAN that is named, on the bridge that is named first.
_UP = f"""
import sys
sys.path.insert(0, {TREE!r})
from pathlib import Path
from nodeagent.calls import InstanceSpec, NicSpec
from nodeagent.network.taps import Taps
from nodeagent.task_scope import TaskScope
instance = InstanceSpec(
    uuid="i1", name="i1", generation=1, hypervisor="kvm", os="noop",
    memory_mib=128, min_memory_mib=128, vcpus=1,
)
taps = Taps(Path("/run/cairn-test"))
for index, vlan in enumerate(sys.argv[2:]):
    nic = NicSpec(
        uuid=f"nic{{index}}", index=index, mac=f"aa:00:00:00:00:0{{index}}",
        link=sys.argv[1], vlan=vlan,
    )
    print(taps.ensure_up(instance, nic, scope=TaskScope()))
if len(sys.argv) == 2:
    taps.ensure_down("i1", scope=TaskScope())
"""


@pytest.fixture
def node(bed: Bed) -> Iterator[Machine]:
    """A node with a bridge that filters VLANs."""
    machine = bed.nodes["node1"]
    machine.check("ip", "link", "add", BRIDGE, "up", "type", "bridge", "vlan_filtering", "1")
    yield machine
    driver(machine)
    machine.check("ip", "link", "del", BRIDGE)


def driver(machine: Machine, *vlans: str) -> list[str]:
    """Have the driver make a tap for each VLAN, or remove all where none is named."""
    ran = machine.run(["python3", "-", BRIDGE, *vlans], stdin=_UP.encode())
    assert ran.status == 0, ran.stderr
    return ran.text.split()


def carried(machine: Machine, tap: str) -> dict[int, set[str]]:
    """Return the VLANs of a port, with their flags."""
    found = json.loads(machine.run(["bridge", "-json", "vlan", "show", "dev", tap]).text)
    return {vlan["vlan"]: set(vlan.get("flags", ())) for vlan in found[0]["vlans"]}


def test_a_port_carries_its_vlans_and_no_other(node: Machine) -> None:
    """An access port sends untagged and receives into its VLAN, a trunk carries tags, a mixed one
    both; one without a VLAN has the bridge's default."""
    access, trunk, mixed, default = driver(node, "10", ":20:30", ".10:20", "")
    own = {"PVID", "Egress Untagged"}
    assert carried(node, access) == {10: own}
    assert carried(node, trunk) == {20: set(), 30: set()}
    assert carried(node, mixed) == {10: own, 20: set()}
    assert carried(node, default) == {1: own}


def test_a_nic_changes_its_vlan(node: Machine) -> None:
    """What the port carried before it carries no more; asked twice, nothing changes."""
    (tap,) = driver(node, "10")
    for _ in range(2):
        assert driver(node, ":20") == [tap]
        assert carried(node, tap) == {20: set()}

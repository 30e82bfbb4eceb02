"""An agent that dies, hangs or answers late while it works: each effect happens once.

Orders of nodeagent/simulated/control.py kill the real process at each point of a task's path.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from nodeagent.simulated.faults import POINTS
from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance

NODES = ("node1", "node2", "node3")


def add(name: str, *options: str) -> tuple[str, ...]:
    return ("gnt-instance", "add", "-t", "drbd", "-o", "debian", "-B", "memory=512", "-s", "1G",
            "-n", "node2:node3", *options, name)  # fmt: skip


def disk_of(lab: LiveLab, name: str) -> str:
    return lab.rows(f"gnt-instance list -o disk.uuids {name}")[0][0]


def of_instance(lab: LiveLab, node: str, *idents: str) -> dict[str, int]:
    """Return the effects on a node that bear one of these ids."""
    return {
        effect: times
        for effect, times in lab.effects(node).items()
        if any(ident in effect for ident in idents)
    }


def everything_of(lab: LiveLab, name: str) -> tuple[str, ...]:
    """Return the ids under which effects on an instance are counted: its own, disks', volumes'."""
    (instance,) = [
        thing
        for key, thing in lab.configuration().items()
        if key.startswith("instance/") and thing["name"] == name
    ]
    text = json.dumps(instance)
    volumes = [
        volume
        for node in ("node2", "node3")
        for volume in lab.drivers()[f"{node}/volumes.json"].get("volumes", {})
        if volume in text
    ]
    disks: list[dict[str, Any]] = instance["disks"]
    return (instance["uuid"], *(disk["uuid"] for disk in disks), *volumes)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("node", ["node2", "node3"])
def test_an_agent_that_dies_at_any_point_does_each_thing_once(
    lab: LiveLab, point: str, node: str
) -> None:
    """Primary or secondary, started again it goes on; the instance runs, each effect counted 1."""
    name = f"{point}-{node}.example.net"
    pid = lab.pid(node)
    assert pid is not None
    lab.order(node, "die", point=point)
    client = lab.command(*add(name))
    lab.wait_for_death(node, pid)
    assert client.poll() is None, "the command ended before its node was back"
    lab.start(node)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0, output
    assert lab.rows(f"gnt-instance list -o status {name}") == [["running"]]
    idents = everything_of(lab, name)
    for each in ("node2", "node3"):
        counted = of_instance(lab, each, *idents)
        assert counted, f"nothing was done on {each}"
        assert set(counted.values()) == {1}, counted
    lab.ok(f"gnt-instance remove -f {name}")


def test_a_call_that_failed_after_it_had_acted_is_undone(lab: LiveLab) -> None:
    """The node says `failed`, though the volume is there: nothing of it is left."""
    before = lab.configuration()
    lab.order("node3", "fail-after", call="ensure-volume", times=1)
    with_volumes = {n: lab.drivers().get(f"{n}/volumes.json", {}).get("volumes") for n in NODES}
    client = lab.command(*add("late.example.net"))
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 1, output
    assert "ensure-volume" in output
    assert lab.configuration() == before
    volumes = {n: lab.drivers().get(f"{n}/volumes.json", {}).get("volumes") for n in NODES}
    assert volumes == with_volumes


@pytest.mark.parametrize(
    "call", ["ensure-volume", "ensure-replicated", "ensure-active", "install-os"]
)
def test_a_call_that_fails_is_said_and_taken_back(lab: LiveLab, call: str) -> None:
    """The command names the step and the node's words; configuration and nodes are as before."""
    before = lab.configuration()
    left = without_effects(lab.drivers())
    lab.order("node2", "fail", call=call, times=5)
    ran = lab.run(" ".join(add("failing.example.net")))
    lab.order("node2", "clear")
    assert ran.status == 1, str(ran)
    assert "the lab wanted it" in ran.err
    assert call in ran.err
    assert lab.configuration() == before
    assert without_effects(lab.drivers()) == left


def test_an_instance_that_is_made_and_does_not_start_is_kept(lab: LiveLab) -> None:
    """The command fails with the line to type; verify finds it; once started all is well."""
    lab.order("node2", "fail", call="ensure-running", times=5)
    ran = lab.run(" ".join(add("unstarted.example.net")))
    lab.order("node2", "clear")
    assert ran.status == 1, str(ran)
    assert "was created, and did not start" in ran.err
    assert "gnt-instance startup unstarted.example.net" in ran.hint
    verified = lab.run("gnt-cluster verify")
    assert verified.status == 1
    assert "unstarted.example.net: does not run" in verified.out
    lab.ok("gnt-instance startup unstarted.example.net")
    lab.ok("gnt-cluster verify")
    lab.ok("gnt-instance remove -f unstarted.example.net")


def without_effects(drivers: dict[str, Any]) -> dict[str, Any]:
    """Return what the nodes hold, without the count of what was done and without empty tables."""
    history = ("effects", "generations", "node")
    held = {
        f"{name}/{table}": content
        for name, state in drivers.items()
        for table, content in state.items()
        if table not in history
    }
    return {place: content for place, content in held.items() if content}


def test_an_agent_that_is_stopped_for_a_while_acts_once(lab: LiveLab) -> None:
    """SIGSTOP in the middle of a task, SIGCONT later: slow, not lost, not doubled."""
    begin = lab.head
    lab.order("node2", "slow", seconds=0.5)
    client = lab.command(*add("stopped.example.net"))
    lab.wait_for_kind("task.requested", after=begin)
    lab.kill("node2", signal.SIGSTOP)
    lab.wait_for_kind("node.lost", after=begin)
    lab.kill("node2", signal.SIGCONT)
    lab.order("node2", "clear")
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0, output
    lab.wait_for_kind("node.returned", after=begin)
    idents = everything_of(lab, "stopped.example.net")
    counted = of_instance(lab, "node2", *idents)
    assert set(counted.values()) == {1}, counted
    lab.ok("gnt-instance remove -f stopped.example.net")

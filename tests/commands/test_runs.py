"""Start, stop, reboot, removal of an instance."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.errors import Refused
from commands.given import Given
from commands.instance_ops import reboot, remove, shutdown, startup
from nodeagent.calls import EnsureReplicated, EnsureRunning, EnsureStopped
from projections.objects import ADMIN_DOWN, ADMIN_OFFLINE, ADMIN_UP
from projections.plans import Call, Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

WEB = "web1.example.net"


def mirror_town(**fields: Any) -> Town:
    """web1 on node3 and node1."""
    town = Town()
    town.add_instance(1, nodes=(3, 1), template="drbd", **fields)
    return town


def down_town() -> Town:
    """The same, with web1 down."""
    return mirror_town(admin_state=ADMIN_DOWN, disks_active=False)


def plan_of(town: Town, handler: Any, op: Any) -> Plan:
    """Return the plan of an order."""
    plan = town.decide(handler, op)
    assert isinstance(plan, Plan)
    return plan


def start(**fields: Any) -> startup.InstanceStartup:
    """Return an order to start web1."""
    return startup.InstanceStartup(instance_name=WEB, **fields)


def stop(**fields: Any) -> shutdown.InstanceShutdown:
    """Return an order to stop web1."""
    return shutdown.InstanceShutdown(instance_name=WEB, **fields)


def test_a_start_has_the_secondary_follow_first() -> None:
    """The wish, the follower, the leader, the guest; and web1 is wanted up with active disks."""
    town = down_town()
    plan = plan_of(town, startup.HANDLER, start())
    assert ids(plan) == ["wanted", "active/node1/0", "active/node3/0", "start"]
    assert plan.reserves.nodes[0].memory_mib == 512
    town.carry_out(startup.HANDLER, start())
    assert (town.instance().admin_state, town.instance().disks_active) == (ADMIN_UP, True)


def test_a_mirror_starts_without_its_other_node() -> None:
    """It stands alone: no call goes to the offline node, and the spec names no peer."""
    town = down_town()
    town.set_node(1, offline=True)
    plan = plan_of(town, startup.HANDLER, start())
    assert ids(plan) == ["wanted", "active/node3/0", "start"]
    started = unpacked(call_steps(plan)["start"])
    assert isinstance(started, EnsureRunning)
    assert started.instance.disks[0].peer is None


def test_starting_what_runs_never_stops_it() -> None:
    """Going back leaves a guest alone that ran before."""
    plan = plan_of(mirror_town(), startup.HANDLER, start())
    assert call_steps(plan)["start"].undo is None


def test_parameters_of_one_start_are_not_remembered() -> None:
    """The node is told the memory of this start; the log keeps its own."""
    town = down_town()
    plan = plan_of(town, startup.HANDLER, start(beparams={"memory": "1G"}))
    started = unpacked(call_steps(plan)["start"])
    assert isinstance(started, EnsureRunning)
    assert started.instance.memory_mib == 1024
    town.carry_out(startup.HANDLER, start(beparams={"memory": "1G"}))
    assert town.instance().beparams["maxmem"] == 512


def test_a_start_that_finds_no_memory_is_refused() -> None:
    """What is free on its primary is told."""
    town = mirror_town(
        admin_state=ADMIN_DOWN, disks_active=False, beparams={"maxmem": 8192, "minmem": 128}
    )
    town.memory_mib[node_uuid(3)] = 8000
    with pytest.raises(Refused, match="too little memory: 8192 MiB wanted, 8000 MiB free"):
        town.decide(startup.HANDLER, start())


def test_the_wish_of_a_crashed_instance_is_no_rival_of_its_start() -> None:
    """Its memory is kept free for it already, so it is not counted against it."""
    town = mirror_town(beparams={"maxmem": 5000, "minmem": 128})
    assert isinstance(startup.HANDLER.decide(start(), town.cluster, without_guests(town), ()), Plan)


def without_guests(town: Town) -> Given:
    """Return given values in which no node was seen to run anything."""
    given = town.given()
    idle = {
        node: msgspec.structs.replace(status, instances=(), memory_free_mib=8192)
        for node, status in given.seen.items()
    }
    return msgspec.structs.replace(given, seen=idle)


def test_only_the_wish_is_recorded_where_the_primary_is_offline() -> None:
    """With ignore_offline_nodes; without it the start is refused with the way out."""
    town = down_town()
    town.set_node(3, offline=True)
    assert ids(plan_of(town, startup.HANDLER, start(ignore_offline_nodes=True))) == ["wanted"]
    assert ids(plan_of(town, shutdown.HANDLER, stop(ignore_offline_nodes=True))) == ["wanted"]
    with pytest.raises(Refused) as refusal:
        town.decide(startup.HANDLER, start())
    assert "gnt-node modify --offline=no node3" in refusal.value.hint


def test_an_offline_instance_is_neither_started_nor_stopped() -> None:
    """It is not managed; force stops it all the same."""
    town = mirror_town(admin_state=ADMIN_OFFLINE, disks_active=False)
    with pytest.raises(Refused, match="is offline"):
        town.decide(startup.HANDLER, start())
    with pytest.raises(Refused, match="is offline"):
        town.decide(shutdown.HANDLER, stop())
    assert isinstance(town.decide(shutdown.HANDLER, stop(force=True)), Plan)


def test_a_stop_asks_the_guest_for_as_long_as_it_was_told() -> None:
    """Then the disks are shut down, the primary's first; going back starts it again."""
    plan = plan_of(mirror_town(), shutdown.HANDLER, stop(timeout=7))
    assert ids(plan) == ["wanted", "stop", "inactive/node3/0", "inactive/node1/0"]
    order = call_steps(plan)["stop"]
    asked = unpacked(order)
    assert isinstance(asked, EnsureStopped)
    assert (asked.grace_s, asked.force) == (7, False)
    assert order.timeout_s > 7
    assert isinstance(unpacked(order, undo=True), EnsureRunning)


def test_a_stop_that_is_not_remembered_leaves_the_wish_and_the_disks() -> None:
    """Only the guest stops."""
    assert ids(plan_of(mirror_town(), shutdown.HANDLER, stop(no_remember=True))) == ["stop"]


@pytest.mark.parametrize("how", ["soft", "hard"])
def test_a_reboot_is_one_call_that_is_never_taken_back(how: str) -> None:
    """Made twice it reboots once, since it bears an incarnation."""
    op = reboot.InstanceReboot(instance_name=WEB, reboot_type=how)
    plan = plan_of(mirror_town(), reboot.HANDLER, op)
    (step,) = plan.steps
    assert isinstance(step, Call)
    assert step.final


def test_a_reboot_of_what_does_not_run_starts_it_anew() -> None:
    """Stopped to be sure, disks shut down and up again, started."""
    town = mirror_town()
    op = reboot.InstanceReboot(instance_name=WEB, reboot_type="soft")
    plan = reboot.HANDLER.decide(op, town.cluster, without_guests(town), ())
    assert ids(plan)[0] == "stop"
    assert ids(plan)[-1] == "start"


def test_a_reboot_that_cannot_start_says_so() -> None:
    """The opcode fails, and nothing is undone."""
    op = reboot.InstanceReboot(instance_name=WEB, reboot_type="full")
    done, _ = mirror_town().carry_out(reboot.HANDLER, op, fail=["start"])
    assert done.problem is not None
    assert "was stopped, and did not start" in done.problem.message


def test_what_is_down_is_not_rebooted() -> None:
    """The hint starts it."""
    op = reboot.InstanceReboot(instance_name=WEB, reboot_type="hard")
    with pytest.raises(Refused, match="not meant to run"):
        down_town().decide(reboot.HANDLER, op)


def destroy(**fields: Any) -> remove.InstanceRemove:
    """Return an order to remove web1."""
    return remove.InstanceRemove(instance_name=WEB, **fields)


def test_volumes_are_destroyed_last_and_from_there_on_only_forward() -> None:
    """Everything before has an undo, the removals and the record are final."""
    town = mirror_town()
    plan = plan_of(town, remove.HANDLER, destroy())
    assert ids(plan) == [
        "stop",
        "inactive/node3/0",
        "inactive/node1/0",
        "unmirror/node3/0",
        "unmirror/node1/0",
        "remove/node3/0/data",
        "remove/node3/0/meta",
        "remove/node1/0/data",
        "remove/node1/0/meta",
        "removed",
    ]
    steps = call_steps(plan)
    assert all(step.final == name.startswith("remove/") for name, step in steps.items())
    assert all(step.undo for step in steps.values() if not step.final)
    assert isinstance(unpacked(steps["unmirror/node1/0"], undo=True), EnsureReplicated)
    town.carry_out(remove.HANDLER, destroy())
    assert not town.cluster.instances


def test_a_node_that_is_off_is_passed_over() -> None:
    """Its volumes stay, which the plan says; a node that is only lost is refused."""
    town = mirror_town()
    town.set_node(1, offline=True)
    plan = plan_of(town, remove.HANDLER, destroy())
    assert all("node1" not in step for step in ids(plan))
    assert plan.explanation == ("its volumes on node1 stay there: out of reach",)
    town = mirror_town()
    town.lose(1)
    with pytest.raises(Refused, match="node1 of web1"):
        town.decide(remove.HANDLER, destroy())
    assert isinstance(town.decide(remove.HANDLER, destroy(ignore_failures=True)), Plan)

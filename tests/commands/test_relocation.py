"""Failover and migration: where an instance can go, and what is decided of what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from commands.errors import Refused
from commands.handler import Done
from commands.instance_ops.failover import HANDLER as FAILOVER
from commands.instance_ops.failover import InstanceFailover
from commands.instance_ops.migrate import HANDLER as MIGRATE
from commands.instance_ops.migrate import InstanceMigrate
from nodeagent.calls import EnsureRunning, Migrate, PrepareMigration
from projections.events.configuration import DiskStateSeen
from projections.objects import ADMIN_DOWN, ADMIN_UP
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

WEB = "web1.example.net"


def mirror_town(**fields: Any) -> Town:
    """web1 on node3 and node1."""
    town = Town()
    town.add_instance(1, nodes=(3, 1), template="drbd", **fields)
    return town


def plan_of(town: Town, handler: Any, op: Any) -> Plan:
    """Return the plan of an order."""
    plan = town.decide(handler, op)
    assert isinstance(plan, Plan)
    return plan


def fail_over(**fields: Any) -> InstanceFailover:
    """Return an order for web1."""
    return InstanceFailover(instance_name=WEB, **fields)


def migrate(**fields: Any) -> InstanceMigrate:
    """Return an order for web1."""
    return InstanceMigrate(instance_name=WEB, **fields)


def report(town: Town, node: int, state: str) -> None:
    """An agent reports the state of web1's disk."""
    web = town.instance()
    town.fold(
        f"instance/{web.uuid}",
        DiskStateSeen(instance=web.uuid, disk=web.disks[0].uuid, node=node_uuid(node), state=state),
    )


def test_a_failover_turns_the_sides_and_raises_the_generation() -> None:
    """Stopped, followed, led, recorded, started on the other node."""
    town = mirror_town()
    plan = plan_of(town, FAILOVER, fail_over())
    assert ids(plan) == ["stop", "follow/node3/0", "lead/node1/0", "moved", "start"]
    started = unpacked(call_steps(plan)["start"])
    assert isinstance(started, EnsureRunning)
    assert started.instance.generation == 2
    town.carry_out(FAILOVER, fail_over())
    web = town.instance()
    assert (web.nodes, web.generation) == ((node_uuid(1), node_uuid(3)), 2)
    assert web.disks[0].sides[0].node == node_uuid(1)


def test_an_instance_that_is_down_only_changes_places() -> None:
    """Nothing has to happen on any node."""
    town = mirror_town(admin_state=ADMIN_DOWN, disks_active=False)
    assert ids(plan_of(town, FAILOVER, fail_over())) == ["moved"]


def test_a_primary_that_is_off_is_not_asked_and_one_that_is_lost_is_refused() -> None:
    """Lost is not off: the guest may still write to its disk."""
    town = mirror_town()
    town.set_node(3, offline=True)
    report(town, 1, "degraded")
    assert ids(plan_of(town, FAILOVER, fail_over())) == ["lead/node1/0", "moved", "start"]
    town = mirror_town()
    town.lose(3)
    for op in (fail_over(), fail_over(ignore_consistency=True)):
        with pytest.raises(Refused) as refusal:
            town.decide(FAILOVER, op)
        assert "may still run there" in refusal.value.message
        assert "gnt-node modify --offline=yes node3" in refusal.value.hint


@pytest.mark.parametrize("state", ["faulty", "syncing", "degraded"])
def test_a_side_that_is_not_whole_is_refused(state: str) -> None:
    """Unless the loss is accepted; a migration never accepts it."""
    town = mirror_town()
    report(town, 1, state)
    with pytest.raises(Refused, match=f"disk 0 of web1.example.net is {state} on node1"):
        town.decide(FAILOVER, fail_over())
    with pytest.raises(Refused, match=f"is {state} on node1"):
        town.decide(MIGRATE, migrate())
    assert isinstance(town.decide(FAILOVER, fail_over(ignore_consistency=True)), Plan)


def test_a_start_that_fails_leaves_it_on_the_new_node() -> None:
    """Wanted up there, and the opcode says what went wrong."""
    town = mirror_town()
    done, _ = town.carry_out(FAILOVER, fail_over(), fail=["start"])
    assert done.problem is not None
    assert "was failed over, and did not start" in done.problem.message
    assert (town.instance().primary, town.instance().admin_state) == (node_uuid(1), ADMIN_UP)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_node": "node2"}, "can only go to its secondary node, node1"),
        ({"cleanup": True}, "cleanup is not supported yet"),
    ],
)
def test_a_mirror_goes_to_its_secondary_only(fields: dict[str, Any], message: str) -> None:
    """Another node has no data of it."""
    with pytest.raises(Refused, match=message):
        mirror_town().decide(FAILOVER, fail_over(**fields))


def test_a_plain_instance_cannot_leave_its_node() -> None:
    """Its disks are only there."""
    town = Town()
    town.add_instance(1)
    with pytest.raises(Refused, match="cannot leave its node"):
        town.decide(FAILOVER, fail_over())


def test_shared_storage_goes_where_there_is_most_memory() -> None:
    """The home node is no candidate, however much it has."""
    town = Town()
    town.add_instance(1, template="sharedfile")
    town.memory_mib[node_uuid(2)] = 4096
    town.memory_mib[node_uuid(1)] = 65536
    done, outcomes = town.carry_out(FAILOVER, fail_over())
    assert done.problem is None
    assert town.instance().primary == node_uuid(3)
    assert "chosen node3" in outcomes[0].plan.explanation[0]


def test_shared_storage_has_no_secondary_wherever_it_went() -> None:
    """It may go on to any node: the one that it came from is no mirror of it."""
    town = Town()
    town.add_instance(1, template="sharedfile")
    home = town.instance().primary
    for at in (number for number in (3, 2, 1) if node_uuid(number) != home):
        done, _ = town.carry_out(FAILOVER, fail_over(target_node=f"node{at}"))
        assert done.problem is None
        assert (town.instance().primary, town.instance().secondary) == (node_uuid(at), None)
        assert town.instance().nodes == (node_uuid(at),)


def test_a_target_without_memory_is_refused() -> None:
    """What is free is told."""
    town = mirror_town()
    town.memory_mib[node_uuid(1)] = 100
    for handler, op in ((FAILOVER, fail_over()), (MIGRATE, migrate())):
        with pytest.raises(Refused, match="512 MiB wanted, 100 MiB free"):
            town.decide(handler, op)


def test_a_migration_is_settled_by_what_came_of_it() -> None:
    """It came through: the record first, then both nodes are put in order."""
    town = mirror_town()
    plan = plan_of(town, MIGRATE, migrate())
    assert ids(plan) == ["follow/node1/0", "dual/node3/0", "dual/node1/0", "describe"]
    done, outcomes = town.carry_out(MIGRATE, migrate())
    assert ids(outcomes[1].plan) == ["prepare", "migrate"]
    ready = unpacked(call_steps(outcomes[1].plan)["prepare"])
    assert isinstance(ready, PrepareMigration)
    assert (ready.address, ready.running) == ("192.0.2.1", b"as it is")
    sent = call_steps(outcomes[1].plan)["migrate"]
    order = unpacked(sent)
    assert isinstance(order, Migrate)
    assert (sent.final, sent.tolerate, order.live) == (True, True, True)
    assert order.target_address == "192.0.2.1"
    assert ids(outcomes[2].plan) == [
        "moved",
        "finish/node1",
        "finish/node3",
        "single/node3/0",
        "single/node1/0",
    ]
    assert done == Done()
    assert town.instance().primary == node_uuid(1)


def test_a_migration_that_failed_is_put_in_order_and_told() -> None:
    """The instance stays where it was, in the same generation."""
    town = mirror_town()
    done, outcomes = town.carry_out(MIGRATE, migrate(), fail=["migrate"])
    assert ids(outcomes[2].plan) == [
        "abort/node1",
        "abort/node3",
        "single/node1/0",
        "single/node3/0",
    ]
    assert done.problem is not None
    assert "runs where it ran: it broke" in done.problem.message
    assert (town.instance().primary, town.instance().generation) == (node_uuid(3), 1)


def test_a_source_that_is_lost_meanwhile_leaves_the_question_to_a_person() -> None:
    """Nobody knows where the guest runs: the refusal after the point of no return parks."""
    town = mirror_town()
    first = town.through(plan_of(town, MIGRATE, migrate()))
    second = town.decide(MIGRATE, migrate(), so_far=(first,))
    assert isinstance(second, Plan)
    sent = town.through(second, fail=["migrate"])
    town.lose(3)
    with pytest.raises(Refused, match="it is not known on which node it runs"):
        town.decide(MIGRATE, migrate(), so_far=(first, sent))


def test_a_target_that_is_lost_meanwhile_leaves_the_instance_where_it_was() -> None:
    """The source is asked whether it is at work there, and has the disks for itself again; of the
    target nothing is asked."""
    town = mirror_town()
    first = town.through(plan_of(town, MIGRATE, migrate()))
    second = town.decide(MIGRATE, migrate(), so_far=(first,))
    assert isinstance(second, Plan)
    sent = town.through(second, fail=["migrate"])
    town.lose(1)
    third = town.decide(MIGRATE, migrate(), so_far=(first, sent))
    assert isinstance(third, Plan)
    assert ids(third) == ["abort/node3", "still", "single/node3/0"]
    assert all(step.final and not step.tolerate for step in call_steps(third).values())
    settled = town.through(third)
    done = town.decide(MIGRATE, migrate(), so_far=(first, sent, settled))
    assert isinstance(done, Done)
    assert done.problem is not None
    assert "runs where it ran" in done.problem.message


def test_what_does_not_run_is_failed_over_if_that_is_allowed() -> None:
    """Else it is refused with the command."""
    town = mirror_town(admin_state=ADMIN_DOWN, disks_active=False)
    with pytest.raises(Refused, match="does not run"):
        town.decide(MIGRATE, migrate())
    done, _ = town.carry_out(MIGRATE, migrate(allow_failover=True))
    assert done.problem is None
    assert town.instance().primary == node_uuid(1)


def test_a_migration_that_fails_over_takes_no_side_that_is_not_whole() -> None:
    """What does not run is not thrown onto old data: jobs of hbal and evacuations allow it."""
    town = mirror_town(admin_state=ADMIN_DOWN)
    report(town, 1, "syncing")
    with pytest.raises(Refused, match="is syncing on node1"):
        town.decide(MIGRATE, migrate(allow_failover=True))


def test_always_failover_is_heeded() -> None:
    """The backend parameter says that the guest cannot be migrated."""
    town = mirror_town(beparams={"maxmem": 512, "minmem": 512, "always_failover": True})
    with pytest.raises(Refused, match="always failed over"):
        town.decide(MIGRATE, migrate())

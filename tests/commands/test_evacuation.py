"""Evacuating nodes and groups: who goes where, by which jobs, and what is refused."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
import pytest

from commands import allocator_call
from commands.api import JobSpec
from commands.errors import Refused
from commands.group_ops import evacuate as group_evacuate
from commands.group_ops.evacuate import GroupEvacuate
from commands.handler import Done, PlanOutcome
from commands.instance_ops import change_group
from commands.instance_ops.change_group import InstanceChangeGroup
from commands.node_ops import evacuate
from commands.node_ops.evacuate import NodeEvacuate
from commands.placement.departures import replay
from commands.registry import Registry
from nodeagent.calls import AllocatorAnswer, RunAllocator
from projections.events import configuration as facts
from projections.objects import ADMIN_DOWN, Group
from projections.plans import Plan
from tests.commands.building import UUID, Town, call_steps, node_uuid, unpacked

OTHER = Group(uuid=UUID.format(901), name="other")


def ended(town: Town, handler: Any, op: Any) -> Done:
    """Return how the opcode ends."""
    done, _ = town.carry_out(handler, op)
    return done


def orders(done: Done) -> list[list[str]]:
    """Return the opcodes of the jobs that follow, in words."""
    return [[_words(packed) for packed in job.ops] for job in done.jobs]


def _words(packed: Any) -> str:
    op = Registry().decode(packed)
    target = getattr(op, "remote_node", None) or getattr(op, "target_node", None)
    return " ".join(filter(None, (op.summary(), target)))


def result(done: Done) -> dict[str, Any]:
    """Return the result as clients see it."""
    found: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(done.result))
    return found


def emptied() -> Town:
    """Return a town of four nodes, with something of each kind on node1."""
    town = Town(4)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(3, 1), template="drbd")
    town.add_instance(3, nodes=(1,), template="plain")
    town.add_instance(4, nodes=(1,), template="sharedfile", admin_state=ADMIN_DOWN)
    return town


def test_primaries_change_over_and_shared_ones_go_anywhere() -> None:
    """What runs migrates, what does not is failed over, what cannot move stays."""
    done = ended(emptied(), evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="primary-only"))
    first, second = orders(done)
    assert first == ["INSTANCE_MIGRATE(web1.example.net)"]
    assert second[0].startswith("INSTANCE_FAILOVER(web4.example.net) node")
    told = result(done)
    assert [one[0] for one in told["moved"]] == ["web1.example.net", "web4.example.net"]
    assert told["moved"][0][1:] == ["default", ["node2", "node1"]]
    assert told["failed"] == [["web3.example.net", "Instances of type plain cannot be relocated"]]


def test_mirrors_go_to_the_best_node_or_to_the_named_one() -> None:
    """`--secondary-only`, with and without a node."""
    town = emptied()
    op = NodeEvacuate(node_name="node1", mode="secondary-only", early_release=True)
    ((chosen,),) = orders(ended(town, evacuate.HANDLER, op))
    assert chosen.startswith("INSTANCE_REPLACE_DISKS(web2.example.net) node")
    named = msgspec.structs.replace(op, remote_node="node4")
    done = ended(town, evacuate.HANDLER, named)
    assert orders(done) == [["INSTANCE_REPLACE_DISKS(web2.example.net) node4"]]
    assert Registry().decode(done.jobs[0].ops[0]).early_release  # type: ignore[attr-defined]
    assert result(done)["moved"] == [["web2.example.net", "default", ["node3", "node4"]]]


def test_a_node_is_emptied_with_one_copy_for_each_instance() -> None:
    """What runs there changes over; mirrors, and what was left behind, are made anew elsewhere."""
    town = Town(3)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(2, 1), template="drbd")
    done = ended(town, evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="all"))
    assert orders(done) == [
        ["INSTANCE_MIGRATE(web1.example.net)", "INSTANCE_REPLACE_DISKS(web1.example.net) node3"],
        ["INSTANCE_REPLACE_DISKS(web2.example.net) node3"],
    ]
    assert [one[2] for one in result(done)["moved"]] == [["node2", "node3"]] * 2
    assert result(done)["failed"] == []


def test_an_instance_whose_other_node_is_full_goes_the_long_way() -> None:
    """It gets two new nodes, one after the other, so it never has fewer copies."""
    town = Town(4)
    town.add_instance(1, nodes=(1, 2), template="drbd", beparams={"maxmem": 3000})
    town.memory_mib[node_uuid(2)] = 2000
    done = ended(town, evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="all"))
    ((first, second, third),) = orders(done)
    assert first.startswith("INSTANCE_REPLACE_DISKS(web1.example.net) node")
    assert second == "INSTANCE_MIGRATE(web1.example.net)"
    assert third.startswith("INSTANCE_REPLACE_DISKS(web1.example.net) node")
    assert {first[-1], third[-1]} == {"3", "4"}


def test_an_offline_primary_is_left_by_failover() -> None:
    """Nothing can migrate away from a machine that is off."""
    town = emptied()
    town.set_node(1, offline=True, master_candidate=False)
    done = ended(town, evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="primary-only"))
    assert orders(done)[0] == ["INSTANCE_FAILOVER(web1.example.net)"]


def test_the_decision_is_recorded_and_can_be_made_again() -> None:
    """A plan without steps holds it; the score stands with it."""
    town = emptied()
    plan = town.decide(evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="primary-only"))
    assert isinstance(plan, Plan)
    assert plan.steps == ()
    assert plan.explanation[0].startswith("web1.example.net goes to node2:node1 (default)")
    assert "web3.example.net stays: Instances of type plain" in plan.explanation[2]
    was, again = replay(town.cluster, plan.basis)
    assert was == again


def test_a_node_without_instances_is_empty_already() -> None:
    """Nothing is to be done, and that is no error."""
    done = ended(Town(2), evacuate.HANDLER, NodeEvacuate(node_name="node2", mode="all"))
    assert (done.jobs, result(done)["jobs"]) == ((), [])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mode": "everything"}, "no mode"),
        ({"mode": "all", "remote_node": "node2"}, "only mirrors"),
        ({"mode": "secondary-only", "remote_node": "node1"}, "is the node that is emptied"),
        ({"mode": "secondary-only", "remote_node": "node2", "iallocator": "hail"}, "is to be"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    """With what would."""
    with pytest.raises(Refused, match=says) as refusal:
        emptied().decide(evacuate.HANDLER, NodeEvacuate(node_name="node1", **fields))
    assert refusal.value.hint


def test_where_nobody_can_go_it_is_refused_with_the_reasons() -> None:
    """Plain disks hold an instance where it is."""
    town = Town(2)
    town.add_instance(1, nodes=(1,))
    with pytest.raises(Refused, match=r"web1.example.net: Instances of type plain cannot"):
        town.decide(evacuate.HANDLER, NodeEvacuate(node_name="node1", mode="primary-only"))


# --- groups -----------------------------------------------------------------------------------


def two_groups() -> Town:
    """Return a town whose nodes 3, 4 and 5 are another group."""
    town = Town(2)
    town.fold("group", facts.GroupAdded(group=OTHER))
    for number in (3, 4, 5):
        town.add_node(number, group=OTHER.uuid)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(2,), template="sharedfile")
    return town


def test_a_group_is_emptied_into_another() -> None:
    """Each instance is one job; in a row, if that is wanted."""
    town = two_groups()
    op = GroupEvacuate(group_name="default", sequential=True, force_failover=True)
    done = ended(town, group_evacuate.HANDLER, op)
    first, second = orders(done)
    assert [each.split("(")[0] for each in first] == [
        "INSTANCE_REPLACE_DISKS", "INSTANCE_FAILOVER", "INSTANCE_REPLACE_DISKS",
    ]  # fmt: skip
    assert second[0].startswith("INSTANCE_FAILOVER(web2.example.net) node")
    assert done.jobs[0].depends == ()
    assert done.jobs[1].depends[0][0][0] == -1
    assert {one[1] for one in result(done)["moved"]} == {"other"}


def test_one_instance_changes_its_group() -> None:
    """`gnt-instance change-group`."""
    op = InstanceChangeGroup(instance_name="web1.example.net", target_groups=("other",))
    done = ended(two_groups(), change_group.HANDLER, op)
    ((name, group, nodes),) = result(done)["moved"]
    assert (name, group) == ("web1.example.net", "other")
    assert set(nodes) < {"node3", "node4", "node5"}


def test_a_group_that_is_left_is_no_target() -> None:
    """Nor is there one where there is only one group."""
    with pytest.raises(Refused, match="is the one that is left"):
        two_groups().decide(
            group_evacuate.HANDLER, GroupEvacuate(group_name="other", target_groups=("other",))
        )
    with pytest.raises(Refused, match="no other group"):
        emptied().decide(group_evacuate.HANDLER, GroupEvacuate(group_name="default"))


# --- allocators -------------------------------------------------------------------------------


def told(plan: Plan, answer: object) -> tuple[PlanOutcome, ...]:
    """Return the outcome of the plan that asks, with this answer."""
    packed = AllocatorAnswer(answer=zlib.compress(json.dumps(answer).encode()))
    result = msgspec.Raw(msgspec.msgpack.encode(packed))
    return (PlanOutcome(plan=plan, results={allocator_call.STEP: result}),)


def test_an_allocator_says_who_goes_where() -> None:
    """Its jobs are submitted as they are."""
    town = emptied()
    op = NodeEvacuate(
        node_name="node1", mode="secondary-only", iallocator="mine", ignore_soft_errors=True
    )
    plan = town.decide(evacuate.HANDLER, op)
    assert isinstance(plan, Plan)
    call = unpacked(call_steps(plan)[allocator_call.STEP])
    assert isinstance(call, RunAllocator)
    assert call.options == ("--ignore-soft-errors",)
    job = {
        "OP_ID": "OP_INSTANCE_REPLACE_DISKS",
        "instance_name": "web2.example.net",
        "mode": "replace_new_secondary",
        "remote_node": "node4",
        "disks": [],
        "early_release": False,
        "ignore_ipolicy": False,
    }
    answer = [[["web2.example.net", "default", ["node3", "node4"]]], [], [[job]]]
    good = {"success": True, "info": "", "result": answer}
    done = town.decide(evacuate.HANDLER, op, so_far=told(plan, good))
    assert isinstance(done, Done)
    assert isinstance(done.jobs[0], JobSpec)
    assert orders(done) == [["INSTANCE_REPLACE_DISKS(web2.example.net) node4"]]
    for bad in (
        [[], []],
        [[["nobody", "default", ["node3"]]], [], []],
        [[], [], [[{**job, "OP_ID": "OP_NO_SUCH"}]]],
        [[], [], [[{**job, "colour": "red"}]]],
    ):
        outcomes = told(plan, {"success": True, "info": "", "result": bad})
        with pytest.raises(Refused):
            town.decide(evacuate.HANDLER, op, so_far=outcomes)

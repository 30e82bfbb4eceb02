"""An allocator of the operator's own is asked first, and its answer is acted upon or refused."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
import pytest

from commands import allocator_call
from commands.cluster_ops import set_params as cluster_set_params
from commands.errors import Refused
from commands.handler import PlanOutcome
from commands.instance_ops import (
    create,
    failover,
    migrate,
    multi_alloc,
    recreate_disks,
    replace_disks,
)
from commands.instance_ops.create import InstanceCreate
from commands.instance_ops.failover import InstanceFailover
from commands.instance_ops.migrate import InstanceMigrate
from commands.instance_ops.multi_alloc import InstanceMultiAlloc
from commands.instance_ops.recreate_disks import InstanceRecreateDisks
from commands.instance_ops.replace_disks import InstanceReplaceDisks
from nodeagent.calls import AllocatorAnswer, RunAllocator
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked

ORDER = InstanceCreate(
    instance_name="mail.example.net",
    disk_template="drbd",
    disks=({"size": 10240},),  # type: ignore[arg-type]  # as clients send it
    nics=({},),  # type: ignore[arg-type]
    os_type="debian",
    beparams={"memory": 512},
    iallocator="mine",
)


def answered(plan: Plan, answer: object) -> tuple[PlanOutcome, ...]:
    """Return the outcome of the plan that asks, with this answer."""
    packed = AllocatorAnswer(answer=zlib.compress(json.dumps(answer).encode()))
    result = msgspec.Raw(msgspec.msgpack.encode(packed))
    return (PlanOutcome(plan=plan, results={allocator_call.STEP: result}),)


def good(result: object) -> dict[str, object]:
    """Return a good answer."""
    return {"success": True, "info": "fine", "result": result}


def asked(town: Town, op: InstanceCreate = ORDER) -> Plan:
    """Return the plan that asks."""
    plan = town.decide(create.HANDLER, op)
    assert isinstance(plan, Plan)
    assert ids(plan) == [allocator_call.STEP]
    return plan


def test_the_masters_node_is_asked_with_the_whole_cluster() -> None:
    """The request is Ganeti's."""
    town = Town(3)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    plan = asked(town)
    step = call_steps(plan)[allocator_call.STEP]
    assert step.node == node_uuid(1)
    call = unpacked(step)
    assert isinstance(call, RunAllocator)
    request: dict[str, Any] = json.loads(zlib.decompress(call.request))
    assert request["version"] == 2
    assert set(request["nodes"]) == {"node1", "node2", "node3"}
    assert request["nodes"]["node1"]["free_memory"] == 8192 - 512
    assert request["instances"]["web1.example.net"]["nodes"] == ["node1", "node2"]
    wanted = request["request"]
    assert (wanted["type"], wanted["required_nodes"], wanted["memory"]) == ("allocate", 2, 512)
    assert wanted["disk_space_total"] == 10240 + 128


def test_its_answer_is_where_the_instance_goes() -> None:
    """The primary first; its words stand in the plan."""
    town = Town(3)
    outcomes = answered(asked(town), good(["node3", "node1"]))
    plan = town.decide(create.HANDLER, ORDER, so_far=outcomes)
    assert isinstance(plan, Plan)
    assert call_steps(plan)["start"].node == node_uuid(3)
    assert plan.explanation == ("the allocator's choice: fine",)
    assert {each.node for each in plan.reserves.nodes} == {node_uuid(3), node_uuid(1)}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"success": False, "info": "the moon is full", "result": []}, "the moon is full"),
        (good(["node1"]), "2 different nodes were asked for"),
        (good(["node1", "node1"]), "2 different nodes were asked for"),
        (good(["node1", "node9"]), "node9"),
        (good(["node1", "node2"]), "is drained"),
        (good(17), "no list of names"),
        (good([1, 2]), "no list of names"),
        (good(None), "no list of names"),
        ({"success": "yes", "info": ""}, "cannot be used"),
        ([], "cannot be used"),
    ],
)
def test_a_bad_answer_is_refused_with_what_is_wrong(answer: object, says: str) -> None:
    """Nothing is done then."""
    town = Town(3)
    town.set_node(2, drained=True)
    with pytest.raises(Refused, match=says) as refusal:
        town.decide(create.HANDLER, ORDER, so_far=answered(asked(town), answer))
    assert refusal.value.hint


def test_an_answer_must_have_room_and_be_in_the_group() -> None:
    """It is checked like a choice that a person made."""
    town = Town(3)
    outcomes = answered(asked(town), good(["node1", "node2"]))
    town.disk_mib[node_uuid(2)] = 100
    with pytest.raises(Refused, match="node2 has too little disk space"):
        town.decide(create.HANDLER, ORDER, so_far=outcomes)


def test_a_shared_instance_can_be_sent_where_it_says() -> None:
    """failover and migrate ask to relocate; for a mirror there is no choice."""
    town = Town(3)
    town.add_instance(1, nodes=(1,), template="sharedfile")
    town.add_instance(2, nodes=(1, 2), template="drbd")
    for handler, opcode in (
        (failover.HANDLER, InstanceFailover),
        (migrate.HANDLER, InstanceMigrate),
    ):
        op = opcode(instance_name="web1", iallocator="mine")
        plan = town.decide(handler, op)
        assert isinstance(plan, Plan)
        assert ids(plan) == [allocator_call.STEP]
        moved = town.decide(handler, op, so_far=answered(plan, good(["node3"])))
        assert isinstance(moved, Plan)
        assert moved.reserves.nodes[0].node == node_uuid(3)
        assert moved.explanation == ("the allocator's choice: fine",)
        with pytest.raises(Refused, match="no choice of nodes"):
            town.decide(handler, opcode(instance_name="web2", iallocator="mine"))


def test_a_new_secondary_can_be_asked_for() -> None:
    """`replace-disks -I NAME` asks to relocate, and moves the mirror there."""
    town = Town(4)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    op = InstanceReplaceDisks(
        instance_name="web1.example.net", mode="replace_new_secondary", iallocator="mine"
    )
    plan = town.decide(replace_disks.HANDLER, op)
    assert isinstance(plan, Plan)
    call = unpacked(call_steps(plan)[allocator_call.STEP])
    assert isinstance(call, RunAllocator)
    question = json.loads(zlib.decompress(call.request))["request"]
    assert (question["type"], question["relocate_from"]) == ("relocate", ["node2"])
    done = town.decide(replace_disks.HANDLER, op, so_far=answered(plan, good(["node4"])))
    assert "mirror/node4/0" in ids(done)


def configured(town: Town, **settings: Any) -> None:
    """Change settings of the cluster."""
    town.carry_out(cluster_set_params.HANDLER, cluster_set_params.ClusterSetParams(**settings))


def test_the_clusters_default_is_asked_where_none_is_named() -> None:
    """With its options; `-I hail` still takes the built-in rule, and mirrors go where they can."""
    town = Town(3)
    town.add_instance(1, nodes=(1, 2), template="drbd")
    configured(
        town,
        default_iallocator="mine",
        default_iallocator_params={"fast": True, "colour": "red"},
    )
    for wanted in (None, "."):
        plan = asked(town, msgspec.structs.replace(ORDER, iallocator=wanted))
        call = unpacked(call_steps(plan)[allocator_call.STEP])
        assert isinstance(call, RunAllocator)
        assert (call.allocator, call.options) == ("mine", ("--fast", "--colour=red"))
    plan = town.decide(create.HANDLER, msgspec.structs.replace(ORDER, iallocator="hail"))
    assert "start" in ids(plan)
    plan = town.decide(failover.HANDLER, InstanceFailover(instance_name="web1"))
    assert allocator_call.STEP not in ids(plan)


def test_a_default_that_the_masters_node_has_not_is_refused() -> None:
    """With those that there are; hail is always there; nothing is refused before the node told."""
    town = Town(2)
    configured(town, default_iallocator="unknown")
    town.allocators = ("mine", "yours")
    with pytest.raises(Refused, match="no allocator 'nope'") as refusal:
        configured(town, default_iallocator="nope")
    assert "hail, mine, yours" in refusal.value.hint
    for name, kept in (("mine", "mine"), ("hail", "")):
        configured(town, default_iallocator=name)
        assert town.cluster.settings.default_iallocator == kept


def test_hail_takes_the_clusters_options() -> None:
    """`no-capacity-checks` lets it do what could not survive the loss of a node."""
    town = Town(2)
    town.add_instance(1, nodes=(1,), beparams={"maxmem": 6000})
    op = msgspec.structs.replace(
        ORDER, iallocator=None, disk_template="plain", beparams={"memory": 6000}
    )
    with pytest.raises(Refused, match="could not lose a node") as refusal:
        town.decide(create.HANDLER, op)
    assert "no-capacity-checks" in refusal.value.hint
    configured(town, default_iallocator_params={"no-capacity-checks": "yes"})
    assert "start" in ids(town.decide(create.HANDLER, op))
    with pytest.raises(Refused, match="no option of hail"):
        configured(town, default_iallocator_params={"fast": True})
    with pytest.raises(Refused, match="cannot be the name"):
        configured(town, default_iallocator="../hail")


def test_nodes_for_disks_that_are_made_anew_can_be_asked_for() -> None:
    """`recreate-disks -I NAME` asks as for a new instance in the same group."""
    town = Town(4)
    town.add_instance(1, nodes=(1, 2), template="drbd", admin_state=ADMIN_DOWN)
    op = InstanceRecreateDisks(instance_name="web1.example.net", iallocator="mine")
    plan = town.decide(recreate_disks.HANDLER, op)
    assert isinstance(plan, Plan)
    call = unpacked(call_steps(plan)[allocator_call.STEP])
    assert isinstance(call, RunAllocator)
    question = json.loads(zlib.decompress(call.request))["request"]
    assert (question["type"], question["required_nodes"]) == ("allocate", 2)
    assert question["group_name"] == "default"
    done = town.decide(recreate_disks.HANDLER, op, so_far=answered(plan, good(["node3", "node4"])))
    assert isinstance(done, Plan)
    assert {one.node for one in done.reserves.nodes} == {node_uuid(3), node_uuid(4)}
    with pytest.raises(Refused, match="2 different nodes were asked for"):
        town.decide(recreate_disks.HANDLER, op, so_far=answered(plan, good(["node3"])))


def several(*names: str, **fields: object) -> InstanceMultiAlloc:
    """Return an order for instances like ORDER, without nodes."""
    wanted = msgspec.to_builtins(ORDER)
    return InstanceMultiAlloc(
        instances=tuple({**wanted, **fields, "instance_name": name} for name in names),
        iallocator="mine",
    )


def test_nodes_for_many_instances_can_be_asked_for_at_once() -> None:
    """Those with a place are created there; the others are listed, whoever has said why."""
    town = Town(3)
    town.add_instance(1)
    op = several("a", "b", "c", "web1.example.net")
    plan = town.decide(multi_alloc.HANDLER, op)
    assert isinstance(plan, Plan)
    call = unpacked(call_steps(plan)[allocator_call.STEP])
    assert isinstance(call, RunAllocator)
    question = json.loads(zlib.decompress(call.request))["request"]
    assert question["type"] == "multi-allocate"
    assert [one["name"] for one in question["instances"]] == ["a", "b", "c"]
    assert "type" not in question["instances"][0]
    count = question["instances"][0]["required_nodes"]
    nodes = ["node2", "node3"][:count]
    so_far = answered(plan, good([[["a", nodes]], ["b", ["c", "too large"]]]))
    chosen = town.decide(multi_alloc.HANDLER, op, so_far=so_far)
    assert isinstance(chosen, Plan)
    assert chosen.explanation == (
        f"a goes to {':'.join(nodes)}",
        "b: the allocator gives no reason",
        "c: too large",
        "web1.example.net: there is an instance web1.example.net already",
    )


@pytest.mark.parametrize("result", [None, [], [["a", "node1"]], [[["a", ["node9"]]], []]])
def test_a_bad_answer_about_many_is_refused(result: object) -> None:
    """With what is wrong about it."""
    town = Town(3)
    op = several("a")
    plan = town.decide(multi_alloc.HANDLER, op)
    assert isinstance(plan, Plan)
    with pytest.raises(Refused, match="allocator"):
        town.decide(multi_alloc.HANDLER, op, so_far=answered(plan, good(result)))

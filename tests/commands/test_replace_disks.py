"""OP_INSTANCE_REPLACE_DISKS: which side, which steps, what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.errors import Refused
from commands.handler import Done, PlanOutcome
from commands.instance_ops.replace_disks import HANDLER, InstanceReplaceDisks
from nodeagent.calls import (
    DiskSeen,
    EnsureReplicated,
    NodeCheck,
    RemoveReplicated,
    RemoveVolume,
)
from projections.events.configuration import DiskReplaced, DiskStateSeen
from projections.plans import Plan, Record, Wait
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked


def town_with_mirror(**fields: Any) -> Town:
    """Return a town whose web1 lies on node3 and node1."""
    town = Town(4)
    town.add_instance(1, nodes=(3, 1), template="drbd", **fields)
    return town


def order(mode: str, **fields: Any) -> InstanceReplaceDisks:
    """Return an order for web1."""
    return InstanceReplaceDisks(instance_name="web1", mode=mode, **fields)


def see(town: Town, node: int, state: str, disk: int = 0) -> None:
    """An agent reports the state of a disk of web1."""
    web1 = town.instance()
    town.fold(
        f"instance/{web1.uuid}",
        DiskStateSeen(
            instance=web1.uuid, disk=web1.disks[disk].uuid, node=node_uuid(node), state=state
        ),
    )


def planned(town: Town, op: InstanceReplaceDisks) -> Plan:
    """Return the plan of an order, after the look at its nodes where it takes one."""
    plan = town.decide(HANDLER, op)
    assert isinstance(plan, Plan)
    if all(step.startswith("look/") for step in ids(plan)):
        plan = town.decide(HANDLER, op, so_far=(town.through(plan),))
        assert isinstance(plan, Plan)
    return plan


def looked(town: Town, seen: dict[int, str]) -> PlanOutcome:
    """Return what the look of --auto brings back when nodes say this of web1's first disk."""
    plan = town.decide(HANDLER, order("replace_auto"))
    assert isinstance(plan, Plan)
    assert ids(plan) == ["look/node3", "look/node1"]
    outcome = town.through(plan)
    disk = town.instance().disks[0].uuid
    for number, state in seen.items():
        status = msgspec.structs.replace(
            town.status(node_uuid(number)), disks=(DiskSeen(disk, state, "secondary"),)
        )
        packed = msgspec.msgpack.encode(NodeCheck(status=status))
        outcome.results[f"look/node{number}"] = msgspec.Raw(packed)
    return outcome


def test_the_faulty_side_is_made_anew() -> None:
    """New volumes, the mirror on them, the source, the record, the copy; the old ones last."""
    town = town_with_mirror()
    see(town, 1, "faulty")
    plan = planned(town, order("replace_auto"))
    assert ids(plan) == [
        "volume/node1/0/data",
        "volume/node1/0/meta",
        "mirror/node1/0",
        "source/node3/0",
        "replaced",
        "synced/0",
        "old/node1/0/data",
        "old/node1/0/meta",
    ]
    steps = call_steps(plan)
    old = unpacked(steps["old/node1/0/data"])
    assert isinstance(old, RemoveVolume)
    assert old.volume.name == town.instance().disks[0].sides[1].volume
    assert steps["old/node1/0/data"].after == ("synced/0",)
    assert steps["old/node1/0/data"].final
    assert plan.explanation == ("disk 0 of web1.example.net is faulty on node1",)


def test_the_new_side_counts_as_syncing_until_its_agent_reports() -> None:
    """The wait cannot end early: the record itself says that the copy is not through."""
    town = town_with_mirror()
    see(town, 1, "faulty")
    (disk,) = town.instance().disks
    town.through(planned(town, order("replace_auto")))
    (new,) = town.instance().disks
    assert new.health == {node_uuid(1): "syncing"}
    assert new.uuid == disk.uuid
    assert new.sides[0] == disk.sides[0]
    assert new.sides[1].minor == disk.sides[1].minor
    assert new.sides[1].volume != disk.sides[1].volume
    see(town, 1, "ok")
    assert town.instance().disks[0].health == {}


def test_a_faulty_side_is_not_put_back() -> None:
    """Going back leaves its mirror down: the old volume cannot be read."""
    town = town_with_mirror()
    see(town, 1, "faulty")
    step = call_steps(planned(town, order("replace_auto")))["mirror/node1/0"]
    assert isinstance(unpacked(step, undo=True), RemoveReplicated)


def test_a_side_that_was_in_order_is_put_back() -> None:
    """Going back attaches the mirror to its old volumes again."""
    town = town_with_mirror()
    step = call_steps(planned(town, order("replace_on_secondary")))["mirror/node1/0"]
    again = unpacked(step, undo=True)
    assert isinstance(again, EnsureReplicated)
    assert again.disk.volume.name == town.instance().disks[0].sides[1].volume


def test_going_back_restores_the_disk_as_it_was() -> None:
    """The undo of the record brings the old side, and its health, back."""
    town = town_with_mirror()
    see(town, 1, "faulty")
    before = town.instance().disks
    plan = planned(town, order("replace_auto"))
    town.through(plan)
    record = next(step for step in plan.steps if isinstance(step, Record))
    town.fold_facts(record.undo)
    assert town.instance().disks == before


def test_the_primary_side_can_be_made_anew() -> None:
    """Then the secondary is the source."""
    plan = planned(town_with_mirror(), order("replace_on_primary"))
    assert ids(plan)[2:5] == ["mirror/node3/0", "source/node1/0", "replaced"]


def test_a_new_secondary_takes_the_place_of_the_old() -> None:
    """A new minor there; the old mirror leaves before the primary turns to its new peer."""
    town = town_with_mirror()
    plan = planned(town, order("replace_new_secondary", remote_node="node2"))
    assert ids(plan) == [
        "volume/node2/0/data",
        "volume/node2/0/meta",
        "mirror/node2/0",
        "leave/node1/0",
        "source/node3/0",
        "replaced",
        "synced/0",
        "old/node1/0/data",
        "old/node1/0/meta",
    ]
    source = unpacked(call_steps(plan)["source/node3/0"])
    assert isinstance(source, EnsureReplicated)
    assert source.source
    assert source.disk.peer == node_uuid(2)
    done, _ = town.carry_out(HANDLER, order("replace_new_secondary", remote_node="node2"))
    assert town.instance().nodes == (node_uuid(3), node_uuid(2))
    assert done.result == {"replaced": ["node2/0"], "left": []}


def test_a_lost_secondary_is_replaced_without_asking_it() -> None:
    """No call goes to it, and its old volumes are named as left behind."""
    town = town_with_mirror()
    town.set_node(1, offline=True)
    done, outcomes = town.carry_out(HANDLER, order("replace_new_secondary", iallocator="."))
    plan = outcomes[-1].plan
    assert all(step.node != node_uuid(1) for step in call_steps(plan).values())
    assert done.result["left"] == [  # type: ignore[index]
        "xenvg/16.disk0_data on node1",
        "xenvg/16.disk0_meta on node1",
    ]


def test_an_old_volume_that_cannot_be_removed_is_named() -> None:
    """The opcode succeeds, since the instance is in order, and says what is left."""
    done, _ = town_with_mirror().carry_out(
        HANDLER, order("replace_on_secondary"), fail=["old/node1/0/data"]
    )
    assert done.result["left"] == ["old/node1/0/data: it broke"]  # type: ignore[index]


def test_nothing_faulty_means_nothing_to_do() -> None:
    """--auto on a sound instance succeeds with a look alone."""
    done, outcomes = town_with_mirror().carry_out(HANDLER, order("replace_auto"))
    assert done.result == {"replaced": [], "left": []}
    assert len(outcomes) == 1


def test_auto_believes_the_nodes_more_than_the_log() -> None:
    """A disk that broke a moment ago is found; one that was repaired meanwhile is left alone."""
    town = town_with_mirror()
    broken = looked(town, {1: "faulty"})
    plan = town.decide(HANDLER, order("replace_auto"), so_far=(broken,))
    assert isinstance(plan, Plan)
    assert "mirror/node1/0" in ids(plan)
    see(town, 1, "faulty")
    mended = looked(town, {1: "ok"})
    assert isinstance(town.decide(HANDLER, order("replace_auto"), so_far=(mended,)), Done)


def test_auto_takes_the_last_word_of_a_node_that_does_not_answer() -> None:
    """What the log says of it counts, and the plan goes on with what can be reached."""
    town = town_with_mirror()
    see(town, 1, "faulty")
    silent = looked(town, {})
    del silent.results["look/node1"]
    assert isinstance(town.decide(HANDLER, order("replace_auto"), so_far=(silent,)), Plan)


def test_only_the_named_disks_are_replaced() -> None:
    """The others are left alone."""
    town = town_with_mirror(sizes_mib=(1024, 2048))
    plan = planned(town, order("replace_on_secondary", disks=(1,)))
    assert all("/0" not in step for step in ids(plan))


def test_a_copy_may_take_as_long_as_the_slowest_rate_allows() -> None:
    """10 GiB at 4 MiB/s, and some grace."""
    plan = planned(town_with_mirror(), order("replace_on_secondary"))
    waits = [step for step in plan.steps if isinstance(step, Wait)]
    assert [wait.timeout_s for wait in waits] == [600.0 + 10240 / 4]


def test_a_port_that_is_taken_on_the_new_node_is_drawn_anew() -> None:
    """The mirror moves to a port that is free on both."""
    town = town_with_mirror()
    port = town.instance().disks[0].port
    town.add_instance(2, nodes=(2, 4), template="diskless", network_port=port)
    town.carry_out(HANDLER, order("replace_new_secondary", remote_node="node2"))
    assert town.instance().disks[0].port == 11000 != port


@pytest.mark.parametrize(
    ("op", "states", "message"),
    [
        (order("replace_auto"), {1: "faulty", 3: "faulty"}, "faulty disks on both nodes"),
        (order("replace_on_secondary"), {3: "faulty"}, "is faulty on node3"),
        (order("replace_on_primary"), {1: "syncing"}, "is syncing on node1"),
        (order("replace_sideways"), {}, "there is no mode"),
        (order("replace_new_secondary", remote_node="node1"), {}, "is the secondary node"),
        (order("replace_new_secondary", remote_node="node3"), {}, "is the primary node"),
        (order("replace_on_secondary", remote_node="node2"), {}, "takes no other node"),
        (order("replace_on_secondary", disks=(7,)), {}, "has no disk 7"),
        (order("replace_auto", disks=(0,)), {}, "finds the disks by itself"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    op: InstanceReplaceDisks, states: dict[int, str], message: str
) -> None:
    """A side whose data are nowhere else is never touched."""
    town = town_with_mirror()
    for node, state in states.items():
        see(town, node, state)
    with pytest.raises(Refused) as refusal:
        planned(town, op)
    assert message in refusal.value.message
    assert refusal.value.hint


def test_an_unreachable_node_is_refused() -> None:
    """New volumes cannot be made on it."""
    town = town_with_mirror()
    town.lose(1)
    with pytest.raises(Refused, match="node1 is not heard of"):
        town.decide(HANDLER, order("replace_on_secondary"))


def test_a_plain_instance_has_no_side_to_replace() -> None:
    """The hint says which template has."""
    town = Town()
    town.add_instance(1)
    with pytest.raises(Refused, match="has no mirrored disks"):
        town.decide(HANDLER, order("replace_on_secondary"))


def test_a_new_port_is_free_on_both_sides() -> None:
    """Where the new node uses the mirror's port already, another one is drawn for both nodes."""
    town = town_with_mirror()
    port = town.instance().disks[0].port
    assert port is not None
    numbers = iter(range(20, 23))
    for nodes, used in (((2, 4), port), ((3, 4), 11000), ((3, 1), 11001)):
        number = next(numbers)
        other = town.add_instance(number, nodes=nodes, template="drbd")
        moved = msgspec.structs.replace(other.disks[0], port=used)
        town.fold(f"instance/{other.uuid}", DiskReplaced(instance=other.uuid, disk=0, new=moved))
    plan = planned(town, order("replace_new_secondary", remote_node="node2"))
    mirrors = [
        call.disk
        for step in call_steps(plan).values()
        if isinstance(call := unpacked(step), EnsureReplicated)
    ]
    assert {disk.port for disk in mirrors} == {11002}

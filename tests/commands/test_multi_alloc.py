"""OP_INSTANCE_MULTI_ALLOC: many instances at once, each on what the others leave."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.errors import Refused
from commands.handler import Done
from commands.instance_ops.create import InstanceCreate
from commands.instance_ops.multi_alloc import HANDLER, InstanceMultiAlloc
from commands.registry import Registry
from projections.plans import Plan
from tests.commands.building import Town

FIELDS: dict[str, Any] = {
    "disk_template": "drbd",
    "disks": [{"size": 10240}],
    "nics": [{}],
    "os_type": "debian",
    "beparams": {"memory": 512},
}


def order(*names: str, **fields: Any) -> InstanceMultiAlloc:
    """Return an order for instances of these names."""
    return InstanceMultiAlloc(
        instances=tuple({**FIELDS, "instance_name": name, **fields} for name in names)
    )


def creations(done: Done) -> list[InstanceCreate]:
    """Return the creations that are submitted."""
    found = [Registry().decode(job.ops[0]) for job in done.jobs]
    assert all(isinstance(each, InstanceCreate) for each in found)
    return found  # type: ignore[return-value]


def result(done: Done) -> dict[str, Any]:
    """Return the result as clients see it."""
    found: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(done.result))
    return found


def test_instances_spread_out_and_are_created_where_they_were_placed() -> None:
    """One job each, with its nodes named."""
    done, outcomes = Town(4).carry_out(HANDLER, order("a", "b", "c", "d"))
    made = creations(done)
    assert len({each.pnode for each in made}) == 4
    assert all(each.snode not in (None, each.pnode) for each in made)
    assert result(done)["allocatable"] == ["a", "b", "c", "d"]
    assert outcomes[0].plan.explanation[0].startswith("a goes to node")


def test_what_has_no_place_is_told_and_the_others_are_created() -> None:
    """Room that one takes is not there for the next."""
    town = Town(3)
    done, _ = town.carry_out(HANDLER, order(*"abcdef", beparams={"memory": 3000}))
    told = result(done)
    assert 0 < len(done.jobs) < 6
    assert len(done.jobs) == len(told["allocatable"])
    assert len(told["allocatable"]) + len(told["failed"]) == 6
    assert "MiB" in told["failed"][0][1]


def test_a_name_that_is_given_twice_has_one_place() -> None:
    """The second one is listed as failed."""
    done, _ = Town(3).carry_out(HANDLER, order("a", "a"))
    assert result(done)["failed"] == [["a", "there is an instance a already"]]


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (InstanceMultiAlloc(), "0 instances at once"),
        (order("a", pnode="node1"), "names its nodes"),
        (order("a", colour="red"), "colour"),
        (order("a", disks=[{"size": "900T"}]), "none of the instances has a place"),
    ],
)
def test_what_makes_no_sense_is_refused(op: InstanceMultiAlloc, says: str) -> None:
    """With a hint."""
    with pytest.raises(Refused, match=says) as refusal:
        Town(3).decide(HANDLER, op)
    assert refusal.value.hint


def test_a_dry_run_shows_who_goes_where() -> None:
    """The plan has no steps; it is the decision."""
    plan = Town(3).decide(HANDLER, order("a"))
    assert isinstance(plan, Plan)
    assert plan.steps == ()

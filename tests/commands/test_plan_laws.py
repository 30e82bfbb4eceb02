"""What holds for the plan of every opcode, whatever it is about."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from commands import opcode
from commands.errors import Refused
from commands.handler import Handler
from commands.instance_ops import create, replace_disks
from commands.registry import MODULES, Registry
from nodeagent.calls import RemoveVoter
from projections.errors import NoSuchObject
from projections.events.configuration import DiskStateSeen
from projections.objects import Instance
from projections.plans import Call, Plan, Record
from tests.commands.building import Town
from tests.commands.plan_cases import CASES, Case, mirror_town, new, replace

HARMLESS = {"describe-console", "describe-running", "describe-volumes", "probe"}  # changes nothing
# What may stay when an opcode goes back: a volume that is too large; what is on a disk that goes.
MAY_STAY = {
    ("OP_INSTANCE_GROW_DISK", "ensure-volume"),
    ("OP_INSTANCE_GROW_DISK", "ensure-replicated"),
    ("OP_INSTANCE_GROW_DISK", "ensure-inactive"),
    ("OP_INSTANCE_CREATE", "install-os"),
    ("OP_INSTANCE_CREATE", "wipe-disk"),
    ("OP_INSTANCE_GROW_DISK", "wipe-disk"),
    ("OP_INSTANCE_RECREATE_DISKS", "wipe-disk"),
    ("OP_INSTANCE_SET_PARAMS", "wipe-disk"),
    ("OP_INSTANCE_RECREATE_DISKS", "ensure-inactive"),  # the mirror is taken down then
    # it was so before: the disks of a running instance are active
    ("OP_INSTANCE_STARTUP", "ensure-active"),
    ("OP_INSTANCE_STARTUP", "ensure-running"),
    ("OP_INSTANCE_ACTIVATE_DISKS", "ensure-active"),
    ("OP_INSTANCE_MIGRATE", "ensure-active"),
    ("OP_INSTANCE_REBOOT", "ensure-active"),
    ("OP_INSTANCE_REBOOT", "ensure-running"),
    ("OP_INSTANCE_RENAME", "ensure-active"),
    # it was so before: the disks of an instance that is down are not active
    ("OP_INSTANCE_SET_PARAMS", "ensure-inactive"),
    # it was so before: an instance that is down does not run
    ("OP_INSTANCE_REMOVE", "ensure-stopped"),
    ("OP_INSTANCE_REMOVE", "ensure-inactive"),
}
# They decide, and submit jobs that take the locks.
DELEGATE = {
    "OP_NODE_EVACUATE",
    "OP_GROUP_EVACUATE",
    "OP_INSTANCE_CHANGE_GROUP",
    "OP_INSTANCE_MULTI_ALLOC",
}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def plans(case: Case, town: Town) -> list[Plan]:
    """Return all plans of a case; their facts are folded into the town."""
    _, outcomes = town.carry_out(case.handler, case.op)
    return [outcome.plan for outcome in outcomes]


def test_every_opcode_of_the_tree_has_a_case() -> None:
    """No opcode escapes these laws; those of tests aside."""
    there = {case.op.NAME for case in CASES}
    assert there == {name for name in MODULES if not name.startswith("OP_TEST_")}


@every_case
def test_an_opcode_comes_to_its_end(case: Case) -> None:
    """When every call succeeds, its facts fold and it is done, without a problem."""
    done, _ = case.town().carry_out(case.handler, case.op)
    assert done.problem is None
    msgspec.msgpack.encode(done.result)


@every_case
def test_an_opcode_survives_its_record(case: Case) -> None:
    """Decoding what was encoded gives the same order."""
    assert Registry().decode(opcode.pack(case.op)) == case.op


@every_case
def test_what_was_done_can_be_taken_back(case: Case) -> None:
    """Each call with an effect has an undo, or is or follows a point of no return."""
    for plan in plans(case, case.town()):
        beyond: set[str] = set()
        for step in plan.steps:
            if step.id in beyond or set(step.after) & beyond or getattr(step, "final", False):
                beyond.add(step.id)
            elif isinstance(step, Call):
                name = step.call.name
                known = name in HARMLESS or (case.op.NAME, name) in MAY_STAY
                assert step.undo is not None or known, step.id


@every_case
def test_going_back_restores_the_configuration(case: Case) -> None:
    """Facts, then their undos last first: what is wanted is as it was."""
    town = case.town()
    before = town.cluster
    records = [
        step for plan in plans(case, town) for step in plan.steps if isinstance(step, Record)
    ]
    if any(record.final for record in records) or case.name in ("node add", "replace, early"):
        return
    for record in reversed(records):
        if record.undo:
            town.fold_facts(record.undo)
    if case.op.NAME == "OP_INSTANCE_GROW_DISK":
        return  # a disk never shrinks
    for table in ("cluster", "group", "node", "instance"):
        assert wanted(town.cluster.table(table)) == wanted(before.table(table))


def wanted(table: Any) -> dict[str, Any]:
    """Return the objects without their serials and times."""
    return {
        uuid: msgspec.structs.replace(thing, serial=0, mtime_ms=0, ctime_ms=0)
        for uuid, thing in table.items()
    }


@every_case
def test_a_dry_run_has_no_effect(case: Case) -> None:
    """Deciding leaves the value it was given as it is."""
    town = case.town()
    before = town.cluster
    copied = {t: dict(before.table(t)) for t in ("cluster", "group", "node", "instance")}
    town.decide(case.handler, case.op)
    assert {t: dict(town.cluster.table(t)) for t in copied} == copied


@every_case
def test_calls_go_to_nodes_that_are_locked(case: Case) -> None:
    """No node that a plan uses can be removed meanwhile; what is modified is held alone. The end
    of a voter is a part of its node's removal, which waits for it."""
    if case.op.NAME in {"OP_NODE_ADD", "OP_CLUSTER_VERIFY"} | DELEGATE:
        return  # a node that nobody else knows yet; one that only looks; those that do nothing
    town = case.town()
    held = {lock.name: lock.shared for lock in case.handler.locks(case.op, town.cluster)}
    assert held, "an opcode that changes something holds a lock"
    instances: list[Instance] = list(town.cluster.instances.values())
    if case.op.NAME == "OP_INSTANCE_CONSOLE":  # only looks
        assert set(held.values()) == {True}
    elif case.op.NAME.startswith("OP_INSTANCE") and case.op.NAME != "OP_INSTANCE_CREATE":
        assert held[f"instance/{instances[0].uuid}"] is False
    for plan in plans(case, town):
        for step in plan.steps:
            if isinstance(step, Call):
                ends_voter = step.call.name == RemoveVoter.NAME and f"voter/{step.node}" in held
                assert ends_voter or f"node/{step.node}" in held, step.id


@every_case
def test_locks_never_refuse(case: Case) -> None:
    """Locks are asked for before anything is decided, and where names are unknown too."""
    empty = Town(1)
    case.handler.locks(case.op, empty.cluster)
    list(case.handler.looks_at(case.op, empty.cluster))


def refusal_of(town: Town, handler: Handler[Any], op: opcode.Opcode) -> Exception | None:
    """Return why an order is refused, None if it is not."""
    try:
        town.decide(handler, op)
    except (Refused, NoSuchObject) as refusal:
        return refusal
    return None


@every_case
def test_a_missing_object_is_named(case: Case) -> None:
    """In a town of one node the order is possible, or is refused with a hint."""
    refusal = refusal_of(Town(1), case.handler, case.op)
    if isinstance(refusal, Refused):
        assert refusal.hint


NO_ROOM = ("insufficient_resources", "temp_insufficient_resources", "wrong_state")
Wish = tuple[str, int, int, bool]  # template, size, memory, started at once or only planned
wishes = st.lists(
    st.tuples(
        st.sampled_from(("plain", "drbd", "file")),
        st.integers(1, 60_000),
        st.integers(1, 5_000),
        st.booleans(),
    ),
    max_size=14,
)


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(wishes, st.integers(1, 4))
def test_no_room_is_promised_twice(orders: list[Wish], nodes: int) -> None:
    """However creations overlap, what stands and what is promised fits on each node."""
    town = Town(nodes)
    for number, (template, size_mib, memory_mib, at_once) in enumerate(orders):
        op = new(
            instance_name=f"i{number}.example.net",
            disk_template=template,
            disks=({"size": size_mib},),
            beparams={"memory": memory_mib},
            ignore_ipolicy=True,
        )
        refusal = refusal_of(town, create.HANDLER, op)
        if refusal is not None:
            assert isinstance(refusal, Refused)
            assert refusal.code in NO_ROOM
            continue
        plan = town.decide(create.HANDLER, op)
        assert isinstance(plan, Plan)
        if at_once:
            town.through(plan)
        else:
            town.cluster = town.cluster.reserve((number, 0), plan.reserves)
        check_room(town)


def check_room(town: Town) -> None:
    """Assert that what is wanted and reserved fits, and that numbers are used once."""
    for uuid in town.cluster.nodes:
        status = town.status(uuid)
        held = [
            each
            for reserved in town.cluster.reserved.values()
            for each in reserved.nodes
            if each.node == uuid
        ]
        assert status.memory_free_mib >= sum(each.memory_mib for each in held)
        assert status.disk_free_mib >= 0
        minors = [minor for each in held for minor in each.minors]
        minors += [
            side.minor
            for instance in town.cluster.instances.values()
            for disk in instance.disks
            for side in disk.sides
            if side.node == uuid and side.minor is not None
        ]
        assert len(minors) == len(set(minors))


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.sampled_from(("faulty", "degraded", "syncing", "ok")))
def test_a_source_of_data_is_never_replaced(node: int, state: str) -> None:
    """Whatever is reported of the sides, the plan never removes the only whole side."""
    town = mirror_town()
    web = town.instance()
    for index, disk in enumerate(web.disks):
        where = web.nodes[(node >> index) & 1]
        town.fold(
            f"instance/{web.uuid}",
            DiskStateSeen(instance=web.uuid, disk=disk.uuid, node=where, state=state),
        )
    for mode in ("replace_on_primary", "replace_on_secondary"):
        if refusal_of(town, replace_disks.HANDLER, replace(mode)) is not None:
            continue
        plan = town.decide(replace_disks.HANDLER, replace(mode))
        assert isinstance(plan, Plan)
        removed = {step.node for step in plan.steps if isinstance(step, Call) and step.final}
        (kept,) = set(web.nodes) - removed
        bad = [d.health.get(kept) for d in town.instance().disks]
        assert not {"faulty", "syncing"} & set(bad)

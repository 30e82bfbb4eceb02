"""What holds for the plan of every opcode, whatever it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from commands import opcode
from commands.cluster_ops import (
    activate_master_ip,
    add_witness,
    deactivate_master_ip,
    remove_witness,
    verify,
)
from commands.cluster_ops import destroy as cluster_destroy
from commands.cluster_ops import set_params as cluster_set_params
from commands.errors import Refused
from commands.group_ops import add as group_add
from commands.group_ops import evacuate as group_evacuate
from commands.group_ops import remove as group_remove
from commands.group_ops import rename as group_rename
from commands.group_ops import set_params as group_set_params
from commands.handler import Handler
from commands.instance_ops import (
    activate_disks,
    change_group,
    console,
    create,
    deactivate_disks,
    failover,
    grow_disk,
    migrate,
    multi_alloc,
    reboot,
    recreate_disks,
    remove,
    rename,
    replace_disks,
    set_params,
    shutdown,
    startup,
)
from commands.node_ops import add as node_add
from commands.node_ops import ensure_voter, remove_voter
from commands.node_ops import evacuate as node_evacuate
from commands.node_ops import remove as node_remove
from commands.node_ops import set_params as node_set_params
from commands.registry import MODULES, Registry
from commands.tag_ops import delete_tags, set_tags
from nodeagent.calls import RemoveVoter
from projections.errors import NoSuchObject
from projections.events.configuration import DiskStateSeen, MasterAddressWanted
from projections.objects import ADMIN_DOWN, Instance
from projections.plans import Call, Plan, Record
from tests.commands.building import KEY, Town

WEB = "web1.example.net"
HARMLESS = {"describe-console", "describe-running", "probe"}  # changes nothing
# What may stay when an opcode goes back: a volume that is too large; what is on a disk that goes.
MAY_STAY = {
    ("OP_INSTANCE_GROW_DISK", "ensure-volume"),
    ("OP_INSTANCE_GROW_DISK", "ensure-replicated"),
    ("OP_INSTANCE_GROW_DISK", "ensure-inactive"),
    ("OP_INSTANCE_CREATE", "install-os"),
    ("OP_INSTANCE_RECREATE_DISKS", "ensure-inactive"),  # the mirror is taken down then
    # it was so before: the disks of a running instance are active
    ("OP_INSTANCE_STARTUP", "ensure-active"),
    ("OP_INSTANCE_STARTUP", "ensure-running"),
    ("OP_INSTANCE_ACTIVATE_DISKS", "ensure-active"),
    ("OP_INSTANCE_MIGRATE", "ensure-active"),
    ("OP_INSTANCE_REBOOT", "ensure-active"),
    ("OP_INSTANCE_REBOOT", "ensure-running"),
    ("OP_INSTANCE_RENAME", "ensure-active"),
    # it was so before: an instance that is down does not run
    ("OP_INSTANCE_REMOVE", "ensure-stopped"),
    ("OP_INSTANCE_REMOVE", "ensure-inactive"),
}


def plain_town(**fields: Any) -> Town:
    """web1 on node1."""
    town = Town(4)
    town.add_instance(1, nodes=(1,), **fields)
    return town


def mirror_town(**fields: Any) -> Town:
    """web1 on node3 and node1, with two disks."""
    town = Town(4)
    town.add_instance(1, nodes=(3, 1), template="drbd", sizes_mib=(1024, 2048), **fields)
    return town


def down(make: Callable[..., Town]) -> Callable[[], Town]:
    """The same, with web1 down."""
    return lambda: make(admin_state=ADMIN_DOWN, disks_active=False)


def tagged_town() -> Town:
    """web1 bears a tag."""
    return plain_town(tags=("a",))


def group_town() -> Town:
    """There is a second, empty group."""
    town = Town(4)
    town.carry_out(group_add.HANDLER, group_add.GroupAdd(group_name="rack2"))
    return town


def rack_town() -> Town:
    """web1 is in the first group; the second one has two nodes."""
    town = mirror_town()
    town.carry_out(group_add.HANDLER, group_add.GroupAdd(group_name="rack2"))
    for number in (5, 6):
        town.add_node(number, group=town.cluster.group("rack2").uuid)
    return town


def town_without_candidate() -> Town:
    """node4 is no master candidate any more."""
    town = Town(4)
    order = node_set_params.NodeSetParams(node_name="node4", master_candidate=False, force=True)
    town.carry_out(node_set_params.HANDLER, order)
    return town


def address_town() -> Town:
    """The cluster has an address of its master, which was taken down."""
    town = Town(master_ip="192.0.2.9", master_netdev="br0")
    town.fold("cluster", MasterAddressWanted(up=False))
    return town


def held_address_town() -> Town:
    """The master's node holds its address."""
    town = Town(master_ip="192.0.2.9", master_netdev="br0")
    town.carry_out(activate_master_ip.HANDLER, activate_master_ip.ClusterActivateMasterIp())
    return town


def small_node_town() -> Town:
    """node4 may neither lead nor hold instances."""
    town = Town(3)
    town.add_node(4, master_candidate=False, master_capable=False, vm_capable=False)
    return town


def witness_town() -> Town:
    """node4 is a witness."""
    town = small_node_town()
    town.carry_out(add_witness.HANDLER, add_witness.ClusterAddWitness(node_name="node4"))
    return town


@dataclass(frozen=True)
class Case:
    """An order, and the town it is made in."""

    name: str
    handler: Handler[Any]
    op: opcode.Opcode
    town: Callable[[], Town]


def new(**fields: Any) -> create.InstanceCreate:
    """Return an order for a new instance."""
    wanted: dict[str, Any] = {
        "instance_name": "new.example.net",
        "os_type": "debian",
        "disk_template": "plain",
        "disks": ({"size": 1024}, {"size": 2048}),
        "nics": ({},),
    }
    return create.InstanceCreate(**{**wanted, **fields})


def replace(mode: str, **fields: Any) -> replace_disks.InstanceReplaceDisks:
    """Return an order to replace disks of web1."""
    return replace_disks.InstanceReplaceDisks(instance_name=WEB, mode=mode, **fields)


PLAIN = {
    "add plain": (create.HANDLER, new(pnode="node1"), Town),
    "add plain, chosen": (create.HANDLER, new(), mirror_town),
    "add drbd": (create.HANDLER, new(disk_template="drbd", pnode="node2", snode="node1"), Town),
    "add drbd, chosen": (create.HANDLER, new(disk_template="drbd"), mirror_town),
    "add drbd, not started": (create.HANDLER, new(disk_template="drbd", start=False), Town),
    "add file": (create.HANDLER, new(disk_template="file"), Town),
    "add sharedfile": (create.HANDLER, new(disk_template="sharedfile"), Town),
    "add diskless": (create.HANDLER, new(disk_template="diskless", disks=()), Town),
    "replace -s": (replace_disks.HANDLER, replace("replace_on_secondary"), mirror_town),
    "replace -p": (replace_disks.HANDLER, replace("replace_on_primary"), mirror_town),
    "replace -n": (
        replace_disks.HANDLER,
        replace("replace_new_secondary", remote_node="node2"),
        mirror_town,
    ),
    "replace -I": (
        replace_disks.HANDLER,
        replace("replace_new_secondary", iallocator="."),
        mirror_town,
    ),
    "replace, early": (
        replace_disks.HANDLER,
        replace("replace_on_secondary", early_release=True),
        mirror_town,
    ),
    "startup": (startup.HANDLER, startup.InstanceStartup(instance_name=WEB), down(mirror_town)),
    "startup again": (startup.HANDLER, startup.InstanceStartup(instance_name=WEB), mirror_town),
    "shutdown": (shutdown.HANDLER, shutdown.InstanceShutdown(instance_name=WEB), mirror_town),
    "console": (console.HANDLER, console.InstanceConsole(instance_name=WEB), plain_town),
    "reboot soft": (
        reboot.HANDLER,
        reboot.InstanceReboot(instance_name=WEB, reboot_type="soft"),
        plain_town,
    ),
    "reboot full": (
        reboot.HANDLER,
        reboot.InstanceReboot(instance_name=WEB, reboot_type="full"),
        mirror_town,
    ),
    "failover": (failover.HANDLER, failover.InstanceFailover(instance_name=WEB), mirror_town),
    "failover, down": (
        failover.HANDLER,
        failover.InstanceFailover(instance_name=WEB),
        down(mirror_town),
    ),
    "failover, shared": (
        failover.HANDLER,
        failover.InstanceFailover(instance_name=WEB),
        lambda: plain_town(template="sharedfile"),
    ),
    "migrate": (migrate.HANDLER, migrate.InstanceMigrate(instance_name=WEB), mirror_town),
    "migrate, shared": (
        migrate.HANDLER,
        migrate.InstanceMigrate(instance_name=WEB, target_node="node2"),
        lambda: plain_town(template="sharedfile"),
    ),
    "activate": (
        activate_disks.HANDLER,
        activate_disks.InstanceActivateDisks(instance_name=WEB, wait_for_sync=True),
        down(mirror_town),
    ),
    "deactivate": (
        deactivate_disks.HANDLER,
        deactivate_disks.InstanceDeactivateDisks(instance_name=WEB),
        lambda: mirror_town(admin_state=ADMIN_DOWN),
    ),
    "grow": (
        grow_disk.HANDLER,
        grow_disk.InstanceGrowDisk(instance_name=WEB, disk=1, amount=1024),
        mirror_town,
    ),
    "grow, down": (
        grow_disk.HANDLER,
        grow_disk.InstanceGrowDisk(instance_name=WEB, disk=0, amount=4096, absolute=True),
        down(mirror_town),
    ),
    "recreate": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, disks=(1,)),
        down(mirror_town),
    ),
    "recreate elsewhere": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, nodes=("node2", "node4")),
        down(mirror_town),
    ),
    "recreate, chosen": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, iallocator="."),
        down(plain_town),
    ),
    "rename": (
        rename.HANDLER,
        rename.InstanceRename(instance_name=WEB, new_name="www.example.net"),
        down(mirror_town),
    ),
    "modify": (
        set_params.HANDLER,
        set_params.InstanceSetParams(
            instance_name=WEB,
            beparams={"memory": "1G"},
            nics=(("add", -1, {}), ("remove", 0, {})),
        ),
        plain_town,
    ),
    "modify offline": (
        set_params.HANDLER,
        set_params.InstanceSetParams(instance_name=WEB, offline=True),
        down(plain_town),
    ),
    "balloon": (
        set_params.HANDLER,
        set_params.InstanceSetParams(instance_name=WEB, runtime_mem=512),
        plain_town,
    ),
    "remove": (remove.HANDLER, remove.InstanceRemove(instance_name=WEB), mirror_town),
    "remove, down": (remove.HANDLER, remove.InstanceRemove(instance_name=WEB), down(plain_town)),
    "node add": (node_add.HANDLER, node_add.NodeAdd(node_name="node9", ticket_key=KEY), Town),
    "voter made": (ensure_voter.HANDLER, ensure_voter.NodeEnsureVoter(node_name="node2"), Town),
    "voter removed": (
        remove_voter.HANDLER,
        remove_voter.NodeRemoveVoter(node_name="node4", voter_key=KEY),
        town_without_candidate,
    ),
    "node remove": (node_remove.HANDLER, node_remove.NodeRemove(node_name="node4"), mirror_town),
    "node drain": (
        node_set_params.HANDLER,
        node_set_params.NodeSetParams(node_name="node2", drained=True, auto_promote=True),
        Town,
    ),
    "group add": (group_add.HANDLER, group_add.GroupAdd(group_name="rack9"), Town),
    "group remove": (
        group_remove.HANDLER,
        group_remove.GroupRemove(group_name="rack2"),
        group_town,
    ),
    "group rename": (
        group_rename.HANDLER,
        group_rename.GroupRename(group_name="rack2", new_name="rack3"),
        group_town,
    ),
    "group modify": (
        group_set_params.HANDLER,
        group_set_params.GroupSetParams(
            group_name="default", alloc_policy="unallocable", diskparams={"drbd": {"protocol": "A"}}
        ),
        Town,
    ),
    "add tags": (
        set_tags.HANDLER,
        set_tags.TagsSet(kind="instance", name=WEB, tags=("b", "c")),
        tagged_town,
    ),
    "remove tags": (
        delete_tags.HANDLER,
        delete_tags.TagsDel(kind="instance", name=WEB, tags=("a",)),
        tagged_town,
    ),
    "cluster modify": (
        cluster_set_params.HANDLER,
        cluster_set_params.ClusterSetParams(beparams={"vcpus": 2}, mac_prefix="aa:bb:cc"),
        plain_town,
    ),
    "witness": (
        add_witness.HANDLER,
        add_witness.ClusterAddWitness(node_name="node4"),
        small_node_town,
    ),
    "no witness": (
        remove_witness.HANDLER,
        remove_witness.ClusterRemoveWitness(node_name="node4"),
        witness_town,
    ),
    "address up": (
        activate_master_ip.HANDLER,
        activate_master_ip.ClusterActivateMasterIp(),
        address_town,
    ),
    "address down": (
        deactivate_master_ip.HANDLER,
        deactivate_master_ip.ClusterDeactivateMasterIp(),
        held_address_town,
    ),
    "cluster destroy": (
        cluster_destroy.HANDLER,
        cluster_destroy.ClusterDestroy(),
        lambda: Town(1),
    ),
    "verify": (verify.HANDLER, verify.ClusterVerify(), mirror_town),
    "evacuate node": (
        node_evacuate.HANDLER,
        node_evacuate.NodeEvacuate(node_name="node3", mode="all"),
        mirror_town,
    ),
    "evacuate node to another": (
        node_evacuate.HANDLER,
        node_evacuate.NodeEvacuate(node_name="node1", mode="secondary-only", remote_node="node2"),
        mirror_town,
    ),
    "evacuate group": (
        group_evacuate.HANDLER,
        group_evacuate.GroupEvacuate(group_name="default"),
        rack_town,
    ),
    "change group": (
        change_group.HANDLER,
        change_group.InstanceChangeGroup(instance_name=WEB),
        rack_town,
    ),
    "add many": (
        multi_alloc.HANDLER,
        multi_alloc.InstanceMultiAlloc(
            instances=(
                {"instance_name": "a", "disk_template": "diskless", "no_install": True},
                {"instance_name": "b", "disk_template": "diskless", "no_install": True},
            )
        ),
        Town,
    ),
}
# They decide, and submit jobs that take the locks.
DELEGATE = {
    "OP_NODE_EVACUATE",
    "OP_GROUP_EVACUATE",
    "OP_INSTANCE_CHANGE_GROUP",
    "OP_INSTANCE_MULTI_ALLOC",
}
CASES = [
    Case(name, handler, op, town)  # type: ignore[arg-type]
    for name, (handler, op, town) in PLAIN.items()
]
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

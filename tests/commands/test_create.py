"""OP_INSTANCE_CREATE: what it plans, what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.errors import Refused
from commands.instance_ops.create import HANDLER, InstanceCreate
from nodeagent.calls import EnsureReplicated, EnsureRunning, EnsureVolume
from projections.errors import NoSuchObject
from projections.objects import ADMIN_DOWN, ADMIN_UP
from projections.plans import Plan
from tests.commands.building import Town, call_steps, ids, node_uuid, unpacked


def order(**fields: Any) -> InstanceCreate:
    """Return a valid order for an instance on node1, with changes."""
    wanted: dict[str, Any] = {
        "instance_name": "mail.example.net",
        "disk_template": "plain",
        "disks": ({"size": 10240},),
        "nics": ({},),
        "os_type": "debian",
        "pnode": "node1",
        "beparams": {"memory": 512},
    }
    return InstanceCreate(**{**wanted, **fields})


DRBD = {"disk_template": "drbd", "pnode": "node3", "snode": "node1", "disks": ({"size": "20G"},)}


def test_a_plain_instance_is_created_step_by_step() -> None:
    """The volume, the disk, the OS, the record, the start, in this order."""
    plan = Town().decide(HANDLER, order())
    assert ids(plan) == ["volume/node1/0/data", "active/node1/0", "os", "created", "start"]


def test_a_mirrored_instance_has_both_sides_before_it_is_recorded() -> None:
    """Volumes on both nodes at once, fresh mirrors on both, usable on the primary."""
    plan = Town().decide(HANDLER, order(**DRBD))
    assert ids(plan) == [
        "volume/node3/0/data",
        "volume/node3/0/meta",
        "volume/node1/0/data",
        "volume/node1/0/meta",
        "mirror/node3/0",
        "mirror/node1/0",
        "active/node3/0",
        "os",
        "created",
        "synced/0",
        "start",
    ]
    assert isinstance(plan, Plan)
    steps = call_steps(plan)
    assert all(not steps[name].after for name in ids(plan)[:4])
    mirror = unpacked(steps["mirror/node3/0"])
    assert isinstance(mirror, EnsureReplicated)
    assert mirror.fresh
    assert mirror.disk.peer == node_uuid(1)
    assert mirror.disk.peer_address == "192.0.2.1"
    assert mirror.disk.params["protocol"] == "C"


def test_the_instance_is_there_in_the_end() -> None:
    """Its nodes, parameters, disks and state are those that were asked for."""
    town = Town()
    done, _ = town.carry_out(HANDLER, order(**DRBD, tags=("b", "a")))
    assert done.result == ["node3", "node1"]
    assert done.problem is None
    mail = town.cluster.instance("mail.example.net")
    assert mail.nodes == (node_uuid(3), node_uuid(1))
    assert mail.beparams == {"minmem": 512, "maxmem": 512}
    assert mail.admin_state == ADMIN_UP
    assert mail.disks_active
    assert mail.tags == ("a", "b")
    (disk,) = mail.disks
    assert (disk.size_mib, disk.port) == (20480, 11000)
    assert [side.minor for side in disk.sides] == [0, 0]
    assert mail.nics[0].mac.startswith("aa:00:00:")


def test_minors_and_ports_are_the_lowest_free_ones() -> None:
    """A minor that one node uses is free on another; a port must be free on both."""
    town = Town(4)
    town.carry_out(HANDLER, order(**DRBD))
    again = {"instance_name": "two.example.net", "pnode": "node1", "snode": "node2"}
    town.carry_out(HANDLER, order(**{**DRBD, **again}))
    (disk,) = town.cluster.instance("two.example.net").disks
    assert [side.minor for side in disk.sides] == [1, 0]
    assert disk.port == 11001
    apart = {"instance_name": "three.example.net", "pnode": "node2", "snode": "node4"}
    town.carry_out(HANDLER, order(**{**DRBD, **apart}))
    (disk,) = town.cluster.instance("three.example.net").disks
    assert [side.minor for side in disk.sides] == [1, 0]
    assert disk.port == 11000


@pytest.mark.parametrize("nodes", [{}, {"pnode": None}])
def test_bounds_of_the_policy_are_named_whoever_chooses_the_nodes(nodes: dict[str, Any]) -> None:
    """By the size that is out of them, not as a lack of room; --ignore-ipolicy goes on."""
    small = order(disks=({"size": 512},), **nodes)
    with pytest.raises(Refused) as refusal:
        Town().decide(HANDLER, small)
    assert "disk-size/0 value 512 is not in range [1024, " in refusal.value.message
    assert "--ignore-ipolicy" in refusal.value.hint
    assert isinstance(
        Town().decide(HANDLER, msgspec.structs.replace(small, ignore_ipolicy=True)), Plan
    )


def test_the_only_file_driver_may_be_named() -> None:
    """Scripts give it; another one is refused."""
    assert isinstance(Town().decide(HANDLER, order(file_driver="loop")), Plan)
    with pytest.raises(Refused, match="file driver blktap is not supported") as refusal:
        Town().decide(HANDLER, order(file_driver="blktap"))
    assert "--file-driver=loop" in refusal.value.hint


def test_an_instance_that_is_not_to_start_ends_inactive() -> None:
    """Its disks are shut down again before it is recorded, and nothing starts it."""
    town = Town()
    plan = town.decide(HANDLER, order(**DRBD, start=False))
    assert ids(plan)[-3:] == ["inactive/node3/0", "inactive/node1/0", "created"]
    town.carry_out(HANDLER, order(**DRBD, start=False))
    mail = town.cluster.instance("mail.example.net")
    assert (mail.admin_state, mail.disks_active) == (ADMIN_DOWN, False)


def test_an_instance_without_an_installation_is_meant_to_be_down() -> None:
    """Nothing starts it, so it must not be missed by those who look for what should run."""
    town = Town()
    town.carry_out(HANDLER, order(**DRBD, no_install=True))
    mail = town.cluster.instance("mail.example.net")
    assert (mail.admin_state, mail.disks_active) == (ADMIN_DOWN, False)


def test_a_start_that_fails_keeps_the_instance_and_says_so() -> None:
    """The opcode has a problem, and the instance stays."""
    town = Town()
    done, _ = town.carry_out(HANDLER, order(), fail=["start"])
    assert done.problem is not None
    assert "did not start: it broke" in done.problem.message
    assert town.cluster.instance("mail.example.net").admin_state == ADMIN_UP


def test_a_node_that_has_not_reported_is_asked_first() -> None:
    """A new leader knows nothing; the plan that looks comes first, and the next one creates."""
    town = Town()
    blind = town.given(seen=False)
    first = HANDLER.decide(order(**DRBD), town.cluster, blind, ())
    assert isinstance(first, Plan)
    assert ids(first) == ["look/node3", "look/node1"]
    second = HANDLER.decide(order(**DRBD), town.cluster, blind, (town.through(first),))
    assert "created" in ids(second)


def test_a_file_lies_in_the_cluster_s_directory() -> None:
    """Below the directory that was asked for."""
    plan = Town().decide(HANDLER, order(disk_template="file", file_storage_dir="mine"))
    assert isinstance(plan, Plan)
    made = unpacked(call_steps(plan)["volume/node1/0/data"])
    assert isinstance(made, EnsureVolume)
    assert made.volume.kind == "file"
    assert made.volume.name.startswith("/srv/files/mine/")


def test_a_diskless_instance_has_only_a_record_and_a_start() -> None:
    """There is nothing to make or to install on."""
    plan = Town().decide(HANDLER, order(disk_template="diskless", disks=()))
    assert ids(plan) == ["created", "start"]


def test_parameters_in_force_reach_the_node() -> None:
    """The hypervisor is told inherited values too."""
    town = Town(beparams={"vcpus": 3})
    plan = town.decide(HANDLER, order())
    assert isinstance(plan, Plan)
    started = unpacked(call_steps(plan)["start"])
    assert isinstance(started, EnsureRunning)
    assert (started.instance.vcpus, started.instance.memory_mib) == (3, 512)
    assert started.instance.hvparams == {"migration_mode": "live"}
    assert started.instance.nics[0].link == "xen-br0"


def test_allocation_takes_the_node_with_most_memory_and_says_why() -> None:
    """The others are named with the reason."""
    town = Town()
    town.add_instance(1, nodes=(1,), beparams={"maxmem": 4096})
    town.set_node(2, drained=True)
    plan = town.decide(HANDLER, order(pnode=None))
    assert isinstance(plan, Plan)
    assert call_steps(plan)["start"].node == node_uuid(3)
    assert "not node2: is drained" in plan.explanation
    assert plan.explanation[0].startswith("chosen node3: 8192 MiB of memory")


def test_spindles_are_counted_where_disks_are_exclusive() -> None:
    """They stand in the configuration, and the node is told to take so many disks."""
    town = Town(ndparams={"exclusive_storage": True})
    plan = town.decide(HANDLER, order(disks=({"size": 10240, "spindles": 2},)))
    assert isinstance(plan, Plan)
    made = unpacked(call_steps(plan)["volume/node1/0/data"])
    assert isinstance(made, EnsureVolume)
    assert (made.volume.exclusive, made.volume.spindles) == (True, 2)
    drbd = {**DRBD, "disks": ({"size": 10240, "spindles": 2},)}
    with pytest.raises(Refused, match="only for plain disks"):
        town.decide(HANDLER, order(**drbd))


REFUSALS = [
    ({"disks": ({"size": "200G"},)}, "too little disk space: 204800 MiB wanted, 102400 MiB free"),
    ({"beparams": {"memory": "9G"}}, "too little memory: 9216 MiB wanted, 8192 MiB free"),
    ({"pnode": None, "beparams": {"memory": "9G"}}, "node has room"),
    ({"instance_name": "web1.example.net"}, "there is an instance web1.example.net already"),
    ({"instance_name": "no good"}, "cannot be the name"),
    ({"nics": ({"link": ""},)}, "nic/0: a bridged interface needs a link"),
    ({"beparams": {"memory": "1X"}}, "memory: '1X' is not a size"),
    ({"disks": ({"size": "10x"},)}, "'10x' is not a size"),
    ({"disks": ({"size": -1},)}, "-1 is not a size"),
    ({"disks": ({},)}, "has no size"),
    ({"disks": ({"size": 1024, "spindles": 2},)}, "exclusive storage, not on node1"),
    ({"disks": ({"size": 1024, "spindles": "two"},)}, "'two' spindles cannot be"),
    ({"disks": ({"size": 1024, "spindles": 0},)}, "0 spindles cannot be"),
    ({"disks": ()}, "needs a disk"),
    ({"disks": ({"size": 1, "adopt": "lv"},)}, "has a size already"),
    ({"hvparams": {"memory": "1G"}}, "has no parameter memory"),
    ({"hvparams": {"migration_mode": "live"}}, "the same for the whole cluster"),
    ({"beparams": {"minmem": 600, "maxmem": 500}}, "minmem 600 MiB is more than maxmem 500"),
    ({"beparams": {"memroy": 1}}, "no parameter memroy"),
    ({"disk_template": "rbd"}, "not enabled"),
    ({"os_type": None}, "no operating system"),
    ({"snode": "node2"}, "plain has no secondary node"),
    ({"disk_template": "drbd"}, "drbd needs a secondary node"),
    ({"disk_template": "drbd", "snode": "node1"}, "cannot be primary and secondary"),
    ({"nics": ({"mac": "aa:00:00:00:00:01"},)}, "is in use"),
    ({"nics": ({"mac": "01:00:00:00:00:01"},)}, "is not the MAC address"),
    ({"nics": ({"ip": "300.1.1.1"},)}, "is not an IP address"),
    ({"tags": ("no good",)}, "cannot be a tag"),
    ({"name_check": True}, "name_check is not supported yet"),
    ({"iallocator": "hail"}, "nodes are named, and yet to be chosen"),
    ({"hypervisor": "kvm"}, "no enabled hypervisor 'kvm'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS)
def test_what_cannot_be_is_refused_with_a_hint(changes: dict[str, Any], message: str) -> None:
    """The message says what is wrong, the hint what would be accepted."""
    town = Town()
    town.add_instance(1, nodes=(3,))
    with pytest.raises(Refused) as refusal:
        town.decide(HANDLER, order(**changes))
    assert message in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"offline": True}, "is marked offline"),
        ({"drained": True}, "is drained"),
        ({"vm_capable": False}, "is not vm_capable"),
    ],
)
def test_a_node_that_takes_no_instances_is_refused(flags: dict[str, bool], message: str) -> None:
    """Offline, drained, not capable: each with the command that would change it."""
    town = Town()
    town.set_node(1, **flags)
    with pytest.raises(Refused) as refusal:
        town.decide(HANDLER, order())
    assert message in refusal.value.message
    assert "gnt-node modify" in refusal.value.hint


def test_an_unknown_node_is_named_with_the_nearest() -> None:
    """Names that exist are offered."""
    with pytest.raises(NoSuchObject) as missing:
        Town().decide(HANDLER, order(pnode="nod1"))
    assert "node1" in missing.value.nearest


def test_locks_hold_the_name_alone_and_the_nodes_shared() -> None:
    """Creations on the same node run side by side."""
    town = Town()
    held = {each.name: each.shared for each in HANDLER.locks(order(**DRBD), town.cluster)}
    assert held == {
        "name/mail.example.net": False,
        f"node/{node_uuid(1)}": True,
        f"node/{node_uuid(3)}": True,
    }


def test_what_runs_beside_it_is_counted() -> None:
    """Room that an open plan has reserved is not promised again."""
    town = Town()
    first = town.decide(HANDLER, order(beparams={"memory": "5G"}))
    assert isinstance(first, Plan)
    town.cluster = town.cluster.reserve((1, 0), first.reserves)
    other = order(instance_name="other.example.net", beparams={"memory": "5G"})
    with pytest.raises(Refused) as refusal:
        town.decide(HANDLER, other)
    assert refusal.value.code == "temp_insufficient_resources"
    assert "3072 MiB free" in refusal.value.message


def test_going_back_leaves_the_configuration_as_it_was() -> None:
    """The undo of the record takes the instance out again."""
    town = Town()
    before = town.cluster.instances
    plan = town.decide(HANDLER, order())
    assert isinstance(plan, Plan)
    town.through(plan)
    created = next(step for step in plan.steps if step.id == "created")
    town.fold_facts(msgspec.structs.asdict(created)["undo"])
    assert town.cluster.instances == before

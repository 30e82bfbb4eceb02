"""Instance policies on the cluster and on groups, and the opcodes that are held to them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands import ipolicy
from commands.cluster_ops import checks
from commands.cluster_ops import set_params as cluster_set_params
from commands.errors import Refused
from commands.group_ops import add
from commands.group_ops import set_params as group_set_params
from commands.instance_ops import create, grow_disk
from commands.instance_ops import set_params as instance_set_params
from commands.placement.from_cluster import policy_of
from commands.placement.request import request
from projections.ipolicy import DEFAULTS, SPEC_KEYS
from projections.objects import NOTHING_SET
from projections.plans import Plan
from tests.commands.building import Town

LOW = {**DEFAULTS.std, "nic-count": 0}
HIGH = dict(zip(SPEC_KEYS, (4096, 4, 2, 20480, 2, 4), strict=True))
BOUNDS = {"minmax": [{"min": LOW, "max": HIGH}]}


def bounded(**policy: Any) -> Town:
    """A town whose cluster has these bounds, and `policy`."""
    town = Town()
    change = cluster_set_params.ClusterSetParams(ipolicy={**BOUNDS, **policy})
    town.carry_out(cluster_set_params.HANDLER, change)
    return town


def set_on_group(town: Town, policy: dict[str, Any]) -> Any:
    """Change the policy of the default group; return the opcode's result."""
    change = group_set_params.GroupSetParams(group_name="default", ipolicy=policy)
    return town.carry_out(group_set_params.HANDLER, change)[0].result


def order(**fields: Any) -> create.InstanceCreate:
    """Return an order for a plain instance on node1."""
    wanted: dict[str, Any] = {
        "instance_name": "mail.example.net",
        "disk_template": "plain",
        "disks": ({"size": "10G"},),
        "os_type": "debian",
        "pnode": "node1",
    }
    return create.InstanceCreate(**{**wanted, **fields})


def test_a_group_inherits_what_it_does_not_set() -> None:
    """The cluster's bounds hold in it, its own ratio as well; `default` takes that back."""
    town = bounded(**{"vcpu-ratio": 2.0})
    told = set_on_group(town, {"vcpu-ratio": "1.5", "disk-templates": ["plain"]})
    assert told == [("ipolicy", "{'disk-templates': ['plain'], 'vcpu-ratio': 1.5}")]
    group = town.cluster.group("default")
    engine = policy_of(town.cluster, group)
    assert (engine.vcpu_ratio, engine.templates) == (1.5, ("plain",))
    assert engine.bounds[0].high.memory_mib == 4096
    assert policy_of(town.cluster).vcpu_ratio == 2.0
    set_on_group(town, {"vcpu-ratio": "default", "disk-templates": ["default"]})
    assert town.cluster.group("default").ipolicy == NOTHING_SET
    assert policy_of(town.cluster, town.cluster.group("default")).vcpu_ratio == 2.0


def test_a_new_group_may_have_a_policy() -> None:
    """It stands in the request to an allocator, filled in."""
    town = bounded()
    town.carry_out(add.HANDLER, add.GroupAdd(group_name="r2", ipolicy={"spindle-ratio": 4}))
    asked = msgspec.json.decode(request(town.cluster, (), {"type": "none"}))
    of = {group["name"]: group["ipolicy"] for group in asked["nodegroups"].values()}
    assert (of["r2"]["spindle-ratio"], of["default"]["spindle-ratio"]) == (4.0, 32.0)
    assert of["r2"]["minmax"][0]["max"]["memory-size"] == 4096


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"a": 1}, "no key of instance policies 'a'"),
        ({"vcpu-ratio": "many"}, "vcpu-ratio: 'many' is not a number above 0"),
        ({"spindle-ratio": -1}, "not a number above 0"),
        ({"disk-templates": []}, "at least one disk template"),
        ({"disk-templates": ["drdb"]}, "no disk template 'drdb'"),
        ({"minmax": [{"min": LOW}]}, "not just min and max"),
        ({"minmax": [{"min": {"cpu-count": 1}, "max": HIGH}]}, "min lacks memory-size"),
        ({"minmax": [{"min": {**LOW, "cpu-count": 9}, "max": HIGH}]}, "min 9 is above max 4"),
        ({"minmax": [{"min": {**LOW, "cpu-count": -1}, "max": HIGH}]}, "not a whole number"),
        ({"minmax": [{"min": {**LOW, "cpus": 1}, "max": HIGH}]}, "no key of sizes 'cpus'"),
        ({"minmax": 4}, "not a list of pairs"),
        ({"std": {"memory-size": "much"}}, "is not a size"),
        ({"std": {"memory-size": 10**30}}, "is too large"),
        ({"std": {"memory-size": "64G"}}, "standard size of instances lies outside"),
    ],
)
def test_what_is_no_policy_is_refused(policy: dict[str, Any], message: str) -> None:
    """With what is wrong; nothing changes."""
    with pytest.raises(Refused, match=message):
        bounded(**policy)


def test_the_standard_size_is_the_clusters_alone() -> None:
    """A group cannot set it."""
    with pytest.raises(Refused, match="same for the whole cluster"):
        set_on_group(Town(), {"std": {"cpu-count": 1}})


def test_sizes_may_have_units() -> None:
    """As everywhere where a person writes sizes."""
    found = ipolicy.modified(NOTHING_SET, {"std": {"memory-size": "1g"}}, of_group=False)
    assert found.std == {"memory-size": 1024}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"disks": ({"size": "30G"},)}, r"disk-size/0 value 30720 is not in range \[1024, 20480\]"),
        ({"disks": ({"size": "1G"},) * 3}, "disk-count value 3"),
        ({"beparams": {"memory": "8G"}}, "memory-size value 8192"),
        ({"beparams": {"vcpus": 5}}, "cpu-count value 5"),
        ({"nics": ({}, {}, {})}, "nic-count value 3"),
    ],
)
def test_an_instance_beyond_the_bounds_is_not_created(fields: Any, message: str) -> None:
    """On named nodes, too; unless the order says to ignore the policy."""
    town = bounded()
    with pytest.raises(Refused, match=message):
        town.decide(create.HANDLER, order(**fields))
    assert isinstance(town.decide(create.HANDLER, order(**fields, ignore_ipolicy=True)), Plan)
    assert isinstance(town.decide(create.HANDLER, order()), Plan)


def test_a_template_may_be_forbidden() -> None:
    """In one group, for what is created there."""
    town = bounded()
    set_on_group(town, {"disk-templates": ["drbd"]})
    with pytest.raises(Refused, match="disk template plain is not allowed"):
        town.decide(create.HANDLER, order())


def test_one_pair_of_bounds_is_enough() -> None:
    """What lies within the second complies; a refusal is about the pair that is missed least."""
    large = {**HIGH, "memory-size": 65536, "cpu-count": 16}
    second = {"min": {**LOW, "cpu-count": 8}, "max": large}
    town = bounded(minmax=[{"min": LOW, "max": HIGH}, second])
    fields: dict[str, Any] = {"beparams": {"memory": "6G", "vcpus": 8}}
    assert isinstance(town.decide(create.HANDLER, order(**fields)), Plan)
    with pytest.raises(Refused, match=r"cpu-count value 5 is not in range \[8, 16\]$"):
        town.decide(create.HANDLER, order(beparams={"memory": "6G", "vcpus": 5}))


def test_an_instance_does_not_grow_beyond_the_bounds() -> None:
    """Neither its disk nor its memory; what was there before the bounds may stay."""
    town = bounded()
    town.add_instance(1, sizes_mib=(10240,))
    grow = grow_disk.InstanceGrowDisk(instance_name="web1.example.net", disk=0, amount=20480)
    with pytest.raises(Refused, match="disk-size/0 value 30720"):
        town.decide(grow_disk.HANDLER, grow)
    more: dict[str, Any] = {"instance_name": "web1.example.net", "beparams": {"vcpus": 5}}
    with pytest.raises(Refused, match="cpu-count value 5"):
        town.decide(instance_set_params.HANDLER, instance_set_params.InstanceSetParams(**more))
    ignoring = instance_set_params.InstanceSetParams(**more, ignore_ipolicy=True)
    assert isinstance(town.decide(instance_set_params.HANDLER, ignoring), Plan)


def test_verify_reports_who_violates_a_policy() -> None:
    """By Ganeti's code; nobody else."""
    town = bounded()
    town.add_instance(1, sizes_mib=(10240,))
    town.add_instance(2, sizes_mib=(30720,))
    found = [(one.code, one.object) for one in checks.policies(town.cluster, {})]
    assert found == [("EINSTANCEPOLICY", "web2.example.net")]


def test_the_default_bounds_do_not_ask_for_an_interface() -> None:
    """An instance without one can be created where nobody has set bounds."""
    assert isinstance(Town().decide(create.HANDLER, order(nics=())), Plan)

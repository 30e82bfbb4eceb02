"""Groups, tags, settings of the cluster, and its end."""

from __future__ import annotations

from typing import Any

import pytest

from commands.cluster_ops import destroy
from commands.cluster_ops import set_params as cluster_set_params
from commands.errors import Refused
from commands.group_ops import add, remove, rename
from commands.group_ops import set_params as group_set_params
from commands.tag_ops import delete_tags, set_tags
from projections.errors import NoSuchObject
from projections.objects import ADMIN_DOWN
from tests.commands.building import Town

WEB = "web1.example.net"


def town_of_two_groups() -> Town:
    """rack2 is empty."""
    town = Town()
    town.carry_out(add.HANDLER, add.GroupAdd(group_name="rack2", alloc_policy="last_resort"))
    return town


def modify(**fields: Any) -> cluster_set_params.ClusterSetParams:
    """Return an order for the cluster."""
    return cluster_set_params.ClusterSetParams(**fields)


def test_groups_come_change_and_go() -> None:
    """Each by one record."""
    town = town_of_two_groups()
    assert town.cluster.group("rack2").alloc_policy == "last_resort"
    change = group_set_params.GroupSetParams(
        group_name="rack2", alloc_policy="unallocable", ndparams={"ssh_port": 23}
    )
    done, _ = town.carry_out(group_set_params.HANDLER, change)
    assert done.result == [("alloc_policy", "unallocable"), ("ndparams", "{'ssh_port': 23}")]
    town.carry_out(rename.HANDLER, rename.GroupRename(group_name="rack2", new_name="rack3"))
    town.carry_out(remove.HANDLER, remove.GroupRemove(group_name="rack3"))
    assert [group.name for group in town.cluster.groups.values()] == ["default"]


@pytest.mark.parametrize(
    ("handler", "op", "message"),
    [
        (add.HANDLER, add.GroupAdd(group_name="default"), "there is a group default already"),
        (add.HANDLER, add.GroupAdd(group_name="x", alloc_policy="never"), "no allocation policy"),
        (
            add.HANDLER,
            add.GroupAdd(group_name="x", ipolicy={"a": 1}),
            "no key of instance policies",
        ),
        (remove.HANDLER, remove.GroupRemove(group_name="default"), "still has node1, node2"),
        (
            rename.HANDLER,
            rename.GroupRename(group_name="default", new_name="rack2"),
            "there is a group rack2 already",
        ),
        (
            group_set_params.HANDLER,
            group_set_params.GroupSetParams(group_name="rack2", diskparams={"tape": {}}),
            "no disk template",
        ),
        (
            group_set_params.HANDLER,
            group_set_params.GroupSetParams(group_name="rack2"),
            "nothing would change",
        ),
    ],
)
def test_what_a_group_cannot_be_is_refused(handler: Any, op: Any, message: str) -> None:
    """With a hint."""
    with pytest.raises(Refused) as refusal:
        town_of_two_groups().decide(handler, op)
    assert message in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("kind", "name", "table"),
    [
        ("cluster", None, "cluster"),
        ("nodegroup", "default", "group"),
        ("node", "node2", "node"),
        ("instance", WEB, "instance"),
    ],
)
def test_tags_of_all_kinds_of_objects(kind: str, name: str | None, table: str) -> None:
    """Added once, sorted; a tag that is there already is no second one."""
    town = Town()
    town.add_instance(1)
    fields: dict[str, Any] = {"kind": kind, "name": name}
    for _ in range(2):
        town.carry_out(set_tags.HANDLER, set_tags.TagsSet(tags=("b", "a", "b"), **fields))
    town.carry_out(delete_tags.HANDLER, delete_tags.TagsDel(tags=("a",), **fields))
    bearing = [thing.tags for thing in town.cluster.table(table).values() if thing.tags]
    assert bearing == [("b",)]


@pytest.mark.parametrize(
    ("handler", "op", "message"),
    [
        (set_tags.HANDLER, set_tags.TagsSet(kind="node", tags=("a",)), "tags of which node"),
        (set_tags.HANDLER, set_tags.TagsSet(kind="cluster", tags=()), "no tags were given"),
        (set_tags.HANDLER, set_tags.TagsSet(kind="cluster", tags=("a b",)), "cannot be a tag"),
        (set_tags.HANDLER, set_tags.TagsSet(kind="cluster", tags=("x" * 129,)), "cannot be a tag"),
        (
            set_tags.HANDLER,
            set_tags.TagsSet(kind="cluster", tags=tuple(str(i) for i in range(4097))),
            "4097 tags are too many",
        ),
        (delete_tags.HANDLER, delete_tags.TagsDel(kind="cluster", tags=("z",)), "has no tag 'z'"),
        (set_tags.HANDLER, set_tags.TagsSet(kind="moon", tags=("a",)), "no kind of object"),
    ],
)
def test_what_a_tag_cannot_be_is_refused(handler: Any, op: Any, message: str) -> None:
    """With a hint."""
    with pytest.raises(Refused) as refusal:
        Town().decide(handler, op)
    assert message in refusal.value.message
    assert refusal.value.hint


def test_tags_of_an_unknown_node_are_refused() -> None:
    """With the nearest names."""
    with pytest.raises(NoSuchObject):
        Town().decide(set_tags.HANDLER, set_tags.TagsSet(kind="node", name="nodx", tags=("a",)))


def test_settings_of_the_cluster_are_merged() -> None:
    """What is not named stays; a reset value is gone."""
    town = Town(beparams={"vcpus": 4, "spindle_use": 2})
    town.carry_out(
        cluster_set_params.HANDLER,
        modify(
            beparams={"vcpus": "default", "memory": "1G"},
            hvparams={"fake": {"migration_mode": "non-live"}},
            os_hvp={"debian": {"kvm": {"acpi": False}}},
            osparams={"debian": {"dhcp": "yes"}},
            enabled_hypervisors=("fake", "kvm"),
            candidate_pool_size=3,
            mac_prefix="AA:BB:CC",
            file_storage_dir="/srv/other/",
        ),
    )
    info = town.cluster.settings
    assert info.beparams == {"spindle_use": 2, "minmem": 1024, "maxmem": 1024}
    assert info.hvparams == {"fake": {"migration_mode": "non-live"}}
    assert info.os_hvp == {"debian": {"kvm": {"acpi": False}}}
    assert info.osparams == {"debian": {"dhcp": "yes"}}
    assert (info.mac_prefix, info.file_storage_dir) == ("aa:bb:cc", "/srv/other")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"enabled_disk_templates": ("drbd",)}, "web1.example.net uses plain"),
        ({"enabled_hypervisors": ("kvm",)}, "web1.example.net uses fake"),
        ({"enabled_hypervisors": ()}, "at least one hypervisor"),
        ({"enabled_hypervisors": ("vax",)}, "no hypervisor 'vax'"),
        ({"vg_name": "other"}, "are in xenvg"),
        ({"mac_prefix": "01:00:00"}, "is not the beginning of MAC addresses"),
        ({"file_storage_dir": "files"}, "is not an absolute path"),
        ({"drbd_helper": "x"}, "drbd_helper is not supported yet"),
        ({"hvparams": {"fake": {"acpi": True}}}, "has no parameter acpi"),
        ({}, "nothing would change"),
    ],
)
def test_what_the_cluster_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    """What is in use stays; what is not there yet is named."""
    town = Town()
    town.add_instance(1, admin_state=ADMIN_DOWN)
    with pytest.raises(Refused) as refusal:
        town.decide(cluster_set_params.HANDLER, modify(**fields))
    assert message in refusal.value.message
    assert refusal.value.hint


def test_only_an_empty_cluster_is_destroyed() -> None:
    """First its instances go, then its nodes."""
    town = Town(2)
    town.add_instance(1)
    with pytest.raises(Refused, match="1 instances are still there"):
        town.decide(destroy.HANDLER, destroy.ClusterDestroy())
    with pytest.raises(Refused, match="nodes are still there: node2"):
        Town(2).decide(destroy.HANDLER, destroy.ClusterDestroy())
    alone = Town(1)
    done, _ = alone.carry_out(destroy.HANDLER, destroy.ClusterDestroy())
    assert done.result == "node1"
    assert alone.cluster.settings.destroyed

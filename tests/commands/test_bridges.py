"""A bridge that a node does not have: refused before anything is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from commands.errors import ENVIRONMENT_ERROR, Refused
from commands.instance_ops.create import HANDLER as CREATE
from commands.instance_ops.create import InstanceCreate
from commands.instance_ops.failover import HANDLER as FAILOVER
from commands.instance_ops.failover import InstanceFailover
from commands.instance_ops.migrate import HANDLER as MIGRATE
from commands.instance_ops.migrate import InstanceMigrate
from commands.instance_ops.set_params import HANDLER as MODIFY
from commands.instance_ops.set_params import InstanceSetParams
from commands.instance_ops.startup import HANDLER as STARTUP
from commands.instance_ops.startup import InstanceStartup
from projections.objects import ADMIN_DOWN
from projections.plans import Plan
from tests.commands.building import Town, node_uuid


def town(**bridges: tuple[str, ...]) -> Town:
    """web1 on node1 and node2, web2 down on node1; nodes that are named tell their bridges."""
    town = Town()
    town.add_instance(1, nodes=(1, 2), template="drbd")
    town.add_instance(2, nodes=(1,), admin_state=ADMIN_DOWN)
    for name, found in bridges.items():
        town.bridges[node_uuid(int(name.removeprefix("node")))] = found
    return town


def create(town: Town, link: str) -> object:
    op = InstanceCreate(
        instance_name="mail.example.net", disk_template="plain", disks=({"size": 10240},),
        os_type="debian", pnode="node1", nics=({"link": link},),
    )  # fmt: skip
    return town.decide(CREATE, op)


def add_nic(town: Town, link: str, *, force: bool = False) -> object:
    op = InstanceSetParams(
        instance_name="web2.example.net", nics=(("add", -1, {"link": link}),), force=force
    )
    return town.decide(MODIFY, op)


WEB1 = {"instance_name": "web1.example.net"}
STARTS: list[tuple[Callable[[Town], object], str]] = [
    (lambda town: create(town, "xen-br0"), "node1"),
    (lambda town: add_nic(town, "xen-br0"), "node1"),
    (
        lambda town: town.decide(STARTUP, InstanceStartup(instance_name="web2.example.net")),
        "node1",
    ),
    (lambda town: town.decide(FAILOVER, InstanceFailover(**WEB1)), "node2"),
    (lambda town: town.decide(MIGRATE, InstanceMigrate(**WEB1)), "node2"),
]


@pytest.mark.parametrize(("order", "node"), STARTS)
def test_a_missing_bridge_is_refused_where_it_is_needed(
    order: Callable[[Town], object], node: str
) -> None:
    """With its name, that of the node, and the bridges that there are; nothing is planned."""
    with pytest.raises(Refused, match=f"node {node} has no bridge xen-br0") as refused:
        order(town(**{node: ("br0", "br1")}))
    assert refused.value.code == ENVIRONMENT_ERROR
    assert "br0, br1" in refused.value.hint


@pytest.mark.parametrize("order", [each[0] for each in STARTS])
def test_a_node_that_has_it_or_does_not_tell_is_taken(order: Callable[[Town], object]) -> None:
    """An older agent tells nothing: it looks itself when it connects the interface."""
    for found in ({}, {"node1": ("xen-br0",), "node2": ("br9", "xen-br0")}):
        assert isinstance(order(town(**found)), Plan)


def test_a_person_may_insist() -> None:
    """With --force a NIC is added before its bridge is there."""
    assert isinstance(add_nic(town(node1=("br0",)), "br7", force=True), Plan)

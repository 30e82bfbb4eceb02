"""The master's address: who is to take it, who is to give it up, what is decided of it."""

from __future__ import annotations

from typing import Any

import pytest

from commands.cluster_ops.activate_master_ip import HANDLER as ACTIVATE
from commands.cluster_ops.activate_master_ip import ClusterActivateMasterIp
from commands.cluster_ops.deactivate_master_ip import HANDLER as DEACTIVATE
from commands.cluster_ops.deactivate_master_ip import ClusterDeactivateMasterIp
from commands.cluster_ops.master_address import GRACE_S, Drop, Take, steps
from commands.cluster_ops.set_params import HANDLER as MODIFY
from commands.cluster_ops.set_params import ClusterSetParams
from commands.errors import Refused
from projections.events.configuration import MasterChanged, NodeLost, NodeReturned
from tests.commands.building import Town, node_uuid

ADDRESS = {"master_ip": "192.0.2.9", "master_netdev": "br0", "master_netmask": 24}


def town_with_address(**fields: Any) -> Town:
    """Three nodes; node1 leads and holds the address."""
    town = Town(**{**ADDRESS, **fields})
    town.carry_out(ACTIVATE, ClusterActivateMasterIp())
    return town


def holders(town: Town) -> list[str]:
    return [held.node for held in town.cluster.settings.master_ip_held]


def lead(town: Town, number: int) -> None:
    town.fold("cluster", MasterChanged(node=node_uuid(number)))


def dropped(taken: list[Take | Drop]) -> list[str]:
    return [step.held.node for step in taken if isinstance(step, Drop)]


def test_a_cluster_without_an_address_moves_none() -> None:
    """Nothing is to be done, and activating it is refused with how to get one."""
    town = Town()
    assert steps(town.cluster, reign_s=100.0) == []
    with pytest.raises(Refused, match="no address") as refused:
        town.decide(ACTIVATE, ClusterActivateMasterIp())
    assert "--master-netdev" in refused.value.hint


def test_the_masters_node_takes_it_once() -> None:
    """Asked for while nobody holds it; then nothing is left to do."""
    town = Town(**ADDRESS)
    assert steps(town.cluster, reign_s=0.0) == [Take()]
    town.carry_out(ACTIVATE, ClusterActivateMasterIp())
    assert holders(town) == [node_uuid(1)]
    assert steps(town.cluster, reign_s=0.0) == []


def test_a_master_whose_agent_is_silent_is_not_asked() -> None:
    """A new cluster has a leader before its node has joined; it is asked as soon as it answers."""
    town = Town(**ADDRESS)
    town.lose(1)
    assert steps(town.cluster, reign_s=100.0) == []
    town.fold(f"node/{node_uuid(1)}", NodeReturned(node=node_uuid(1)))
    assert steps(town.cluster, reign_s=0.0) == [Take()]


def test_a_former_holder_lets_go_first_if_it_answers_in_time() -> None:
    """It is told at once; the new one waits a moment, then takes it all the same."""
    town = town_with_address()
    lead(town, 2)
    first = steps(town.cluster, reign_s=0.0)
    assert (dropped(first), Take() in first) == ([node_uuid(1)], False)
    assert Take() in steps(town.cluster, reign_s=GRACE_S)


def test_a_lost_holder_is_told_when_it_is_back() -> None:
    """Until then the records say that it may hold the address still."""
    town = town_with_address()
    town.fold("node/1", NodeLost(node=node_uuid(1), silent_s=60.0))
    lead(town, 2)
    assert steps(town.cluster, reign_s=0.0) == [Take()]
    town.carry_out(ACTIVATE, ClusterActivateMasterIp())
    assert holders(town) == [node_uuid(1), node_uuid(2)]
    assert steps(town.cluster, reign_s=0.0) == []
    town.fold("node/1", NodeReturned(node=node_uuid(1)))
    assert dropped(steps(town.cluster, reign_s=0.0)) == [node_uuid(1)]
    town.carry_out(DEACTIVATE, ClusterDeactivateMasterIp(node_name="node1"))
    assert holders(town) == [node_uuid(2)]


def test_taken_down_it_stays_down() -> None:
    """Also under another leader, until it is brought up."""
    town = town_with_address()
    town.carry_out(DEACTIVATE, ClusterDeactivateMasterIp())
    lead(town, 3)
    assert holders(town) == []
    assert steps(town.cluster, reign_s=100.0) == []
    town.carry_out(ACTIVATE, ClusterActivateMasterIp())
    assert holders(town) == [node_uuid(3)]


def test_another_device_is_left_before_the_next_is_used() -> None:
    """On one node the old one goes first."""
    town = town_with_address()
    town.carry_out(MODIFY, ClusterSetParams(master_netdev="br1"))
    assert dropped(steps(town.cluster, reign_s=100.0)) == [node_uuid(1)]
    assert Take() not in steps(town.cluster, reign_s=100.0)
    town.carry_out(DEACTIVATE, ClusterDeactivateMasterIp(node_name="node1"))
    assert steps(town.cluster, reign_s=100.0) == [Take()]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"master_ip": "master"}, "no address"),
        ({"master_netmask": "33", **{k: ADDRESS[k] for k in ("master_ip",)}}, "33 bits"),
        ({"master_netmask": "255.255.255.0"}, "number of bits"),
        ({"master_netdev": "br0"}, "no address for br0"),
    ],
)
def test_what_can_be_no_address_is_refused(fields: dict[str, Any], says: str) -> None:
    """With what would do."""
    with pytest.raises(Refused, match=says) as refused:
        Town().decide(MODIFY, ClusterSetParams(**fields))
    assert refused.value.hint

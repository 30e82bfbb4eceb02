"""What a node is told of an instance's disks."""

from __future__ import annotations

from commands.specs import disk_spec
from nodeagent.calls import DiskSpec
from tests.commands.building import Town, node_uuid


def spec(town: Town, node: int) -> DiskSpec:
    """The first disk of web1 as a node must hold it."""
    return disk_spec(town.cluster, town.instance(), 0, node_uuid(node))


def test_each_side_of_a_mirror_is_told_both_addresses() -> None:
    """Its own and its peer's; a side whose peer is out of reach stands alone."""
    town = Town()
    town.add_instance(1, nodes=(1, 2), template="drbd")
    one, two = spec(town, 1), spec(town, 2)
    assert (one.own_address, one.peer_address) == (two.peer_address, two.own_address)
    assert one.own_address == town.node(1).primary_ip != one.peer_address
    town.set_node(1, offline=True)
    alone = spec(town, 2)
    assert (alone.peer, alone.own_address, alone.peer_address) == (None, "", "")


def test_exclusive_storage_is_for_plain_disks_on_such_nodes() -> None:
    """There a volume has physical volumes of its own, elsewhere not; a mirror never has."""
    town = Town()
    town.add_instance(1, nodes=(1,), template="plain")
    town.add_instance(2, nodes=(1, 2), template="drbd")
    assert not spec(town, 1).volume.exclusive
    town.set_node(1, ndparams={"exclusive_storage": True})
    assert spec(town, 1).volume.exclusive
    mirrored = disk_spec(town.cluster, town.instance(2), 0, node_uuid(1))
    assert not mirrored.volume.exclusive

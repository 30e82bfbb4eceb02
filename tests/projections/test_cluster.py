"""`Cluster`: put, drop, reserve, release; names, indexes and marks follow."""

from __future__ import annotations

import msgspec
import pytest

from projections.cluster import RESERVED, Cluster, Key, Touched, index_again
from projections.errors import CorruptHistory, NoSuchObject
from projections.objects import Disk, Group, Instance, Node, Side
from projections.plans import Reservations

replace = msgspec.structs.replace


def two_nodes() -> Cluster:
    cluster = Cluster().put("group", "g", Group(uuid="g", name="default"), 1)
    for uuid in ("n1", "n2"):
        node = Node(uuid=uuid, name=f"{uuid}.example.net", group="g")
        cluster = cluster.put("node", uuid, node, 2)
    return cluster


def mirrored(uuid: str = "i", name: str = "web1.example.net") -> Instance:
    sides = (Side(node="n1", volume="vg/a"), Side(node="n2", volume="vg/b"))
    disk = Disk(uuid=f"{uuid}-0", size_mib=1024, template="drbd", sides=sides)
    return Instance(
        uuid=uuid,
        name=name,
        primary="n1",
        os="debian",
        hypervisor="fake",
        template="drbd",
        disks=(disk,),
    )


def keys(touched: Touched | None) -> list[Key]:
    found = []
    while touched is not None:
        found.append(touched.key)
        touched = touched.before
    return found


def test_put_then_drop_leaves_no_trace() -> None:
    """An instance that came and went leaves names and indexes as they were."""
    before = two_nodes()
    during = before.put("instance", "i", mirrored(), 3)
    assert during.instance("web1") == during.instance("i") == mirrored()
    assert during.on_node("n1") == {"i"}
    assert during.mirrored_on("n2") == {"i"}
    after = during.drop("instance", "i", 4)
    assert after.names == before.names
    assert after.primaries == before.primaries
    assert after.secondaries == before.secondaries
    assert after.changed == before.changed


def test_only_the_fields_that_differ_are_marked() -> None:
    """Each field bears the seq of the record that last changed it, and no other does."""
    before = replace(mirrored(), beparams={"maxmem": 1024})
    cluster = two_nodes().put("instance", "i", before, 3)
    same = {"maxmem": 1024}  # equal, though not the same object
    now = replace(cluster.instance("i"), admin_state="up", beparams=same)
    marks = cluster.put("instance", "i", now, 9).changed["instance", "i"]
    by_field = dict(zip(Instance.__struct_fields__, marks, strict=True))
    assert by_field.pop("admin_state") == 9
    assert set(by_field.values()) == {3}


def test_touched_names_every_object_since_somebody_looked() -> None:
    """The chain holds all touched keys, newest first, and `untouched` empties it."""
    cluster = two_nodes().untouched()
    assert keys(cluster.touched) == []
    cluster = cluster.put("instance", "i", mirrored(), 3).drop("instance", "i", 4)
    cluster = cluster.reserve((7, 0), Reservations(names=("instance/x",)))
    assert keys(cluster.touched) == [(RESERVED, "7/0"), ("instance", "i"), ("instance", "i")]


def test_a_name_belongs_to_one_object() -> None:
    """A second object of a name is refused; a rename frees the old one."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    with pytest.raises(CorruptHistory, match="web1"):
        cluster.put("instance", "j", mirrored("j"), 4)
    renamed = replace(mirrored(), name="web2.example.net")
    cluster = cluster.put("instance", "i", renamed, 5).put("instance", "j", mirrored("j"), 6)
    assert cluster.instance("web1.example.net").uuid == "j"
    assert cluster.instance("web2.example.net").uuid == "i"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """NoSuchObject carries the names that are most like the one asked for."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    with pytest.raises(NoSuchObject) as caught:
        cluster.instance("wbe1.example.net")
    assert caught.value.nearest == ("web1.example.net",)


@pytest.mark.parametrize("typed", ["wbe1", "web", "web2"])
def test_an_unknown_short_name_is_answered_with_the_nearest_too(typed: str) -> None:
    """What is typed without a domain is compared with the names' first labels."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    with pytest.raises(NoSuchObject) as caught:
        cluster.instance(typed)
    assert caught.value.nearest == ("web1.example.net",)


def test_a_short_name_is_expanded_only_where_it_is_unambiguous() -> None:
    """`web1` finds web1.example.net, but nothing where web1.example.org exists too."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    assert cluster.instance("web1").uuid == "i"
    cluster = cluster.put("instance", "j", mirrored("j", "web1.example.org"), 4)
    with pytest.raises(NoSuchObject) as caught:
        cluster.instance("web1")
    assert caught.value.nearest == ("web1.example.net", "web1.example.org")


def test_a_change_of_primary_moves_the_instance_between_the_indexes() -> None:
    """After a failover each node's sets hold the instance in its new part."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    moved = cluster.put("instance", "i", replace(mirrored(), primary="n2"), 4)
    assert (moved.on_node("n1"), moved.mirrored_on("n1")) == (set(), {"i"})
    assert (moved.on_node("n2"), moved.mirrored_on("n2")) == ({"i"}, set())


def test_a_reserved_name_is_kept_from_others_until_its_opcode_ends() -> None:
    """Another opcode cannot reserve it; after the release it can."""
    name = "instance/web9.example.net"
    cluster = two_nodes().reserve((1, 0), Reservations(names=(name,)))
    assert cluster.names[name] == ""
    with pytest.raises(CorruptHistory, match="web9"):
        cluster.reserve((2, 0), Reservations(names=(name,)))
    cluster = cluster.release((1, 0))
    assert name not in cluster.names
    assert cluster.reserve((2, 0), Reservations(names=(name,))).names[name] == ""


def test_a_release_leaves_the_name_of_what_was_made_under_it() -> None:
    """The reserved name of an instance that now exists stays that instance's."""
    name = "instance/web1.example.net"
    cluster = two_nodes().reserve((1, 0), Reservations(names=(name,)))
    cluster = cluster.put("instance", "i", mirrored(), 5)
    assert cluster.release((1, 0)).names[name] == "i"


def test_an_undone_instance_leaves_its_name_reserved_until_the_opcode_ends() -> None:
    """Between the undo and the end of the opcode nobody else gets the name."""
    name = "instance/web1.example.net"
    cluster = two_nodes().reserve((1, 0), Reservations(names=(name,)))
    cluster = cluster.put("instance", "i", mirrored(), 5).drop("instance", "i", 6)
    assert cluster.names[name] == ""
    assert name not in cluster.release((1, 0)).names


def test_a_second_plan_replaces_what_the_first_reserved() -> None:
    """What only the first plan of an opcode reserved is free again."""
    first = Reservations(names=("instance/a", "instance/b"))
    cluster = two_nodes().reserve((1, 0), first)
    cluster = cluster.reserve((1, 0), Reservations(names=("instance/b", "instance/c")))
    reserved = {name for name, uuid in cluster.names.items() if not uuid}
    assert reserved == {"instance/b", "instance/c"}


def test_what_is_derived_can_be_made_anew() -> None:
    """Names and indexes made from the objects equal those that were kept."""
    cluster = two_nodes().put("instance", "i", mirrored(), 3)
    cluster = cluster.put("instance", "j", mirrored("j", "db.example.net"), 4)
    cluster = cluster.reserve((1, 0), Reservations(names=("instance/x", "node/y")))
    made = index_again(cluster.groups, cluster.nodes, cluster.instances, cluster.reserved)
    assert made == {name: getattr(cluster, name) for name in made}


def test_dropping_what_is_not_there_is_corrupt_history() -> None:
    """A fold never passes over the removal of an unknown object."""
    with pytest.raises(CorruptHistory, match="record 9"):
        two_nodes().drop("instance", "i", 9)

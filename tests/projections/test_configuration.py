"""The fold of the configuration: wanted facts are held to, late ones are passed over."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from eventstore.events import KeyRevoked, VoterPlaced
from eventstore.packed import Packed
from eventstore.record import Event
from projections.cluster import Cluster
from projections.configuration import FOLDS, OF_THE_LOG, fold_configuration
from projections.errors import CorruptHistory
from projections.events import configuration as c
from projections.objects import Disk, Group, Instance, Node, Side
from tests.projections.stories import Story, uid

replace = msgspec.structs.replace
WEB = uid("web1.example.net")


class World:
    """A cluster that facts are told to, one record each."""

    def __init__(self) -> None:
        self.story = Story()
        self.cluster = Cluster()
        self.story.found(3)
        self.first, self.second, self.third = self.story.nodes
        instance = self.story.create("web1.example.net", primary=self.first, secondary=self.second)
        self.disk = instance.disks[0]
        for stored in self.story.log.records:
            kind = {event.KIND: event for event in FOLDS}.get(stored.record.kind)
            if kind is not None:
                event = msgspec.msgpack.decode(stored.record.data, type=kind)
                self.cluster = fold_configuration(self.cluster, event, stored.record)  # type: ignore[arg-type]
        assert self.web.primary == self.first

    @property
    def web(self) -> Instance:
        return self.cluster.instances[WEB]

    def tell(self, *events: Event) -> None:
        for event in events:
            (stored,) = self.story.log.add(("cluster", event))
            self.cluster = fold_configuration(self.cluster, event, stored.record)  # type: ignore[arg-type]

    def refuses(self, event: Event, message: str) -> None:
        before = self.cluster
        with pytest.raises(CorruptHistory, match=message) as caught:
            self.tell(event)
        assert str(caught.value).startswith(f"record {self.story.log.records[-1].record.seq}: ")
        assert self.cluster is before


@pytest.fixture
def world() -> World:
    return World()


def test_every_configuration_event_has_a_fold() -> None:
    """The table of folds covers the union exactly, and what it takes of the log's own events."""
    assert set(FOLDS) == set(get_args(c.ConfigurationEvent)) | OF_THE_LOG


def test_a_node_knows_the_voter_on_it(world: World) -> None:
    """From its place until its key is revoked; a voter of no node is passed over."""
    name = world.cluster.nodes[world.second].name
    for number, (key, where) in enumerate((("a" * 40, name), ("b" * 40, name), ("c" * 40, "?"))):
        world.tell(
            VoterPlaced(
                name=where, inc=f"{number:032x}", curve_key=key,
                requests="tcp://a:1", publications="tcp://a:2", replication="tcp://a:3",
            )
        )  # fmt: skip
    before = world.cluster.nodes[world.second]
    assert before.voter_key == "b" * 40
    world.tell(KeyRevoked(curve_key="a" * 40))
    assert world.cluster.nodes[world.second] == before
    world.tell(KeyRevoked(curve_key="b" * 40))
    after = world.cluster.nodes[world.second]
    assert after.voter_key == ""
    assert (after.serial, after.mtime_ms) == (before.serial, before.mtime_ms), "it was only seen"


def test_voters_and_keys_may_come_before_the_cluster() -> None:
    """They are the log's own events; there is no node yet that they could be about."""
    story = Story()
    (stored,) = story.log.add(("log", KeyRevoked(curve_key="a" * 40)))
    assert fold_configuration(Cluster(), KeyRevoked(curve_key="a" * 40), stored.record) == Cluster()  # type: ignore[arg-type]


def test_a_wanted_change_raises_serial_and_mtime(world: World) -> None:
    """mtime is the time of the record; ctime stays."""
    before = world.web
    world.tell(c.InstanceStateSet(instance=WEB, admin_state="down", source="user"))
    assert world.web.serial == before.serial + 1
    assert world.web.mtime_ms == world.story.log.records[-1].record.unix_ms > before.mtime_ms
    assert world.web.ctime_ms == before.ctime_ms > 0
    assert world.web.admin_state_source == "user"


@pytest.mark.parametrize(
    "event",
    [
        c.InstanceStateSet(instance=WEB, admin_state="down"),
        c.InstanceModified(instance=WEB, beparams={"vcpus": 2}, hvparams={}),
        c.InstanceRenamed(instance=WEB, old_name="web1.example.net", new_name="db.example.net"),
        c.InstanceDisksActive(instance=WEB, active=False),
        c.DiskGrown(instance=WEB, disk=0, size_mib=20480),
        c.InstancePrimaryChanged(
            instance=WEB, primary=uid("node2.example.net"), generation=2, how="migrate"
        ),
        c.TagsAdded(table="instance", subject=WEB, tags=("a", "b")),
        c.NodeLost(node=uid("node1.example.net"), silent_s=60.0),
        c.DutyDone(node=uid("node1.example.net"), duty="d"),
    ],
    ids=lambda event: event.KIND,
)
def test_folding_an_event_twice_changes_nothing_more(world: World, event: Event) -> None:
    """Values are new values, so the second time is a no-op, and the value is the same one."""
    world.tell(event)
    once = world.cluster
    world.tell(event)
    assert world.cluster is once


def test_a_failover_puts_the_new_primary_first_everywhere(world: World) -> None:
    """Primary, the order of the sides and the indexes change together."""
    moved = c.InstancePrimaryChanged(
        instance=WEB, primary=world.second, generation=2, how="failover"
    )
    world.tell(moved)
    assert world.web.nodes == (world.second, world.first)
    assert world.web.disks[0].sides[0].node == world.second
    assert world.cluster.on_node(world.second) == {WEB}
    assert world.cluster.mirrored_on(world.first) == {WEB}


def test_a_move_of_a_plain_disk_may_be_told_in_either_order(world: World) -> None:
    """`primary-changed` and `disk-replaced` of one batch give the same instance both ways round."""
    side = Side(node=world.first, volume="xenvg/p")
    disk = Disk(uuid="p0", size_mib=10, template="plain", sides=(side,))
    plain = Instance(
        uuid="p",
        name="plain.example.net",
        primary=world.first,
        os="debian",
        hypervisor="fake",
        template="plain",
        disks=(disk,),
    )
    world.tell(c.InstanceCreated(instance=plain))
    new = replace(disk, sides=(Side(node=world.third, volume="xenvg/q"),))
    moved = c.InstancePrimaryChanged(instance="p", primary=world.third, generation=2, how="move")
    replaced = c.DiskReplaced(instance="p", disk=0, new=new)
    start, told = world.cluster, []
    for order in ((moved, replaced), (replaced, moved)):
        world.cluster = start
        world.tell(*order)
        told.append(replace(world.cluster.instance("p"), mtime_ms=0))
    assert told[0] == told[1]
    assert told[0].nodes == (world.third,)


def test_health_follows_what_was_seen(world: World) -> None:
    """A state that is not in order is named; ok takes the name away; serial and mtime stay."""
    stamps = world.web.serial, world.web.mtime_ms
    seen = c.DiskStateSeen(instance=WEB, disk=world.disk.uuid, node=world.second, state="degraded")
    world.tell(seen)
    assert world.web.disks[0].health == {world.second: "degraded"}
    world.tell(replace(seen, state="ok"))
    assert world.web.disks[0].health == {}
    assert (world.web.serial, world.web.mtime_ms) == stamps


def test_inactive_is_a_fault_only_while_the_disks_should_be_active(world: World) -> None:
    """Shut down on order, a disk that is inactive is in order."""
    seen = c.DiskStateSeen(instance=WEB, disk=world.disk.uuid, node=world.first, state="inactive")
    world.tell(seen)
    assert world.web.disks[0].health == {world.first: "inactive"}
    world.tell(c.InstanceDisksActive(instance=WEB, active=False), seen)
    assert world.web.disks[0].health == {}


def test_a_replaced_side_brings_its_own_health_and_a_kept_one_keeps_it(world: World) -> None:
    """What was seen of a side that stays outlives the decision that was made before."""
    kept, lost = world.disk.sides
    for node, state in ((kept.node, "degraded"), (lost.node, "faulty")):
        world.tell(c.DiskStateSeen(instance=WEB, disk=world.disk.uuid, node=node, state=state))
    new = replace(
        world.disk,
        sides=(kept, Side(node=world.third, volume="xenvg/n")),
        health={world.third: "syncing"},
    )
    world.tell(c.DiskReplaced(instance=WEB, disk=0, new=new))
    assert world.web.disks[0].health == {kept.node: "degraded", world.third: "syncing"}
    assert world.cluster.mirrored_on(world.third) == {WEB}
    assert not world.cluster.mirrored_on(world.second)


def test_disks_that_stay_keep_what_was_seen_of_them(world: World) -> None:
    """Whatever the decision knew; one that is new brings its own, one that went is gone."""
    seen = c.DiskStateSeen(instance=WEB, disk=world.disk.uuid, node=world.second, state="degraded")
    world.tell(seen)
    new = replace(world.disk, uuid="d2", health={world.first: "syncing"})
    renamed = replace(world.disk, name="data", health={})
    world.tell(c.DisksChanged(instance=WEB, disks=(new, renamed)))
    assert [disk.uuid for disk in world.web.disks] == ["d2", world.disk.uuid]
    assert [disk.health for disk in world.web.disks] == [
        {world.first: "syncing"}, {world.second: "degraded"},
    ]  # fmt: skip
    world.tell(c.DisksChanged(instance=WEB, disks=(new,)))
    assert world.web.disks == (new,)
    with pytest.raises(CorruptHistory, match="twice"):
        world.tell(c.DisksChanged(instance=WEB, disks=(new, new)))


def test_crashed_is_what_was_seen_of_an_instance_that_should_run(world: World) -> None:
    """Seen running again, or set to a state on purpose, it is crashed no more."""
    crashed = c.InstanceStateSeen(instance=WEB, node=world.first, state="crashed")
    world.tell(crashed)
    assert world.web.crashed
    world.tell(replace(crashed, state="running"))
    assert not world.web.crashed
    world.tell(crashed, c.InstanceStateSet(instance=WEB, admin_state="down"), crashed)
    assert not world.web.crashed


@pytest.mark.parametrize(
    "event",
    [
        c.DiskStateSeen(instance=WEB, disk="gone", node=uid("node1.example.net"), state="faulty"),
        c.DiskStateSeen(
            instance=WEB,
            disk=uid("web1.example.net/0"),
            node=uid("node3.example.net"),
            state="faulty",
        ),
        c.DiskStateSeen(instance="gone", disk="gone", node="gone", state="faulty"),
        c.InstanceStateSeen(instance=WEB, node=uid("node2.example.net"), state="crashed"),
        c.InstanceStateSeen(instance="gone", node="gone", state="crashed"),
        c.NodeLost(node="gone", silent_s=60.0),
        c.NodeReturned(node="gone"),
        c.DutyRecorded(node="gone", duty="d", job=1, what="x"),
        c.DutyFailed(node="gone", duty="d", message="no"),
        c.DutyRequested(
            node="gone",
            duty="d",
            task="t",
            attempt=2,
            call=Packed("probe", 1, msgspec.Raw(b"\xc0")),
            resource="job/1",
            timeout_s=1.0,
        ),
        c.DutyDone(node="gone", duty="d"),
    ],
    ids=lambda event: event.KIND,
)
def test_what_was_seen_too_late_is_passed_over(world: World, event: Event) -> None:
    """An observation of what has moved or is gone changes nothing and halts nothing."""
    before = world.cluster
    world.tell(event)
    assert world.cluster is before


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (c.DiskGrown(instance=WEB, disk=0, size_mib=1), "would shrink"),
        (c.DiskGrown(instance=WEB, disk=1, size_mib=1), "no disk 1"),
        (c.DiskGrown(instance=WEB, disk=-1, size_mib=99999), "no disk -1"),
        (c.InstanceRemoved(instance="gone"), "no instance gone"),
        (c.InstanceStateSet(instance=WEB, admin_state="dancing"), "dancing"),
        (c.InstanceRenamed(instance=WEB, old_name="x", new_name="y"), "but is web1"),
        (
            c.InstancePrimaryChanged(
                instance=WEB, primary=uid("node2.example.net"), generation=1, how="failover"
            ),
            "generation 1 after 1",
        ),
        (
            c.InstancePrimaryChanged(
                instance=WEB, primary=uid("node3.example.net"), generation=2, how="failover"
            ),
            "no side",
        ),
        (c.NodeRemoved(node=uid("node2.example.net")), "still holds web1"),
        (c.NodeAdded(node="gone"), "no node gone"),
        (c.NodeInvited(node=Node(uuid="n", name="n", group="?"), ticket_key="k"), "no group"),
        (c.GroupRemoved(group=uid("default")), "still has node1"),
        (c.GroupAdded(group=Group(uuid=uid("default"), name="x")), "exists already"),
        (c.GroupAdded(group=Group(uuid="x", name="default")), "takes the name"),
        (c.TagsAdded(table="disk", subject="x", tags=("a",)), "unknown kind of object"),
        (c.TagsAdded(table="node", subject="x", tags=("a",)), "not there"),
    ],
)
def test_a_contradiction_halts_the_fold_and_names_its_record(
    world: World, event: Event, message: str
) -> None:
    """CorruptHistory tells the seq and what is wrong; the state is not touched."""
    world.refuses(event, message)


@pytest.mark.parametrize(
    ("given", "expected"), [("", "192.0.2.9"), ("198.51.100.1", "198.51.100.1")]
)
def test_a_node_brings_its_address_if_none_was_given(
    world: World, given: str, expected: str
) -> None:
    """What an operator said counts; else the address by which it reaches the voters."""
    group = world.cluster.nodes[world.first].group
    node = Node(uuid=uid("new"), name="new", group=group, primary_ip=given)
    world.tell(c.NodeInvited(node=node, ticket_key="t"))
    world.tell(c.NodeJoined(node=node.uuid, curve_key="k", address="192.0.2.9"))
    assert world.cluster.nodes[node.uuid].primary_ip == expected


def test_a_removed_node_takes_its_duties_with_it(world: World) -> None:
    """What it owed, nobody can do any more; other nodes' duties stay."""
    for node in (world.second, world.third):
        world.tell(c.DutyRecorded(node=node, duty=f"d-{node}", job=1, what="x"))
    world.tell(c.NodeRemoved(node=world.third))
    assert set(world.cluster.duties) == {f"d-{world.second}"}


def test_settings_do_not_overwrite_who_leads(world: World) -> None:
    """A change of settings decided before a failover keeps the new master."""
    decided = replace(world.cluster.settings, vg_name="vg0")
    world.tell(c.MasterChanged(node=world.second), c.ClusterModified(info=decided))
    assert world.cluster.settings.master == world.second
    assert world.cluster.settings.vg_name == "vg0"


def test_nothing_is_wanted_of_a_destroyed_cluster(world: World) -> None:
    """After its end wanted facts are contradictions, observations are passed over."""
    world.tell(c.ClusterDestroyed(), c.NodeLost(node=world.first, silent_s=60.0))
    world.refuses(c.InstanceStateSet(instance=WEB, admin_state="down"), "was destroyed")


def test_tags_are_a_sorted_set(world: World) -> None:
    """Adding twice or removing what is not there is harmless."""
    world.tell(c.TagsAdded(table="node", subject=world.first, tags=("b", "a")))
    world.tell(c.TagsAdded(table="node", subject=world.first, tags=("a", "c")))
    world.tell(c.TagsRemoved(table="node", subject=world.first, tags=("b", "z")))
    assert world.cluster.nodes[world.first].tags == ("a", "c")

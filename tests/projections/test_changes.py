"""Why a field is what it is: the record that set it, what led there, who asked and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.storage.log_view import LogView
from projections.changes import changes_of, fields_of, why
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events import configuration as c
from projections.objects import ClusterInfo
from projections.past import replay, state_at
from projections.registry import decode
from tests.projections.log_on_disk import write_log
from tests.projections.stories import Story, uid

Told = tuple[Story, LogView, Cluster]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    story = Story()
    story.found(2)
    first, second = story.nodes
    instance = story.create("a.example.net", primary=first, secondary=second)
    story.change(instance.uuid, c.InstanceStateSet(instance=instance.uuid, admin_state="down"))
    lost = c.NodeLost(node=second, silent_s=61.0)
    story.log.add((f"node/{second}", lost), actor="policy:watcher")
    write_log(tmp_path, story.log.records)
    with LogView(tmp_path) as log:
        yield story, log, replay(log).state.cluster


def test_the_chain_leads_from_the_change_to_what_was_submitted(told: Told) -> None:
    """The change comes first, each link is the cause of the one before, the job is named."""
    _, log, cluster = told
    answer = why(log, fields_of(cluster, "instance", "a"), "admin_state")
    change = answer.chain[0]
    assert change.event == c.InstanceStateSet(
        instance=cluster.instance("a").uuid, admin_state="down"
    )
    assert answer.chain[-1].record.cause is None
    assert len(answer.chain) == change.record.seq  # in this story each record led to the next
    for link, before in zip(answer.chain, answer.chain[1:], strict=False):
        assert link.record.cause == before.record.seq
    assert answer.value == "down"
    assert answer.submitted is not None
    assert answer.submitted.record.kind == "job.submitted"
    assert answer.submitted.record.job == change.record.job
    assert answer.actor == "operator:alice"
    assert answer.reason == (("gnt:client", "because", 1),)


def test_a_change_without_a_job_names_who_recorded_it(told: Told) -> None:
    """What was only seen has no submitter; its reason is empty."""
    _, log, cluster = told
    answer = why(log, fields_of(cluster, "node", "node2.example.net"), "lost")
    assert answer.submitted is None
    assert answer.chain[0].record.actor == "policy:watcher"
    assert answer.reason == ()


def test_every_field_of_every_object_has_a_record(told: Told) -> None:
    """The seq of each field is that of a record which speaks of that object."""
    story, _, cluster = told
    for table in ("group", "node", "instance"):
        for uuid in cluster.table(table):
            for seq in changes_of(cluster, table, uuid).values():
                record = story.log.records[seq - 1].record
                event = decode(record)
                assert event is not None
                assert record.stream == f"{table}/{uuid}"


@pytest.mark.parametrize(
    ("table", "key", "field", "nearest"),
    [
        ("instance", "b.example.net", "admin_state", "a.example.net"),
        ("instance", "a", "admin-state", "admin_state"),
        ("disk", "a", "size_mib", "instance"),
    ],
)
def test_what_is_not_known_is_answered_with_what_is(
    told: Told, table: str, key: str, field: str, nearest: str
) -> None:
    """An unknown object, field or kind raises NoSuchObject with what there is."""
    _, log, cluster = told
    with pytest.raises(NoSuchObject) as caught:
        why(log, fields_of(cluster, table, key), field)
    assert nearest in caught.value.nearest


def test_a_parameter_has_a_record_of_its_own(tmp_path: Path) -> None:
    """What else is set in the same field later does not hide when a parameter was set, or unset."""
    story = Story()
    story.found(2)
    uuid = story.create("a.example.net", primary=story.nodes[0], secondary=story.nodes[1]).uuid
    last = {}
    for name, beparams, hvparams in (
        ("two", {"vcpus": 2}, {"acpi": False}),
        ("memory", {"vcpus": 2, "maxmem": 512}, {"acpi": False}),
        ("four", {"vcpus": 4, "maxmem": 512}, {"acpi": False}),
        ("without", {"vcpus": 4}, {"acpi": False}),
        ("same", {"vcpus": 4, "auto_balance": False}, {"acpi": False}),
    ):
        event = c.InstanceModified(instance=uuid, beparams=beparams, hvparams=hvparams)
        story.change(uuid, event)
        of_it = [r for r in story.log.records if r.record.stream == f"instance/{uuid}"]
        last[name] = of_it[-1].record.seq
        first = of_it[0].record.seq
    write_log(tmp_path, story.log.records)
    with LogView(tmp_path) as log:
        about = fields_of(replay(log).state.cluster, "instance", "a")
        for field, part, value, seq in (
            ("beparams", "vcpus", 4, last["four"]),
            ("beparams", "maxmem", None, last["without"]),
            ("beparams", "auto_balance", False, last["same"]),
            ("hvparams", "acpi", False, last["two"]),
            ("beparams", "spindle_use", None, first),
            ("beparams", "", {"vcpus": 4, "auto_balance": False}, last["same"]),
        ):
            found = why(log, about, field, part)
            assert (part, found.value, found.chain[0].record.seq) == (part, value, seq)


def test_a_parameter_of_a_past_state_is_that_of_then(tmp_path: Path) -> None:
    """Records after the state that is asked about are passed over."""
    story = Story()
    story.found(2)
    uuid = story.create("a.example.net", primary=story.nodes[0], secondary=story.nodes[1]).uuid
    seqs = []
    for vcpus in (2, 3):
        story.change(
            uuid, c.InstanceModified(instance=uuid, beparams={"vcpus": vcpus}, hvparams={})
        )
        of_it = [r for r in story.log.records if r.record.stream == f"instance/{uuid}"]
        seqs.append(of_it[-1].record.seq)
    write_log(tmp_path, story.log.records)
    with LogView(tmp_path) as log:
        about = fields_of(state_at(log, None, seqs[0]).cluster, "instance", "a")
        found = why(log, about, "beparams", "vcpus")
        assert (found.value, found.chain[0].record.seq) == (2, seqs[0])


def test_a_parameter_of_the_cluster_is_told_for_each_hypervisor(tmp_path: Path) -> None:
    """The hypervisors that set it are named; what another one gets does not count as a change."""
    story = Story()
    story.found(1)
    (begin,) = [r.record.seq for r in story.log.records if r.record.stream == "cluster"]
    info = ClusterInfo(uuid=uid("c"), name="c.example.net")
    seqs = []
    for hvparams in ({"kvm": {"acpi": False}}, {"kvm": {"acpi": False}, "fake": {"x": 1}}):
        changed = msgspec.structs.replace(info, hvparams=hvparams)
        story.log.add(("cluster", c.ClusterModified(info=changed)))
        seqs.append(story.log.records[-1].record.seq)
    write_log(tmp_path, story.log.records)
    with LogView(tmp_path) as log:
        about = fields_of(replay(log).state.cluster, "cluster", "")
        found = why(log, about, "hvparams", "acpi")
        assert (found.value, found.chain[0].record.seq) == ({"kvm": False}, seqs[0])
        assert why(log, about, "hvparams", "boot_order").chain[0].record.seq == begin

"""Why a field is what it is: the record that set it, what led there, who asked and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.storage.log_view import LogView
from projections.changes import changes_of, why
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events import configuration as c
from projections.past import replay
from projections.registry import decode
from tests.projections.log_on_disk import write_log
from tests.projections.stories import Story

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
    answer = why(cluster, log, "instance", "a", "admin_state")
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
    answer = why(cluster, log, "node", "node2.example.net", "lost")
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
        why(cluster, log, table, key, field)
    assert nearest in caught.value.nearest

"""The state and its runner: cuts, snapshots and digests agree; a bad batch leaves no trace."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.cluster import index_again
from projections.digest import Digest
from projections.errors import CorruptHistory, UnknownKind
from projections.events import configuration as c
from projections.events import jobs as j
from projections.frozen import dump_state, load_state
from projections.state import Projector, State, digest_of
from tests.projections.random_stories import stories
from tests.projections.stories import Story, uid
from tests.replaycheck import check_records, fold_in_cuts, plain


def told(story: Story) -> Projector:
    projector = Projector()
    projector.apply(story.log.records)
    return projector


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(story=stories(), seed=st.integers(0, 2**32))
def test_however_the_log_is_folded_the_state_is_the_same(story: Story, seed: int) -> None:
    """Random cuts, a snapshot and its tail, incremental digests and new ones: all agree."""
    whole = told(story)
    state = check_records(story.log.records, whole.digest(), seed=seed)
    assert plain(state) == plain(whole.state)


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(story=stories())
def test_names_and_indexes_follow_from_the_objects(story: Story) -> None:
    """After any history, what was kept equals what is made anew."""
    cluster = told(story).state.cluster
    anew = index_again(cluster.groups, cluster.nodes, cluster.instances, cluster.reserved)
    assert anew == {name: getattr(cluster, name) for name in anew}
    assert set(cluster.changed) == {
        (table, uuid)
        for table in ("cluster", "group", "node", "instance")
        for uuid in cluster.table(table)
    }


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(story=stories())
def test_bytes_of_a_state_give_the_state_back(story: Story) -> None:
    """load after dump is identity, for configuration, jobs, locks and all."""
    state = told(story).state
    again = load_state(dump_state(state))
    assert plain(again) == plain(state)
    assert digest_of(again) == digest_of(state)


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(story=stories(), seed=st.integers(0, 2**32))
def test_each_change_changes_the_digest(story: Story, seed: int) -> None:
    """Two prefixes of a log have equal digests of the configuration only if it is equal."""
    records = story.log.records
    at = random.Random(seed).randrange(len(records))
    before, after = Projector(), Projector()
    before.apply(records[:at])
    after.apply(records[: at + 1])
    same = before.state.cluster.untouched() == after.state.cluster.untouched()
    assert (configuration(before.digest()) == configuration(after.digest())) == same


def configuration(digest: Digest) -> tuple[str, str]:
    return digest.configuration, digest.changes


def test_digests_follow_over_more_records_than_are_gathered_at_once() -> None:
    """What was touched is taken over now and then while a long log is folded; nothing is lost."""
    story = Story()
    story.found(3)
    for number in range(150):
        story.create(f"i{number}", primary=story.nodes[0], secondary=story.nodes[number % 2 + 1])
    projector = Projector()
    for at in range(0, len(story.log.records), 100):
        projector.apply(story.log.records[at : at + 100])
    assert projector.seq > 3000
    assert projector.digest() == digest_of(projector.state)


def test_a_batch_that_contradicts_is_not_folded_at_all() -> None:
    """The state after the error is the state before the batch."""
    story = Story()
    story.found(2)
    projector = told(story)
    before = projector.state
    batch = story.log.add(
        ("cluster", c.TagsAdded(table="node", subject=story.nodes[0], tags=("a",))),
        ("cluster", c.NodeAdded(node="gone")),
    )
    with pytest.raises(CorruptHistory, match=f"record {batch[1].record.seq}"):
        projector.apply(batch)
    assert projector.state is before


def test_an_unknown_kind_halts_and_a_note_does_not() -> None:
    """Better no master than a wrong one; a note is counted and passed over."""
    story = Story()
    story.found(1)
    projector = told(story)
    note = story.log.append_bytes("cluster", "note.weather", 1, msgspec.Raw(b"\x80"))
    projector.apply([note])
    assert projector.seq == note.record.seq
    strange = story.log.append_bytes("cluster", "cluster.melted", 1, msgspec.Raw(b"\x80"))
    with pytest.raises(UnknownKind):
        projector.apply([strange])


def test_a_gap_in_the_seqs_is_refused() -> None:
    """Records are folded in order, each once."""
    story = Story()
    story.found(1)
    with pytest.raises(CorruptHistory, match="record 2 after record 0"):
        Projector().apply(story.log.records[1:])


def test_ended_jobs_count_in_the_digest_though_they_are_not_in_memory() -> None:
    """Two histories that differ in the result of a job that is long over have other digests."""
    digests = []
    for result in (b"\x01", b"\x02"):
        story = Story()
        story.found(1)
        job = story.submit("ONE")
        story.log.add((f"job/{job}", j.OpStarted(op=0, handler=1)), job=job)
        end = j.OpSucceeded(op=0, result=msgspec.Raw(result))
        story.log.add((f"job/{job}", end), job=job)
        digests.append(told(story).digest())
    assert digests[0].configuration == digests[1].configuration
    assert digests[0].jobs != digests[1].jobs


def test_an_older_state_is_untouched_by_what_follows() -> None:
    """Folds return new values: whoever kept a state reads the same in it for ever."""
    story = Story()
    story.found(2)
    instance = story.create("a.example.net", primary=story.nodes[0], secondary=story.nodes[1])
    projector = told(story)
    kept, digest = projector.state, projector.digest()
    story.change(instance.uuid, c.InstanceRemoved(instance=instance.uuid))
    projector.apply(story.log.records[kept.seq :])
    assert uid("a.example.net") in kept.cluster.instances
    assert uid("a.example.net") not in projector.state.cluster.instances
    assert digest_of(kept) == digest


def test_bytes_that_are_no_state_are_refused() -> None:
    """Loading never gives half a state."""
    encoded = dump_state(State())
    assert plain(load_state(encoded)) == plain(State())
    for broken in (b"", encoded[:-1], b"\0" + encoded[1:], encoded[:8], encoded[:8] + b"\xc0"):
        with pytest.raises(CorruptHistory):
            load_state(broken)


def test_random_cuts_are_really_cut_in_the_middle_of_batches() -> None:
    """The cuts of the law include places inside a batch: nothing depends on them."""
    story = Story()
    story.found(3)
    story.create("a.example.net", primary=story.nodes[0], secondary=story.nodes[1])
    one_by_one = Projector()
    for stored in story.log.records:
        one_by_one.apply([stored])
    assert any(stored.record.count > 1 for stored in story.log.records)
    assert one_by_one.digest() == fold_in_cuts(story.log.records, random.Random(1)).digest()

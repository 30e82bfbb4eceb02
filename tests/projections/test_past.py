"""States of the past: from the nearest snapshot and its tail, the same as from the log alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.storage.log_view import LogView
from eventstore.storage.snapshots import Snapshot
from eventstore.storage.thinning import EVERY
from projections.events import configuration as c
from projections.past import (
    replay,
    resume,
    snapshot_due,
    snapshot_of,
    state_at,
    state_at_time,
)
from projections.state import Projector, State, digest_of
from tests.projections.log_on_disk import snapshots, write_log
from tests.projections.stories import Story, uid
from tests.replaycheck import check_replay, plain


@pytest.fixture(scope="module")
def story() -> Story:
    told = Story()
    told.found(3)
    first, second, third = told.nodes
    told.create("a.example.net", primary=first, secondary=second)
    instance = told.create("b.example.net", primary=second, secondary=third)
    told.change(instance.uuid, c.InstanceStateSet(instance=instance.uuid, admin_state="down"))
    told.submit("STILL_OPEN")
    return told


@pytest.fixture
def log(tmp_path: Path, story: Story) -> Iterator[LogView]:
    write_log(tmp_path, story.log.records)
    with LogView(tmp_path) as view:
        yield view


def folded(story: Story, last: int) -> State:
    projector = Projector()
    projector.apply(story.log.records[:last])
    return projector.state


def snapshot_at(story: Story, seq: int) -> Snapshot:
    state = folded(story, seq)
    return snapshot_of(state, digest_of(state))


def test_a_state_at_any_seq_is_that_after_its_whole_batch(log: LogView, story: Story) -> None:
    """Every seq, 0 and beyond the head included, gives what was true once its batch was."""
    assert plain(state_at(log, None, 0)) == plain(State())
    for stored in story.log.records:
        record = stored.record
        last = record.seq + record.count - 1 - record.index
        assert plain(state_at(log, None, record.seq)) == plain(folded(story, last))
    assert state_at(log, None, 10**9).seq == log.head


def test_a_snapshot_and_its_tail_give_what_the_log_gives(
    log: LogView, story: Story, tmp_path: Path
) -> None:
    """Below, at and above a snapshot the states are those of the log alone."""
    store = snapshots(tmp_path)
    middle = len(story.log.records) // 2
    store.save(snapshot_at(story, middle))
    for seq in (1, middle - 1, middle, middle + 1, log.head):
        assert plain(state_at(log, store, seq)) == plain(state_at(log, None, seq))
    check_replay(tmp_path)


def test_a_state_at_a_time_is_that_of_the_last_record_up_to_it(log: LogView, story: Story) -> None:
    """Before the first record there is nothing; at the time of one, what it made is there."""
    created = next(
        stored.record
        for stored in story.log.records
        if stored.record.stream == f"instance/{uid('b.example.net')}"
    )
    before = state_at_time(log, None, created.unix_ms - 1)
    after = state_at_time(log, None, created.unix_ms)
    assert set(after.cluster.instances) - set(before.cluster.instances) == {uid("b.example.net")}
    assert state_at_time(log, None, 0).seq == 0


def test_a_daemon_goes_on_from_a_snapshot(log: LogView, story: Story, tmp_path: Path) -> None:
    """The resumed projector has the digest of a replay, and folds what follows."""
    store = snapshots(tmp_path)
    store.save(snapshot_at(story, len(story.log.records) - 3))
    assert resume(log, store).digest() == replay(log).digest()


def test_a_snapshot_that_does_not_have_its_digest_is_not_used(
    log: LogView, story: Story, tmp_path: Path
) -> None:
    """A state that was changed after its digest was taken does not come back."""
    honest = snapshot_at(story, 40)
    changed = Projector(folded(story, 40))
    cluster = changed.state.cluster.drop("group", story.group, 41)
    wrong = msgspec.structs.replace(changed.state, cluster=cluster)
    store = snapshots(tmp_path)
    store.save(honest._replace(state=snapshot_of(wrong, digest_of(wrong)).state))
    assert resume(log, store).digest() == replay(log).digest()


def test_a_snapshot_of_other_structs_is_not_used(
    log: LogView, story: Story, tmp_path: Path
) -> None:
    """Bytes that another version made are passed over; the log gives the state."""
    honest = snapshot_at(story, 40)
    store = snapshots(tmp_path)
    store.save(honest._replace(state=b"\0" * 8 + honest.state[8:]))
    assert resume(log, store).digest() == replay(log).digest()
    assert plain(state_at(log, store, 45)) == plain(state_at(log, None, 45))


def test_a_snapshot_is_due_when_the_tail_has_grown() -> None:
    """So many records after the last one, not before."""
    assert not snapshot_due(5, 5 + EVERY - 1)
    assert snapshot_due(5, 5 + EVERY)

"""The folds behind a real log: proposed, durable, committed, folded, snapshotted, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from eventstore.record import Batch, Draft, Stored
from eventstore.replica import Committed
from eventstore.storage.log_view import LogView
from projections.past import replay, resume, snapshot_of, state_at
from projections.registry import decode
from projections.state import Projector
from projections.tables import INDEX_TABLES
from tests.eventstore.storage_lab import Lab
from tests.projections.golden import every_kind
from tests.projections.log_on_disk import snapshots
from tests.replaycheck import check_replay


def batches(records: Sequence[Stored]) -> list[Batch]:
    """Return the drafts from which a leader would have made these records."""
    found: list[list[Draft]] = []
    for stored in records:
        record = stored.record
        event = decode(record)
        assert event is not None
        if record.stream == "log":
            continue  # the log writes its own
        if record.index == 0 or not found:
            found.append([])
        found[-1].append(
            Draft(stream=record.stream, event=event, actor=record.actor, job=record.job)
        )
    return [Batch(drafts=tuple(drafts)) for drafts in found if drafts]


@pytest.mark.acceptance
def test_a_log_that_was_written_and_folded_stands_the_replay_check(tmp_path: Path) -> None:
    """What was folded as it committed equals a replay, a resumed daemon and the past."""
    lab = Lab(tmp_path)
    replica = lab.open(tables=INDEX_TABLES)
    with LogView(tmp_path) as log:
        live = Projector()
        live.apply(log.records(1, replica.committed))
        replica.on_committed(live.apply)
        store = snapshots(tmp_path)
        for number, batch in enumerate(batches(every_kind().records)):
            (outcome,) = lab.ask(replica, batch)
            assert isinstance(outcome, Committed)
            if number == 40:
                store.save(snapshot_of(live.state, live.digest()))
                kept = live.digest()
        replica.close()
        assert resume(log, store).digest() == replay(log).digest() == live.digest()
        assert state_at(log, store, kept.seq).hash == log.records(kept.seq, kept.seq)[0].hash
        store.close()
    assert check_replay(tmp_path) == live.digest()

"""What a voter's storage counts."""

from __future__ import annotations

import pytest

from eventstore.storage.metrics import FSYNC_BOUNDS_MS, StorageMetrics


@pytest.mark.parametrize(("took_ms", "at"), [(0.1, 0), (0.5, 0), (0.6, 1), (9999.0, -1)])
def test_a_sync_is_counted_where_it_belongs(took_ms: float, at: int) -> None:
    """With the first bound that it does not exceed, or beyond all of them."""
    metrics = StorageMetrics()
    metrics.synced(took_ms)
    assert metrics.fsyncs[at] == 1
    assert sum(metrics.fsyncs) == metrics.log_commits == 1
    assert len(metrics.fsyncs) == len(FSYNC_BOUNDS_MS) + 1


def test_the_last_the_worst_and_the_sum_are_kept() -> None:
    """Each for itself."""
    metrics = StorageMetrics()
    for took_ms in (3.0, 7.0, 2.0):
        metrics.synced(took_ms)
    assert (metrics.last_fsync_ms, metrics.worst_fsync_ms, metrics.fsync_ms) == (2.0, 7.0, 12.0)

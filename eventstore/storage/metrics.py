"""What the storage of one voter counts. Written by its writer thread, read by anyone (pure)."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

FSYNC_BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(slots=True)
class StorageMetrics:
    """Counters since the process started. Plain attributes: a reader may see them a moment apart.

    One commit of the log is two sequential syncs: the log's, then the mark's.
    """

    log_commits: int = 0  # durable transactions of the log, each one sync of its WAL
    mark_syncs: int = 0
    records: int = 0
    encoded_bytes: int = 0
    checkpoints: int = 0  # of the WAL into the main file
    last_fsync_ms: float = 0.0  # of the last commit of the log, sync included
    worst_fsync_ms: float = 0.0
    fsync_ms: float = 0.0  # in all
    # How many took at most each of FSYNC_BOUNDS_MS, and more than the bound before; then the rest.
    fsyncs: list[int] = field(default_factory=lambda: [0] * (len(FSYNC_BOUNDS_MS) + 1))
    disk_full: bool = False  # the last append found no room

    def synced(self, took_ms: float) -> None:
        """Count a commit of the log, its sync included."""
        self.log_commits += 1
        self.last_fsync_ms = took_ms
        self.worst_fsync_ms = max(self.worst_fsync_ms, took_ms)
        self.fsync_ms += took_ms
        self.fsyncs[bisect_left(FSYNC_BOUNDS_MS, took_ms)] += 1

    @property
    def sequential_syncs(self) -> int:
        """How many syncs, one after the other, stood between proposals and their answers."""
        return self.log_commits + self.mark_syncs

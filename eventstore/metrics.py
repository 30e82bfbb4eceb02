"""What the storage of one voter counts. Written by its writer thread, read by anyone (pure)."""

from __future__ import annotations

from dataclasses import dataclass


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
    disk_full: bool = False  # the last append found no room

    @property
    def sequential_syncs(self) -> int:
        """How many syncs, one after the other, stood between proposals and their answers."""
        return self.log_commits + self.mark_syncs

"""What the engine asks about jobs that have left memory: the index of ended jobs answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class History(Protocol):
    """Ended jobs that are not archived."""

    def status(self, job: int) -> str | None:
        """Return how a job ended, None if it is unknown or archived."""

    def ended_before(self, time_ms: int) -> Sequence[int]:
        """Return the jobs that ended before a time (ms since 1970 UTC), sorted."""


class NoHistory:
    """Nothing was before: a new cluster, or a test."""

    def status(self, job: int) -> str | None:
        """Return None: unknown."""
        return None

    def ended_before(self, time_ms: int) -> Sequence[int]:
        """Return none."""
        return ()

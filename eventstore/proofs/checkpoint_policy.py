"""When a checkpoint is due: every 1,000 records, or 5 seconds after there was news (pure).

Checkpoints are no news themselves, so an idle cluster logs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.events import CheckpointSigned
from eventstore.record import Stored

EVERY_RECORDS = 1000
EVERY_S = 5.0


@dataclass(slots=True)
class CheckpointPolicy:
    """Told what is committed and what time it is, says whether to sign. Times are monotonic."""

    covered: int = 0  # size of the last checkpoint
    news: int = 0  # seq of the last committed record that is no checkpoint
    since: float | None = None  # when there was first news that no checkpoint covers

    def on_committed(self, records: Sequence[Stored]) -> None:
        """Note what became committed."""
        for stored in reversed(records):
            if stored.record.kind != CheckpointSigned.KIND:
                self.news = stored.record.seq
                return

    def due(self, now_s: float) -> bool:
        """Say whether a checkpoint should be made now."""
        if self.news <= self.covered:
            return False
        if self.since is None:
            self.since = now_s
        return self.news - self.covered >= EVERY_RECORDS or now_s - self.since >= EVERY_S

    def made(self, size: int) -> None:
        """Note that a checkpoint over `size` records is on its way."""
        self.covered, self.since = size, None

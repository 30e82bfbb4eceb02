"""Where the files of one voter's storage lie: one directory, these names (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one log. Only `log` and `mark` matter; `index` and `snapshots` are caches."""

    directory: Path

    @property
    def log(self) -> Path:
        """The records: SQLite, one writer."""
        return self.directory / "log.sqlite"

    @property
    def mark(self) -> Path:
        """The ack mark: what has been acknowledged, kept outside SQLite."""
        return self.directory / "ack-mark"

    @property
    def lock(self) -> Path:
        """Locked (flock) by the one process that writes; holds its pid."""
        return self.directory / "lock"

    @property
    def ballast(self) -> Path:
        """Room that an operator can free when the disk is full."""
        return self.directory / "ballast"

    @property
    def index(self) -> Path:
        """What makes the log quick to query: SQLite, rebuilt at will."""
        return self.directory / "index.sqlite"

    @property
    def snapshots(self) -> Path:
        """Folded states, a cache."""
        return self.directory / "snapshots"

    @property
    def incoming(self) -> Path:
        """What is being fetched of a segment (segments/part.py); may be removed at any time."""
        return self.directory / "incoming"

"""Errors of the projections."""

from __future__ import annotations

_LISTED = ("instance", "node", "group", "job")
_MOST_MEANT = 3


class ProjectionError(Exception):
    """Base of all errors of this package."""


class CorruptHistory(ProjectionError):
    """An event contradicts the state before it. A fold never repairs the log."""


class UnknownKind(ProjectionError):
    """An event of a kind or schema that this version does not know, and that is not ignorable."""

    def __init__(self, kind: str, schema: int, seq: int) -> None:
        super().__init__(f"record {seq}: {kind} schema {schema} is unknown to this version")
        self.kind = kind
        self.schema = schema
        self.seq = seq


class NoSuchObject(ProjectionError):
    """No object of that name or uuid. `nearest` are the names most like it."""

    def __init__(self, table: str, name: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(f"{table} {name} not known")
        self.table = table
        self.name = name
        self.nearest = nearest

    @property
    def hint(self) -> str:
        """Say which names there are that may have been meant."""
        if len(self.nearest) > _MOST_MEANT:
            return f"there are: {', '.join(self.nearest)}"
        if self.nearest:
            return f"did you mean {' or '.join(self.nearest)}?"
        if self.table in _LISTED:
            return f"gnt-{self.table} list shows those there are"
        return f"there is no {self.table} with a name like that"

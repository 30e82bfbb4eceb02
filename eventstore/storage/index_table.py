"""What a table of the index is: a name, columns and a pure function from a record to rows (pure).

The index holds what a log is bad at: looking things up. Rooms above add tables of their own by
handing `IndexTable`s to `open_quorum` and `Reader`; this package does not know what they mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eventstore.record import Record

Value = str | int | float | bytes | None
TableRow = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class IndexTable:
    """A table that is a function of the log.

    `rows` is pure and is called with each committed record in order of seq. A row with the key of
    an earlier one updates the columns that it names and leaves the others. Raise `version` when
    `rows` means something else than before: the whole index is then rebuilt.
    """

    name: str
    columns: Mapping[str, type[str] | type[int] | type[float] | type[bytes]]
    key: str  # the column that is the primary key
    rows: Callable[[Record], Iterable[TableRow]]
    version: int = 1
    indexes: Sequence[Sequence[str]] = ()  # columns of each further SQL index
    sparse: Sequence[str] = ()  # columns that are mostly null: each has an index of the other rows


def definition_hash(tables: Iterable[IndexTable]) -> str:
    """Return a hash that changes whenever an index made by these tables must be made anew."""
    told = [
        repr(
            (
                t.name,
                [(column, kind.__name__) for column, kind in t.columns.items()],
                t.key,
                t.version,
                t.indexes,
                t.sparse,
            )
        )
        for t in tables
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()

"""Rows as a table, as Ganeti prints them: one space between columns, numbers flush right (pure)."""

from __future__ import annotations

from collections.abc import Sequence


def lines(
    rows: Sequence[Sequence[str]],
    *,
    titles: Sequence[str] | None,
    right: Sequence[bool],
    separator: str | None = None,
    kept: list[int] | None = None,
) -> list[str]:
    """Return the lines of a table. `titles` None: no head. With a separator nothing is padded.

    `kept` are the widths of columns that stand above, for a table that is printed piece by piece:
    these lines are at least as wide, and what they widen is widened in it.
    """
    whole = ([titles] if titles is not None else []) + list(rows)
    if separator is not None:
        return [separator.join(row) for row in whole]
    widths = [max((len(row[at]) for row in whole), default=0) for at in range(len(right))]
    if kept is not None:
        kept[:] = widths = [max(pair) for pair in zip(widths, kept, strict=True)]
    return [_line(row, widths, right) for row in whole]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    last = len(row) - 1
    cells = []
    for at, cell in enumerate(row):
        if right[at]:
            cells.append(cell.rjust(widths[at]))
        else:
            # nothing is padded at the end of a line, so that long values do not wrap
            cells.append(cell if at == last else cell.ljust(widths[at]))
    return " ".join(cells).rstrip()

"""Tables of text: columns as wide as their widest cell, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[list[str]]:
    """Pad every cell to the width of its column."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=False)
        ]
        for row in rows
    ]


def table(
    prefix: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
) -> str:
    """A table with a header, one line each, ending in a newline."""
    lines = aligned([header, *rows], numeric)
    return "".join(f"{prefix} {' '.join(line)}\n" for line in lines)

"""Measured values beside their bounds, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    """A measured value. `bound` is the most that is wanted, or the least; None: only stated."""

    what: str
    value: float
    unit: str = ""
    bound: float | None = None
    least: bool = False

    @property
    def good(self) -> bool:
        """Within its bound."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.least else self.value <= self.bound


def show(title: str, figures: Sequence[Figure]) -> bool:
    """Print the figures; say whether all of them are within their bounds."""
    table = Table("figure", "measured", "wanted", "", title=title, title_justify="left")
    for figure in figures:
        sign = ">=" if figure.least else "<="
        wanted = "" if figure.bound is None else f"{sign} {figure.bound:,.4g} {figure.unit}"
        verdict = "" if figure.bound is None else "ok" if figure.good else "MISSED"
        table.add_row(figure.what, f"{figure.value:,.2f} {figure.unit}", wanted, verdict)
    Console().print(table)
    return all(figure.good for figure in figures)

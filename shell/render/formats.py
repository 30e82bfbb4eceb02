"""An answer in the form that was asked for: table, JSON, YAML or CSV (pure).

JSON and YAML are a list of objects, one for each row, with the names of the fields; sizes are
numbers of MiB, times ISO 8601 in UTC, what is not there is null. CSV has the same in rows
(RFC 4180).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shell.render import cells, table


@dataclass(frozen=True, slots=True)
class Head:
    """A column as the renderer knows it."""

    name: str
    title: str
    kind: str


@dataclass(frozen=True, slots=True)
class Style:
    """How it is to look. `units` "" is: for people where nothing separates, else MiB."""

    format: str = "table"
    headers: bool = True
    separator: str | None = None
    units: str = ""
    verbose: bool = False

    @property
    def size_units(self) -> str:
        """The unit of sizes in a table."""
        return self.units or ("h" if self.separator is None else "m")


Row = Sequence[tuple[int, Any]]  # Any: a cell holds whatever its field does


def rendered(
    heads: Sequence[Head], rows: Sequence[Row], style: Style, kept: list[int] | None = None
) -> str:
    """Return the whole answer, each line ended; empty if there is nothing to say.

    `kept`: widths of a table's columns that stand above (`render/table.py`).
    """
    match style.format:
        case "json":
            return to_json(_objects(heads, rows))
        case "yaml":
            return to_yaml(_objects(heads, rows))
        case "csv":
            return _csv(heads, rows, style)
    shown = [
        [_shown(cell, head, style) for cell, head in zip(row, heads, strict=True)] for row in rows
    ]
    found = table.lines(
        shown,
        titles=[head.title for head in heads] if style.headers else None,
        right=[head.kind in cells.RIGHT for head in heads],
        separator=style.separator,
        kept=kept,
    )
    return "".join(line + "\n" for line in found)


def to_json(value: object) -> str:
    """Return JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def to_yaml(value: object) -> str:
    """Return YAML."""
    import yaml  # only who asks for it waits for it

    plain = msgspec.to_builtins(value)
    text = str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    if len(text.splitlines()) != text.count("\n"):  # it leaves Unicode's ends of lines alone
        text = str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=False))
    return text


def _shown(cell: tuple[int, Any], head: Head, style: Style) -> str:
    status, value = cell
    if status != cells.NORMAL:
        return cells.absent(status, verbose=style.verbose)
    return cells.text(value, head.kind, style.size_units)


def _objects(heads: Sequence[Head], rows: Iterable[Row]) -> list[dict[str, object]]:
    return [
        {head.name: _value(cell, head) for cell, head in zip(row, heads, strict=True)}
        for row in rows
    ]


def _value(cell: tuple[int, Any], head: Head) -> object:
    status, value = cell
    if status != cells.NORMAL:
        return None
    if head.kind == "timestamp" and isinstance(value, (int, float)):
        return iso(value)
    return value


def iso(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, with ms."""
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _csv(heads: Sequence[Head], rows: Iterable[Row], style: Style) -> str:
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    if style.headers:
        writer.writerow([head.name for head in heads])
    for row in rows:
        values = [_value(cell, head) for cell, head in zip(row, heads, strict=True)]
        writer.writerow(["" if each is None else _flat(each) for each in values])
    return stream.getvalue()


def _flat(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(value).decode()
    return "true" if value is True else "false" if value is False else str(value)

"""Writes docs/events.md, the catalogue of every event, from the types themselves.

    python -m tools.dev.catalogue            writes it (also `make docs`)
    python -m tools.dev.catalogue --check    exit status 1 if it is not up to date

What is said of a field is the comment beside it (or right above it) in its module, so that there is
one place to say it.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from eventstore import packed
from eventstore.record import Event
from projections import objects, plans
from projections.events import jobs
from projections.registry import IGNORABLE, REGISTRY

PATH = Path(__file__).parent.parent.parent / "docs" / "events.md"

_HEAD = f"""# Events

Every fact that the log can hold, made from the types by `make docs`; do not edit it by hand. A kind
is stored for ever. An event stands in its record as a MessagePack map without the fields that have
their default; a new optional field needs no new schema, any other change a new one and an upcaster
(`projections/upcasters.py`). A version that does not know a kind stops folding, unless the kind
begins with `{IGNORABLE}`. The record around it (seq, time, actor, job, cause, ...) is described in
`docs/wire-protocol.md` and `eventstore/record.py`.
"""

# The rooms of the catalogue, in order: (title, how the kinds begin, the stream that they stand in)
_ROOMS = (
    ("The log itself", ("log.",), "`log`"),
    ("Cluster", ("cluster.",), "`cluster`"),
    ("Node groups", ("group.",), "`group/<uuid>`"),
    ("Nodes", ("node.",), "`node/<uuid>`"),
    ("Instances", ("instance.",), "`instance/<uuid>`"),
    ("Tags", ("tags.",), "that of the object"),
    ("Jobs", ("job.",), "`job/<id>`"),
    ("Opcodes and steps", ("op.", "step.", "wait."), "`job/<id>`"),
    ("Tasks", ("task.",), "`node/<uuid>` of the node that acts"),
)

# Structs that events are made of, told at the end.
_PARTS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (objects, ("ClusterInfo", "HeldAddress", "Group", "InstancePolicy", "SpecBounds", "Node")),
    (objects, ("Instance", "Disk", "Side", "Nic")),
    (plans, ("Plan", "Call", "Record", "Wait", "Undo", "Fact", "Condition")),
    (plans, ("Reservations", "Reservation")),
    (jobs, ("Lock", "Dependency")),
    (packed, ("Packed",)),
)


class Field(NamedTuple):
    """A field as the source tells it."""

    name: str
    type: str
    default: str  # "" if it must be given
    note: str


def catalogue() -> str:
    """Return the text of docs/events.md."""
    return "\n".join([_HEAD, *_contents(), *_events(), *_structs()])


def fields_of(struct: type[msgspec.Struct]) -> list[Field]:
    """Return the fields that a struct declares itself, with the comments of its source."""
    lines, tree = _source(struct)
    return [
        Field(
            node.target.id,
            ast.unparse(node.annotation),
            "" if node.value is None else ast.unparse(node.value),
            _comment(lines, node.lineno, node.end_lineno or node.lineno),
        )
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    ]


def main() -> int:
    """Write the catalogue, or check it; return the exit status."""
    if sys.argv[1:] == ["--check"]:
        return 0 if PATH.read_text() == catalogue() else 1
    PATH.write_text(catalogue())
    return 0


def _contents() -> Iterator[str]:
    yield "| kind | schema | what it says |"
    yield "| --- | --- | --- |"
    for _, starts, _ in _ROOMS:
        for event in _starting(starts):
            anchor = re.sub(r"[^a-z0-9 -]", "", event.KIND)
            yield f"| [`{event.KIND}`](#{anchor}) | {event.SCHEMA} | {_first_line(event)} |"
    yield ""


def _events() -> Iterator[str]:
    told: set[type[Event]] = set()
    for title, starts, stream in _ROOMS:
        events = _starting(starts)
        told.update(events)
        yield f"## {title}\n\nStream: {stream}.\n"
        for event in events:
            yield f"### {event.KIND}\n"
            yield f"`{event.__name__}`, schema {event.SCHEMA}. {_paragraphs(event)}\n"
            yield from _table(event)
    missing = set(REGISTRY) - told
    assert not missing, f"no room of the catalogue has {missing}"


def _structs() -> Iterator[str]:
    yield "## What events are made of\n"
    for module, names in _PARTS:
        for name in names:
            struct = getattr(module, name)
            yield f"### {name}\n"
            yield f"{_paragraphs(struct)}\n"
            yield from _table(struct)


def _table(struct: type[msgspec.Struct]) -> Iterator[str]:
    fields = fields_of(struct)
    if not fields:
        yield "No fields.\n"
        return
    yield "| field | type | default | |"
    yield "| --- | --- | --- | --- |"
    for field in fields:
        default = f"`{_cell(field.default)}`" if field.default else ""
        yield f"| `{field.name}` | `{_cell(field.type)}` | {default} | {_cell(field.note)} |"
    yield ""


def _starting(starts: tuple[str, ...]) -> list[type[Event]]:
    return [event for event in REGISTRY if event.KIND.startswith(starts)]


def _paragraphs(struct: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(struct.__doc__ or "")


def _first_line(struct: type[msgspec.Struct]) -> str:
    return _cell(" ".join(_paragraphs(struct).split("\n\n")[0].split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


@cache
def _module(module: ModuleType) -> tuple[list[str], dict[str, ast.ClassDef]]:
    text = inspect.getsource(module)
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    return text.splitlines(), classes


def _source(struct: type[msgspec.Struct]) -> tuple[list[str], ast.ClassDef]:
    module = inspect.getmodule(struct)
    assert module is not None, struct
    lines, classes = _module(module)
    return lines, classes[struct.__name__]


def _comment(lines: list[str], first: int, last: int) -> str:
    """Return the comment at the end of a field (lines count from 1), or else the one above it."""
    beside = re.search(r"  # (.*)$", lines[last - 1])
    if beside:
        return beside[1]
    above: list[str] = []
    at = first - 2
    while lines[at].strip().startswith("# "):
        above.insert(0, lines[at].strip()[2:])
        at -= 1
    return " ".join(above)


if __name__ == "__main__":
    sys.exit(main())

"""`list` and `list-fields` of every tool (edge)."""

from __future__ import annotations

from projections.query.defaults import DEFAULT_FIELDS, NAME_FIELD
from shell import filter_text, reading
from shell.failure import BadUsage, Status
from shell.grammar import LISTED
from shell.parsing import Words
from shell.render.formats import Head, rendered
from shell.session import Session


def show(session: Session, words: Words) -> int:
    """Carry out `list`."""
    what = LISTED[words.tool]
    names, where = _selection(what, words)
    reply = reading.query(
        session,
        words,
        what,
        chosen_fields(words.get("output"), DEFAULT_FIELDS[what]),
        names=names,
        where=where,
        archived=words.flag("archived"),
    )
    return reading.show(session, words, reply)


def show_fields(session: Session, words: Words) -> int:
    """Carry out `list-fields`: it needs no master, the columns are part of the program."""
    from projections.query.evaluate import fields_of

    known = fields_of(LISTED[words.tool])
    unknown = [name for name in words.args if name not in known]
    if unknown:
        raise BadUsage(
            f"there is no field {', '.join(unknown)}",
            hint=f"{words.tool} list-fields shows the fields there are",
        )
    chosen = [known[name].column for name in words.args or sorted(known)]
    heads = [
        Head("name", "Name", "text"),
        Head("kind", "Type", "text"),
        Head("title", "Title", "text"),
        Head("description", "Description", "text"),
    ]
    rows = [[(0, each) for each in (c.name, c.kind, c.title, c.doc)] for c in chosen]
    session.out.write(rendered(heads, rows, reading.style_of(session, words)))
    return Status.SUCCESS


def chosen_fields(typed: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields of `-o`; a leading + adds to those shown anyway. Raises BadUsage."""
    if typed is None:
        return default
    fields = tuple(name for name in typed.removeprefix("+").split(",") if name)
    if not fields:
        raise BadUsage("-o: no field is named", hint="such as -o name,status or -o +tags")
    return (*default, *fields) if typed.startswith("+") else fields


def _selection(what: str, words: Words) -> tuple[tuple[str, ...], object]:
    """Return names and filter: words are names, patterns (`web*`), or with -F one filter."""
    field = NAME_FIELD[what]
    parts: list[object] = []
    statuses = words.get("status_filter")
    if statuses:
        parts.append(["|", *(["==", "status", status] for status in statuses)])
    names = words.args
    if words.flag("force_filter") and len(names) > 1:
        raise BadUsage("-F takes one filter", hint="put it in quotes")
    if len(names) == 1 and (words.flag("force_filter") or filter_text.looks_like_filter(names[0])):
        parts.append(filter_text.parse(names[0]))
        names = ()
    elif any(filter_text.is_pattern(name) for name in names):
        parts.append(["|", *(filter_text.name_filter(field, name) for name in names)])
        names = ()
    return names, (parts[0] if len(parts) == 1 else ["&", *parts]) if parts else None

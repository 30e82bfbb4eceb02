"""Asking the cluster for rows, now or as of an earlier moment, and showing them (edge)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from commands.api import Query, QueryReply
from shell.failure import Status
from shell.moments import parse_moment
from shell.parsing import Words
from shell.render.cells import STAMP
from shell.render.formats import Head, Style, rendered
from shell.session import TIMEOUT_S, Session

PAST_S = 120.0  # an earlier moment may have to be folded from far back
_UNKNOWN = "unknown"
_STAMPS = frozenset({"received_ts", "start_ts", "end_ts", "opstart", "opexec", "opend"})


def query(
    session: Session,
    words: Words,
    what: str,
    fields: Sequence[str],
    *,
    names: Sequence[str] = (),
    where: object = None,
    archived: bool = False,
) -> QueryReply:
    """Return rows as of the moment that `--at` names, now if there is none."""
    moment = words.get("at") or session.at
    body = Query(
        what=what,
        fields=tuple(fields),
        names=tuple(names),
        filter=where,
        at=parse_moment(moment) if moment else None,
        archived=archived,
    )
    timeout_s = PAST_S if moment else TIMEOUT_S
    return session.ask("query", body, QueryReply, timeout_s=timeout_s)


def records(reply: QueryReply) -> list[dict[str, Any]]:
    """Return the rows as dicts of field -> value; what is not there is None."""
    names = [field.name for field in reply.fields]
    return [
        {
            name: value if status == 0 else None
            for name, (status, value) in zip(names, row, strict=True)
        }
        for row in reply.rows
    ]


def style_of(session: Session, words: Words) -> Style:
    """Return how the answer is to look, from the options that all reads have."""
    return Style(
        format=words.get("format", session.default_format),
        headers=not words.flag("no_headers"),
        separator=words.get("separator"),
        units=words.get("units", ""),
        verbose=words.flag("verbose"),
    )


def show(session: Session, words: Words, reply: QueryReply) -> int:
    """Print the rows. An unknown field is shown as such and changes the exit status."""
    heads = [
        Head(field.name, field.title, STAMP if field.name in _STAMPS else field.kind)
        for field in reply.fields
    ]
    session.out.write(rendered(heads, reply.rows, style_of(session, words)))
    unknown = [field.name for field in reply.fields if field.kind == _UNKNOWN]
    if unknown:
        session.note(
            f"Warning: queried for unknown fields {', '.join(unknown)}\n"
            f"hint: {words.tool} list-fields shows the fields there are"
        )
        return Status.UNKNOWN_FIELD
    return Status.SUCCESS

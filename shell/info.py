"""The `info` commands: objects in full (edge)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shell import reading
from shell.failure import BadUsage, Status
from shell.parsing import Words
from shell.render import objects
from shell.render.objects import Row
from shell.render.tree import Tree, text
from shell.session import Session


def instances(session: Session, words: Words) -> int:
    """Carry out gnt-instance info."""
    if words.flag("show_all") == bool(words.args):
        raise BadUsage("either names or --all must be given", hint="gnt-instance info --help")
    static = words.flag("static")
    return _show(
        session,
        words,
        "instance",
        objects.INSTANCE_FIELDS,
        lambda rows: [objects.instance(row, static=static) for row in rows],
    )


def nodes(session: Session, words: Words) -> int:
    """Carry out gnt-node info."""
    return _show(
        session,
        words,
        "node",
        objects.NODE_FIELDS,
        lambda rows: [objects.node(row) for row in rows],
    )


def groups(session: Session, words: Words) -> int:
    """Carry out gnt-group info."""
    return _show(
        session,
        words,
        "group",
        objects.GROUP_FIELDS,
        lambda rows: [objects.group(row) for row in rows],
    )


def cluster(session: Session, words: Words) -> int:
    """Carry out gnt-cluster info."""
    return _show(
        session, words, "cluster", objects.CLUSTER_FIELDS, lambda rows: objects.cluster(rows[0])
    )


def _show(
    session: Session,
    words: Words,
    what: str,
    fields: Sequence[str],
    lay_out: Callable[[list[Row]], Tree],
) -> int:
    reply = reading.query(session, words, what, fields, names=words.args)
    if reading.style_of(session, words).format != "table":
        return reading.show(session, words, reply)
    if words.flag("roman_integers"):
        session.note("note: --roman is not for this version; numbers are arabic")
    session.out.write(text(lay_out(list(reading.records(reply)))))
    return Status.SUCCESS

"""Tags of all objects: add, remove, list, search (edge)."""

from __future__ import annotations

import sys
from pathlib import Path

from shell import opcodes, reading
from shell.failure import BadUsage, Failure, Status
from shell.parsing import Words
from shell.render.formats import Head, rendered, to_json, to_yaml
from shell.session import Session
from shell.submission import carry_out

KINDS = {
    "gnt-cluster": "cluster",
    "gnt-node": "node",
    "gnt-group": "nodegroup",
    "gnt-instance": "instance",
}
_TABLES = {"nodegroup": "group"}


def add(session: Session, words: Words) -> int:
    """Carry out add-tags."""
    return _order(session, words, "OP_TAGS_SET")


def remove(session: Session, words: Words) -> int:
    """Carry out remove-tags."""
    return _order(session, words, "OP_TAGS_DEL")


def show(session: Session, words: Words) -> int:
    """Carry out list-tags: one tag to a line."""
    kind = KINDS[words.tool]
    names = () if kind == "cluster" else words.args[:1]
    reply = reading.query(session, words, _TABLES.get(kind, kind), ("tags",), names=names)
    tags = sorted(tag for row in reading.records(reply) for tag in row["tags"])
    form = words.get("format", session.default_format)
    if form == "json":
        session.out.write(to_json(tags))
    elif form == "yaml":
        session.out.write(to_yaml(tags))
    else:
        for tag in tags:
            session.say(tag)
    return Status.SUCCESS


def search(session: Session, words: Words) -> int:
    """Carry out search-tags: paths of objects and the tags that match a regular expression."""
    import re

    try:
        pattern = re.compile(words.args[0])
    except re.error as wrong:
        raise BadUsage(f"bad regular expression: {wrong}", hint="such as '^prod'") from None
    found = []
    for kind, path in (("cluster", "/cluster"), ("group", "/nodegroup"), ("node", "/nodes"),
                       ("instance", "/instances")):  # fmt: skip
        for row in reading.records(reading.query(session, words, kind, ("name", "tags"))):
            place = path if kind == "cluster" else f"{path}/{row['name']}"
            found += [(place, tag) for tag in row["tags"] if pattern.search(tag)]
    heads = [Head("path", "Path", "text"), Head("tag", "Tag", "text")]
    rows = [[(0, place), (0, tag)] for place, tag in sorted(found)]
    style = reading.style_of(session, words)
    if style.format == "table":
        for place, tag in sorted(found):
            session.say(f"{place} {tag}")
    else:
        session.out.write(rendered(heads, rows, style))
    return Status.SUCCESS if found else Status.FAILURE


def _order(session: Session, words: Words, opcode: str) -> int:
    kind = KINDS[words.tool]
    name, typed = (None, words.args) if kind == "cluster" else (words.args[0], words.args[1:])
    tags = [*typed, *_from_file(words)]
    if not tags:
        raise BadUsage("no tags are given", hint="name them after the object, or use --from FILE")
    values: dict[str, object] = {"kind": kind, "tags": tags}
    if name is not None:
        values["name"] = name
    return carry_out(session, words, opcodes.build(opcode, values, {})).status


def _from_file(words: Words) -> list[str]:
    source = words.get("tags_source")
    if source is None:
        return []
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
    except (
        OSError,
        ValueError,
    ) as failed:  # ValueError: no text, or no name of a file
        raise Failure(f"{source}: {failed}", hint="give a readable file, or -") from None
    return [line.strip() for line in text.splitlines() if line.strip()]

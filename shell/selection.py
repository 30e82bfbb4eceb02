"""Which instances an order is for: by name, by node, by tags, or all (edge).

Ganeti's modes of startup, shutdown and reboot. Selecting happens here, once, against the state of
that moment; each instance then gets a job of its own.
"""

from __future__ import annotations

from typing import Any

from shell import confirm, reading
from shell.failure import BadUsage, refused
from shell.parsing import Words
from shell.session import Session

BY_NAME = "instances"

# How nodes select: which of an instance's nodes count.
_PRIMARY, _SECONDARY = ("pnode",), ("snodes",)
_BOTH = (*_PRIMARY, *_SECONDARY)
_BY_NODE: dict[str, tuple[str, ...]] = {
    "nodes": _BOTH,
    "nodes-pri": _PRIMARY,
    "nodes-sec": _SECONDARY,
}
_BY_NODE_TAGS: dict[str, tuple[str, ...]] = {
    "nodes-by-tags": _BOTH,
    "nodes-pri-by-tags": _PRIMARY,
    "nodes-sec-by-tags": _SECONDARY,
}


def instances(session: Session, words: Words) -> list[str] | None:
    """Return the selected names, None if the person does not want to go on. Raises Failure."""
    mode = words.get("multi_mode", BY_NAME)
    names = _select(session, words, mode)
    if not names:
        raise refused(
            "wrong_input",
            "Selection filter does not match any instances",
            hint="gnt-instance list -o name,pnode,snodes,tags shows what could be selected",
        )
    if mode == BY_NAME and len(names) == 1:
        return names
    if words.flag("force_multi") or words.flag("dry_run"):
        return names
    return names if confirm.many(session, names, "instances", words.command) else None


def _select(session: Session, words: Words, mode: str) -> list[str]:
    if mode == "cluster":
        if words.args:
            raise BadUsage("--all takes no names", hint="give either names or --all")
        return [row["name"] for row in _rows(session, words)]
    if not words.args:
        raise BadUsage("no names are given", hint=f"{words.tool} {words.command} --help")
    if mode == BY_NAME:
        return [row["name"] for row in _rows(session, words, names=words.args)]
    if mode == "instances-by-tags":
        return [row["name"] for row in _rows(session, words) if set(words.args) & set(row["tags"])]
    if mode in _BY_NODE:
        nodes = _nodes(session, words, names=words.args)
        return _on(session, words, {row["name"] for row in nodes}, _BY_NODE[mode])
    tagged = {row["name"] for row in _nodes(session, words) if set(words.args) & set(row["tags"])}
    return _on(session, words, tagged, _BY_NODE_TAGS[mode])


def _on(session: Session, words: Words, nodes: set[str], sides: tuple[str, ...]) -> list[str]:
    return [
        row["name"]
        for row in _rows(session, words)
        if nodes & ({row["pnode"]} if "pnode" in sides else set())
        or nodes & (set(row["snodes"]) if "snodes" in sides else set())
    ]


def _rows(session: Session, words: Words, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    fields = ("name", "pnode", "snodes", "tags")
    return reading.records(reading.query(session, words, "instance", fields, names=names))


def _nodes(session: Session, words: Words, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return reading.records(reading.query(session, words, "node", ("name", "tags"), names=names))

"""Names and values nested by indentation, as Ganeti's `info` commands print them (pure).

- Instance name: web1.example.net
  Disks:
    - disk/0: plain, size 10.0G
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shell.render.cells import printable

Leaf = str | int | float | bool | None
Tree: TypeAlias = "Leaf | Mapping[str, Tree] | Sequence[Tree]"


def text(tree: Tree) -> str:
    """Return the lines of a tree, each ended."""
    return "".join(line + "\n" for line in _lines(tree))


def _lines(tree: Tree) -> list[str]:
    if isinstance(tree, Mapping):
        return [line for name, value in tree.items() for line in _entry(f"{name}:", value)]
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [line for value in tree for line in _item(value)]
    return [_leaf(tree)]


def _entry(head: str, value: Tree) -> list[str]:
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return [head, *(f"  {line}" for line in _lines(value))]
    return [f"{head} {_leaf(value)}".rstrip()]


def _item(value: Tree) -> list[str]:
    lines = _lines(value)
    return [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])] if lines else []


def _leaf(value: Leaf) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"  # as Ganeti's, which scripts look for
    return printable(str(value)).replace("\n", "\\n")

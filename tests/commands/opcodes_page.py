"""Writes docs/opcodes.md from the opcodes themselves: `python -m tests.commands.opcodes_page`.

What is said of an opcode is its module's docstring, its fields and the reasons in `NOT_YET` and
`WITHOUT_EFFECT`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from commands.registry import MODULES

PATH = Path(__file__).parent.parent.parent / "docs" / "opcodes.md"
HEAD = """# Opcodes

Made by `python -m tests.commands.opcodes_page` from the modules of `commands/*_ops`; do not edit.

Names of opcodes and fields are Ganeti's, and so are the defaults. A field that cannot be honoured
yet is refused with its reason when it is set, never ignored; one that asks for what is so anyway
(to lift a check that does not exist here, say) is accepted and stands below with the reason. Fields
that end in `_uuid` name the same thing as the field without, and count where both are given. Steps
are shown by their ids, with node1, node2, node3 as examples; what a step's undo is, and where the
point of no return lies, a dry run shows.

Every plan keeps these laws (`tests/commands/test_plan_laws.py`): the same question gives the same
plan; each call with an effect has an undo, or is or follows a point of no return; going back
restores the configuration; calls go to locked nodes only; no room, minor, port, MAC address or name
is promised twice.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(_section(name) for name in sorted(MODULES) if "TEST" not in name)])


def _section(name: str) -> str:
    module = importlib.import_module(MODULES[name])
    opcode = module.HANDLER.opcode
    not_yet: dict[str, str] = getattr(module, "NOT_YET", {})
    idle: dict[str, str] = getattr(module, "WITHOUT_EFFECT", {})
    apart = not_yet.keys() | idle.keys()
    fields = [field for field in msgspec.structs.fields(opcode) if field.name not in apart]
    lines = [f"## {name}", "", _told(str(module.__doc__), name), ""]
    shown = [field for field in fields if not field.name.endswith("_uuid")]
    if shown:
        lines += ["| field | default | meaning |", "| --- | --- | --- |"]
        lines += [_row(field) for field in shown]
        lines.append("")
    if not_yet:
        lines += ["Refused when set: " + "; ".join(_reasons(not_yet)) + ".", ""]
    if idle:
        lines += ["Accepted, without effect: " + "; ".join(_reasons(idle)) + ".", ""]
    return "\n".join(lines)


def _told(text: str, name: str) -> str:
    """Return a docstring as Markdown: indented blocks are code."""
    told = text.strip().removeprefix(f"{name}: ").replace(" (pure).", ".").replace(" (pure)", "")
    blocks = [
        f"```\n{block.rstrip()}\n```" if block.startswith("    ") else block
        for block in re.split(r"\n\n", told)
    ]
    joined = "\n\n".join(blocks)
    return joined[0].upper() + joined[1:]


def _row(field: msgspec.structs.FieldInfo) -> str:
    default = "required" if field.required else f"`{_default(field)!r}`"
    return f"| `{field.name}` | {default} | {_meaning(field)} |"


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    assert field.default_factory is not msgspec.NODEFAULT
    return field.default_factory()


def _meaning(field: msgspec.structs.FieldInfo) -> str:
    metas = [each for each in getattr(field.type, "__metadata__", ()) if each.description]
    text = metas[0].description if metas else ""
    extra = metas[0].extra or {} if metas else {}
    unit = f" ({extra['unit']})" if "unit" in extra else ""
    choices = f": {', '.join(map(str, extra['choices']))}" if "choices" in extra else ""
    return f"{text}{unit}{choices}"


def _reasons(told: dict[str, str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for field, reason in told.items():
        by_reason.setdefault(reason, []).append(f"`{field}`")
    return (f"{', '.join(fields)} ({reason})" for reason, fields in by_reason.items())


if __name__ == "__main__":
    PATH.write_text(page())

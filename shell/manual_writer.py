"""Writes what is made from the opcodes: their descriptions for --help, and docs/commands.md (edge).

python -m shell.manual_writer
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec

from commands.opcode import Opcode
from commands.registry import MODULES
from shell import grammar, manual, opcodes

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"


def main() -> None:
    """Write both files."""
    grammar.DESCRIPTIONS.write_text(descriptions())
    grammar.descriptions.cache_clear()
    PAGE.write_text(manual.page())


def descriptions() -> str:
    """Return the text of the file of descriptions: opcode -> field -> what it says of itself."""
    found = {
        name: {**_apart(MODULES[name]), **descriptions_of(opcodes.load(name))}
        for name in opcodes.REGISTRY.names()
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"


def descriptions_of(kind: type[Opcode]) -> dict[str, str]:
    """Return the description of each field of an opcode that has one."""
    found = {}
    for field, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            for meta in get_args(hint)[1:]:
                if isinstance(meta, msgspec.Meta) and meta.description:
                    found[field] = meta.description
    return found


def _apart(module: str) -> dict[str, str]:
    """Return what to say of the fields that an opcode refuses, or accepts without effect."""
    known = vars(importlib.import_module(module))
    refused: dict[str, str] = known.get("NOT_YET", {})
    idle: dict[str, str] = known.get("WITHOUT_EFFECT", {})
    return {
        **{field: f"Refused: {reason}" for field, reason in refused.items()},
        **{field: f"Accepted, without effect: {reason}" for field, reason in idle.items()},
    }


if __name__ == "__main__":
    main()

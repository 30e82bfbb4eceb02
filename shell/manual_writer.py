"""Writes what is made from the opcodes: their descriptions for --help, and docs/commands.md (edge).

python -m shell.manual_writer
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec

from commands.opcode import Opcode
from shell import grammar, manual, opcodes

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"


def main() -> None:
    """Write both files."""
    grammar.DESCRIPTIONS.write_text(descriptions())
    grammar.descriptions.cache_clear()
    PAGE.write_text(manual.page())


def descriptions() -> str:
    """Return the text of the file of descriptions: opcode -> field -> what it says of itself."""
    found = {name: descriptions_of(opcodes.load(name)) for name in opcodes.REGISTRY.names()}
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


if __name__ == "__main__":
    main()

"""Opcodes from what was typed; a struct is imported only when it is to be sent (pure)."""

from __future__ import annotations

import msgspec

from commands.opcode import Opcode
from commands.registry import Registry
from shell.failure import BadUsage, Failure

REGISTRY = Registry()


def load(name: str) -> type[Opcode]:
    """Return the struct of an opcode. Raises Refused if this version has none of that name."""
    found: type[Opcode] = REGISTRY.handler(name).opcode
    return found


def build(name: str, values: dict[str, object], options: dict[str, str]) -> Opcode:
    """Return the opcode with these fields.

    `options` says which option gave a field, for the message if it cannot be had: an option of
    Ganeti's that this version cannot honour is refused, never ignored.
    """
    kind = load(name)
    known = {field.name for field in msgspec.structs.fields(kind)}
    for field in values:
        if field not in known:
            given = options.get(field, field)
            raise Failure(
                f"{given}: this version of Cairn cannot do this yet",
                hint=f"leave {given} out",
            )
    try:
        return msgspec.convert(values, type=kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise BadUsage(_in_words(str(wrong), options), hint="see --help") from None


def _in_words(text: str, options: dict[str, str]) -> str:
    for field, option in options.items():
        if f"$.{field}`" in text or f"$.{field}[" in text:
            return f"{option}: {text.partition(' - at')[0]}"
    return text

"""Opcodes from what was typed; a struct is imported only when it is to be sent (pure)."""

from __future__ import annotations

import difflib
import re

import msgspec

from commands.opcode import Opcode
from commands.registry import Registry
from commands.unsupported import reasons_of, refuse_unsupported
from shell.failure import BadUsage, Failure

REGISTRY = Registry()


def load(name: str) -> type[Opcode]:
    """Return the struct of an opcode. Raises Refused if this version has none of that name."""
    found: type[Opcode] = REGISTRY.handler(name).opcode
    return found


def build(name: str, values: dict[str, object], options: dict[str, str]) -> Opcode:
    """Return the opcode with these fields.

    `options` says which option gave a field, for the message if it cannot be had: an option of
    Ganeti's that this version cannot honour is refused, never ignored. Raises Failure or Refused.
    """
    kind = load(name)
    known = {field.name for field in msgspec.structs.fields(kind)}
    for field in values:
        if field not in known:
            raise _unknown(field, sorted(known), options)
    try:
        op = msgspec.convert(values, type=kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise BadUsage(_in_words(str(wrong), options), hint="see --help") from None
    refuse_unsupported(op, reasons_of(kind), options)
    return op


def _unknown(field: str, known: list[str], options: dict[str, str]) -> Failure:
    if field in options:
        given = options[field]
        return Failure(
            f"{given}: this version of Cairn cannot do this yet", hint=f"leave {given} out"
        )
    near = difflib.get_close_matches(field, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return BadUsage(f"there is no field {field!r}", hint=hint)


_LIMIT = re.compile(r"Expected `(?:int|float)` (>=|<=|>|<) ([-0-9.]+)")
_SIGNS = {">=": "at least ", "<=": "at most ", ">": "more than ", "<": "less than "}
_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_NAMES = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "yes or no",
    "array": "a list", "object": "names with values", "null": "nothing",
}  # fmt: skip


def _in_words(text: str, options: dict[str, str]) -> str:
    """Return what msgspec says of a value, as people say it, with the option or field in front."""
    what, _, place = text.partition(" - at `")
    if limit := _LIMIT.fullmatch(what):
        what = f"it must be {_SIGNS[limit[1]]}{limit[2]}"
    elif kind := _TYPE.fullmatch(what):
        wanted = [_NAMES.get(each, each) for each in kind[1].split(" | ") if each != "null"]
        what = f"it must be {' or '.join(wanted)}, not {_NAMES.get(kind[2], kind[2])}"
    field = re.split(r"[.\[`]", place.removeprefix("$."))[0]
    return f"{options.get(field, field)}: {what}" if field else what

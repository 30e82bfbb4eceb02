"""Ganeti's parameters that Cairn cannot honour yet: refused with a reason, never ignored (pure).

A module of an opcode lists them as `NOT_YET`: field -> why not. Handlers refuse them, whoever asks;
the manual tells them; the command line refuses them by the option's name, before it asks anybody.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec

from commands.errors import WRONG_INPUT, Refused
from commands.opcode import Opcode

NONE: Mapping[str, str] = {}


def refuse_unsupported(
    op: Opcode, reasons: Mapping[str, str], names: Mapping[str, str] = NONE
) -> None:
    """Raise Refused if a field named in `reasons` (field -> why not) is not at its default.

    `names` are what the person knows some of the fields by, such as the option.
    """
    for field in msgspec.structs.fields(op):
        reason = reasons.get(field.name)
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if reason is not None and getattr(op, field.name) != default:
            shown = names.get(field.name, f"{op.NAME}: {field.name}")
            raise Refused(
                WRONG_INPUT,
                f"{shown} is not supported yet: {reason}",
                hint=f"leave {names.get(field.name, field.name)} out",
            )


def reasons_of(kind: type[Opcode]) -> Mapping[str, str]:
    """Return the fields of an opcode that are refused when they are set, and why."""
    found: Mapping[str, str] = getattr(sys.modules[kind.__module__], "NOT_YET", NONE)
    return found

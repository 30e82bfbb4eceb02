"""Ganeti's parameters that Cairn cannot honour yet: refused with a reason, never ignored (pure)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from commands.errors import WRONG_INPUT, Refused
from commands.opcode import Opcode


def refuse_unsupported(op: Opcode, reasons: Mapping[str, str]) -> None:
    """Raise Refused if a field named in `reasons` (field -> why not) is not at its default."""
    for field in msgspec.structs.fields(op):
        reason = reasons.get(field.name)
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if reason is not None and getattr(op, field.name) != default:
            raise Refused(
                WRONG_INPUT,
                f"{op.NAME}: {field.name} is not supported yet: {reason}",
                hint=f"leave {field.name} out",
            )

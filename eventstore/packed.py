"""A typed payload inside an event: decoded only by the room that knows its name (pure)."""

from __future__ import annotations

import msgspec


class Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call, an opcode or a result as it stands in a record."""

    name: str
    version: int
    data: msgspec.Raw  # MessagePack

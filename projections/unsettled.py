"""What an operator must know of until it is settled (pure data)."""

from __future__ import annotations

import msgspec


class Parked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An opcode that needs attention: it keeps its locks until `gnt-job resolve`."""

    summary: str
    message: str  # why it goes neither forward nor back
    left: tuple[str, ...] = ()  # what is left where, for people

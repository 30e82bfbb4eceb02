"""The form of every call, and how it stands in a record (pure)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eventstore.packed import Packed

Value = str | int | float | bool | None


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all calls. `NAME` is stored for ever."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1


def pack_call(call: Call) -> Packed:
    """Return `call` as it stands in a record."""
    return Packed(call.NAME, call.VERSION, msgspec.Raw(msgspec.msgpack.encode(call)))

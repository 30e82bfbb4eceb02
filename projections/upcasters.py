"""Older schemas of events, brought to the present one at reading (pure).

An event's bytes are never rewritten. When its type changes in a way that an optional field cannot
express, SCHEMA rises by one and a function is added here that turns the MessagePack map of schema n
into that of n + 1; a chain of them leads from any old record to the present type. An upcaster is
never edited once records were written under it: a mistake is mended by the next one. The recorded
bytes of each schema lie in `tests/data/golden-events/`.

None has been needed yet. tests/projections/test_upcasting.py goes the way of the first change: it
takes types of today for second schemas, and folds the recorded histories as a first one held them.

An upcaster sees plain maps, lists and scalars, never today's classes, because those move on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Fields = dict[str, Any]  # Any: what a MessagePack map of an old schema held
Upcaster = Callable[[Fields], Fields]

# (kind, n) -> from schema n to n + 1. Empty as long as no event type has changed.
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}

_fields = msgspec.msgpack.Decoder(Fields)


def upcast(
    kind: str, schema: int, data: bytes, present: int, upcasters: Mapping[tuple[str, int], Upcaster]
) -> bytes:
    """Return `data` of `schema` as bytes of the schema `present`.

    Raises KeyError if a link of the chain is missing, msgspec.DecodeError if `data` is no map.
    """
    fields = _fields.decode(data)
    for step in range(schema, present):
        fields = upcasters[kind, step](fields)
    return msgspec.msgpack.encode(fields)

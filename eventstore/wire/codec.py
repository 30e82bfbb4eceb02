"""Bytes from outside to typed values, whatever the bytes are (pure).

Every decoder here raises DecodeError and nothing else. Three things bound what a hostile frame may
cost: its size (checked by ZeroMQ before it is read whole, and again here), its depth (a frame of
0x91 bytes is a list in a list in a list ...), and its type: msgspec validates while it decodes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from eventstore.errors import DecodeError, TooLarge

T = TypeVar("T")

MAX_REQUEST_BYTES = 1_310_720  # a batch of 1 MiB and what surrounds it
MAX_REPLY_BYTES = 16 << 20
MAX_PUBLISHED_BYTES = 1 << 20  # one record of at most 512 KiB, or many of at most 64 kB together
MAX_DEPTH = 64  # arrays and maps within one another

_OPENERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # the first bytes of arrays and maps
_NOT_OPENERS = bytes(sorted(set(range(256)) - set(_OPENERS)))

_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}  # one for each type ever asked for

encode = msgspec.msgpack.Encoder().encode


def decode(data: bytes | memoryview, kind: type[T]) -> T:
    """Return `data` as a `kind`. Raises DecodeError whatever is wrong with it."""
    try:
        value: T = _decoder(kind).decode(data)
    except msgspec.MsgspecError as wrong:
        raise DecodeError(f"not a {_name(kind)}: {wrong}") from None
    except (RecursionError, UnicodeDecodeError) as wrong:
        raise DecodeError(f"not a {_name(kind)}: {wrong}") from None
    return value


def check_size(data: bytes, limit: int, what: str) -> None:
    """Raises TooLarge if `data` has more than `limit` bytes."""
    if len(data) > limit:
        raise TooLarge(f"{what} has {len(data)} bytes, the limit is {limit}")


def check_depth(data: bytes) -> None:
    """Raises DecodeError if `data` nests deeper than MAX_DEPTH. Costs 1 ns a byte as a rule.

    There are at most as many levels as there are bytes that could open one; only if those are
    many, the values are walked through.
    """
    if len(data.translate(None, _NOT_OPENERS)) > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")


def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    return decoder


def _name(kind: object) -> str:
    return getattr(kind, "__name__", str(kind))


# By first byte: how many bytes of length follow it, or which fixed number of bytes of payload.
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17, 0xC0: 0, 0xC2: 0, 0xC3: 0}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSION = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _depth(data: bytes) -> int:
    """Return how deep `data` nests, at most MAX_DEPTH + 1.

    It stops quietly where the bytes are no MessagePack: that the typed decoder will refuse.
    """
    at, end, deepest = 0, len(data), 0
    open_items: list[int] = []  # values still to come in each open array or map
    while at < end:
        first = data[at]
        at += 1
        items = -1
        if first < 0x80 or first >= 0xE0:
            pass
        elif first < 0x90:
            items = (first & 0x0F) * 2
        elif first < 0xA0:
            items = first & 0x0F
        elif first < 0xC0:
            at += first & 0x1F
        elif first in _FIXED:
            at += _FIXED[first]
        elif first in _COUNTED:
            width, each = _COUNTED[first]
            items = int.from_bytes(data[at : at + width]) * each
            at += width
        else:
            width = _SIZED.get(first) or _EXTENSION.get(first, 0)
            at += width + int.from_bytes(data[at : at + width]) + (first in _EXTENSION)
        if items >= 0:
            open_items.append(items)
            deepest = max(deepest, len(open_items))
            if deepest > MAX_DEPTH:
                return deepest
        else:
            if open_items:
                open_items[-1] -= 1
        while open_items and open_items[-1] == 0:
            open_items.pop()
            if open_items:
                open_items[-1] -= 1
        if not open_items:
            return deepest
    return deepest

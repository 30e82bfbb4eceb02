"""Bytes from outside to typed values, whatever the bytes are (pure).

Every decoder here raises DecodeError and nothing else. Four things bound what a hostile frame may
cost: its size (checked by ZeroMQ before it is read whole, and again here), its depth (a frame of
0x91 bytes is a list in a list in a list ...), the number of its elements, and its type: msgspec
validates while it decodes.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from eventstore import codec
from eventstore.decoders import decoder_of
from eventstore.errors import DecodeError, TooLarge

T = TypeVar("T")

MAX_REQUEST_BYTES = 1_310_720  # a batch of 1 MiB and what surrounds it
MAX_REPLY_BYTES = 16 << 20
MAX_PUBLISHED_BYTES = 1 << 20  # one record of at most 512 KiB, or many of at most 64 kB together
MAX_DEPTH = 64  # arrays and maps within one another
MAX_ELEMENTS = 250_000  # of one request, 5 bytes each; walking them holds up others for 0.2 s

encode = msgspec.msgpack.Encoder().encode


def decode(data: bytes | memoryview, kind: type[T]) -> T:
    """Return `data` as a `kind`. Raises DecodeError whatever is wrong with it."""
    try:
        value: T = decoder_of(kind).decode(data)
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
    """Raises DecodeError if `data` nests deeper than MAX_DEPTH, or has more than MAX_ELEMENTS."""
    codec.check_depth(data, MAX_DEPTH, most_elements=MAX_ELEMENTS)


def _name(kind: object) -> str:
    return getattr(kind, "__name__", str(kind))

"""Bytes to records and back (pure). `DecodeError` is the only error that decoding raises.

Only the leader encodes. What others hold is the leader's bytes, so nothing here ever encodes a
record again in order to check it; a decoder accepts elements that a later format added at the end
of the array, and refuses a version that it does not know.

Limits come before work: size first, then nesting. A MessagePack container costs one byte to open,
so 512 KiB could nest half a million deep. The exact walk over every element is slow in Python;
therefore it runs only if the bytes hold more potential container headers than the limit (they are
counted by one `bytes.translate`): a long plan does, and so do a few hundred bytes of ciphertext. Of
a record only the data is walked, whose elements are few beside the record's own; that it can be had
before its nesting is known is msgspec's doing, which skips what it does not decode, and gives up,
with RecursionError, long before the stack does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from eventstore.decoders import decoder_of
from eventstore.errors import DecodeError
from eventstore.record import FORMAT, MAX_RECORD_BYTES, Event, Record

MAX_DEPTH = 32  # of nested arrays and maps
MAX_NAME_BYTES = 255  # of a kind, stream, actor, origin or key

E = TypeVar("E", bound=Event)

_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(Record)
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_OTHERS = bytes(sorted(set(range(256)) - set(_CONTAINERS)))


# From a record to the bytes that are stored, hashed and forwarded. Called by the leader, once; the
# method itself, since a function around it would cost a quarter of what it does.
encode_record: Callable[[Record], bytes] = _encoder.encode


def encode_event(event: Event) -> msgspec.Raw:
    """Return the event as a MessagePack map without its defaults."""
    return msgspec.Raw(_encoder.encode(event))


def decode_record(encoded: bytes) -> Record:
    """Return the record in `encoded`. Raises DecodeError for any bytes that are not one."""
    if len(encoded) > MAX_RECORD_BYTES:
        raise DecodeError(f"a record of {len(encoded)} bytes; the limit is {MAX_RECORD_BYTES}")
    try:
        record = _records.decode(encoded)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a record: {error}") from error
    _check_nesting(encoded, record)
    flaw = _flaw(record)
    if flaw:
        raise DecodeError(f"not a record: {flaw}")
    return record


def decode_event(kind: type[E], data: bytes | msgspec.Raw) -> E:
    """Return the event of this type in `data`. Raises DecodeError if it is none."""
    try:
        event = decoder_of(kind).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a {kind.KIND}: {error}") from error
    assert isinstance(event, kind)
    return event


def check_depth(
    encoded: bytes, limit: int = MAX_DEPTH, *, most_elements: int = MAX_RECORD_BYTES
) -> None:
    """Raise DecodeError if arrays and maps nest deeper than `limit` in these bytes.

    The walk takes about 1 us for each element; it gives up, with DecodeError, after so many.
    """
    if _suspects(encoded) > limit and _depth(encoded, limit, most_elements) > limit:
        raise DecodeError(f"nested deeper than {limit}")


def _check_nesting(encoded: bytes, record: Record) -> None:
    """The same as `check_depth(encoded)` for the bytes of this record, and mostly quicker."""
    suspects = _suspects(encoded)
    if suspects <= MAX_DEPTH:
        return
    data = bytes(record.data)
    inside = _suspects(data)
    if suspects - inside > MAX_DEPTH:  # what stands beside the data may be at fault
        check_depth(encoded)
    elif inside >= MAX_DEPTH and _depth(data, MAX_DEPTH - 1, MAX_RECORD_BYTES) >= MAX_DEPTH:
        raise DecodeError(f"nested deeper than {MAX_DEPTH}")


def _suspects(encoded: bytes) -> int:
    """Return how many bytes may open an array or a map: no path down has more of them."""
    return len(encoded.translate(None, _OTHERS))


def _flaw(record: Record) -> str:
    """Say what the types alone do not: "" if the record is sound in itself."""
    if record.v != FORMAT:
        return f"format {record.v}; this version reads {FORMAT}"
    if record.seq < 1 or record.version < 1 or record.gen < 0 or record.term < 0:
        return "a seq, version or epoch out of range"
    if not 0 <= record.index < record.count:
        return f"index {record.index} in a batch of {record.count}"
    if len(record.event_id) != 16 or record.time < 0:
        return "an event id or time out of range"
    return ""


# Fixed sizes after the header byte, for MessagePack's scalar types.
_FIXED = {
    0xC0: 0, 0xC1: 0, 0xC2: 0, 0xC3: 0,
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
# Types with a length: bytes of the length, and what the extension type adds.
_COUNTED = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
# Containers with a length: bytes of the length, elements per entry.
_NESTING = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _depth(encoded: bytes, limit: int, most_elements: int) -> int:
    """Return how deep the bytes nest, walking no deeper than one beyond `limit`.

    Truncated input ends the walk quietly: the decoder names that better.
    """
    at, deepest, end = 0, 0, len(encoded)
    open_: list[int] = []  # elements still to come, per open container
    left = most_elements
    while at < end and deepest <= limit:
        left -= 1
        if left < 0:
            raise DecodeError(f"more than {most_elements} elements")
        if open_:
            open_[-1] -= 1
        head = encoded[at]
        at += 1
        children = -1
        if 0x80 <= head <= 0x9F:
            children = (head & 0x0F) * (2 if head < 0x90 else 1)
        elif 0xA0 <= head <= 0xBF:
            at += head & 0x1F
        elif head in _FIXED:
            at += _FIXED[head]
        elif head in _COUNTED:
            size, extra = _COUNTED[head]
            at += size + extra + int.from_bytes(encoded[at : at + size], "big")
        elif head in _NESTING:
            size, factor = _NESTING[head]
            children = factor * int.from_bytes(encoded[at : at + size], "big")
            at += size
        if children >= 0:
            open_.append(children)
            deepest = max(deepest, len(open_))
        while open_ and open_[-1] <= 0:
            open_.pop()
    return deepest

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import DecodeError
from eventstore.raft.entry import unpack
from eventstore.raft.messages import MAX_MESSAGE_BYTES, Append, Message, decode, encode
from tests.eventstore.raft.bench import START, Bench, following

BENCH = Bench()
ENTRY = following(START, START.epoch)
MESSAGES: list[Message] = [
    BENCH.vote("b", 2, START),
    BENCH.append("b", 1, START, ENTRY),
    BENCH.reply("b", 3),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_survives_the_wire(message: Message) -> None:
    """Decoding what was encoded gives an equal message."""
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("term", -1),
        ("inc", b"short"),
        ("sender", ""),
        ("sender", "x" * 300),
        ("prev_hash", b"short"),
        ("entries", ((),)),
        ("commit_seq", -1),
        ("cluster", "x" * 300),
    ],
)
def test_a_message_out_of_range_is_refused(field: str, value: object) -> None:
    """Values that the types allow and the protocol does not raise DecodeError."""
    append = BENCH.append("b", 1, START, ENTRY)
    values = {name: getattr(append, name) for name in append.__struct_fields__}
    with pytest.raises(DecodeError):
        decode(encode(Append(**{**values, field: value})))


def test_a_message_that_is_too_large_is_not_looked_at() -> None:
    """Size comes before everything else."""
    with pytest.raises(DecodeError, match="limit"):
        decode(bytes(MAX_MESSAGE_BYTES + 1))


def test_nothing_is_kept_of_what_a_later_version_adds_however_deep_it_nests() -> None:
    """Fields that follow the known ones are skipped; a nesting bomb among them is refused."""
    message = MESSAGES[1]
    array, rest = encode(message)[:3], encode(message)[3:]
    assert array[0] == 0xDC, "an array with a length of two bytes"
    longer = array[:2] + bytes([array[2] + 1]) + rest
    assert decode(longer + b"\x91\x91\xc0") == message
    with pytest.raises(DecodeError):
        decode(longer + b"\x91" * 500_000 + b"\xc0")


@pytest.mark.property
@given(st.sampled_from(MESSAGES), st.data())
def test_damaged_bytes_raise_nothing_but_decode_error(
    message: Message, data: st.DataObject
) -> None:
    """Whatever a byte is changed to, decoding gives a message or DecodeError."""
    encoded = bytearray(encode(message))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decode(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))
        damaged = decode(bytes(encoded))
        if isinstance(damaged, Append):
            for packed in damaged.entries:
                unpack(packed, START.end)


def test_an_entry_must_follow_what_is_held() -> None:
    """Its seqs are those that come next, and its epoch is not below."""
    assert unpack(ENTRY.packed(), START.end) == ENTRY
    with pytest.raises(DecodeError, match="follows"):
        unpack(ENTRY.packed(), ENTRY.end)
    with pytest.raises(DecodeError, match="epoch"):
        unpack(ENTRY.packed(), START.end._replace(epoch=ENTRY.epoch._replace(term=9)))

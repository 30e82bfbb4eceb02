"""Decoding what comes from outside: a value, or DecodeError, whatever the bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventstore.errors import DecodeError, TooLarge
from eventstore.record import Record
from eventstore.wire import faults, frames, messages

KINDS: list[Any] = [
    messages.Request,
    messages.Start,
    messages.Reply,
    messages.Fault,
    messages.Publication,
    messages.Heartbeat,
    messages.RangeRequest,
    messages.RangeReply,
    messages.HeadReply,
    Record,
    object,
]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=8),
    st.binary(max_size=8), st.floats(allow_nan=False),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)
near_misses = st.lists(values, max_size=9).map(frames.encode)


@pytest.mark.property
@settings(max_examples=300)
@given(st.binary(max_size=200) | near_misses, st.sampled_from(KINDS))
@example(b"\x91" * 1_000_000, object)
@example(b"\x81\xc0" * 500_000, object)
@example(b"\xdd\xff\xff\xff\xff", object)
@example(b"\x93\xc0\xc0\xa1\xff", messages.Start)
def test_decoding_gives_a_value_or_decode_error(data: bytes, kind: Any) -> None:
    """Whatever the bytes and the wanted type, nothing but DecodeError comes out."""
    try:
        value = frames.decode(data, kind)
    except DecodeError:
        return
    assert kind is object or isinstance(value, kind)


@pytest.mark.property
@given(st.binary(max_size=300) | near_misses)
def test_records_from_outside_are_records_or_decode_error(body: bytes) -> None:
    """The body of a publication is a list of records or a DecodeError."""
    try:
        messages.unpack_records(body)
    except DecodeError:
        return
    assert frames.decode(body, list[tuple[bytes, bytes]]) is not None


@pytest.mark.property
@given(st.builds(messages.Fault, code=st.text(), message=st.text(), data=st.dictionaries(
    st.text(max_size=5), st.binary(max_size=5).map(msgspec.Raw), max_size=3)))  # fmt: skip
def test_any_fault_is_an_error_to_raise(fault: messages.Fault) -> None:
    """Whatever code and data a voter sends, the client has an error for it."""
    try:
        error = faults.to_error(fault)
    except DecodeError:
        return
    assert str(error) == fault.message or fault.code == "clash"


@pytest.mark.property
@given(values)
def test_what_is_encoded_is_decoded(value: object) -> None:
    """Decode after encode is the identity."""
    assert frames.decode(frames.encode(value), object) == value


@pytest.mark.parametrize(("levels", "refused"), [(frames.MAX_DEPTH, False), (65, True)])
def test_depth_is_counted_exactly(levels: int, refused: bool) -> None:
    """64 levels pass, 65 do not, in arrays as in maps; width is no depth."""
    for opener in (b"\x91", b"\x81\xc0", b"\xdc\x00\x01", b"\xde\x00\x01\xc0"):
        data = opener * levels + b"\xc0"
        if refused:
            with pytest.raises(DecodeError):
                frames.check_depth(data)
        else:
            frames.check_depth(data)
    frames.check_depth(frames.encode([[1]] * 10_000))


def test_size_is_bounded() -> None:
    """A frame of one byte too many is TooLarge, and the message names both figures."""
    frames.check_size(b"12345", 5, "it")
    with pytest.raises(TooLarge, match="it has 6 bytes, the limit is 5"):
        frames.check_size(b"123456", 5, "it")


def test_a_frame_of_many_small_elements_is_refused_before_they_are_all_walked() -> None:
    """1.2 MB of empty arrays would hold up everybody else for a second."""
    with pytest.raises(DecodeError, match="more than 250000 elements"):
        frames.check_depth(frames.encode([[]] * 1_200_000))
    frames.check_depth(frames.encode([[]] * (frames.MAX_ELEMENTS - 1)))

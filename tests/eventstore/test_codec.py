from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.codec import (
    MAX_DEPTH,
    check_depth,
    decode_event,
    decode_record,
    encode_event,
    encode_record,
)
from eventstore.errors import DecodeError
from eventstore.record import MAX_RECORD_BYTES, Event, Record
from tests.eventstore.storage_lab import Happened

names = st.text(max_size=20)
counts = st.integers(0, 2**63)
records = st.builds(
    Record,
    v=st.just(1),
    seq=st.integers(1, 2**63),
    gen=counts,
    term=counts,
    time=counts,
    event_id=st.binary(min_size=16, max_size=16),
    kind=names,
    schema=st.integers(1, 100),
    stream=names,
    version=st.integers(1, 2**63),
    actor=names,
    origin=names,
    job=st.none() | counts,
    cause=st.none() | counts,
    key=st.none() | names,
    data=st.builds(
        lambda value: msgspec.Raw(msgspec.msgpack.encode(value)),
        st.recursive(st.none() | st.integers(-5, 2**60) | names, st.lists, max_leaves=8),
    ),
    index=st.just(0),
    count=st.integers(1, 9),
)


def a_record(**changes: object) -> Record:
    whole = Record(
        v=1, seq=7, gen=1, term=2, time=5, event_id=bytes(16), kind="test.happened", schema=1,
        stream="s", version=1, actor="a", origin="v1", job=None, cause=None, key=None,
        data=encode_event(Happened(what=3)),
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


@pytest.mark.property
@given(records)
def test_decode_after_encode_is_identity(record: Record) -> None:
    """What the leader encodes, everyone decodes to the same record."""
    decoded = decode_record(encode_record(record))
    assert bytes(decoded.data) == bytes(record.data)
    assert msgspec.structs.replace(decoded, data=record.data) == record


@pytest.mark.property
@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_decode_error(encoded: bytes) -> None:
    """Of any bytes at all, only DecodeError escapes."""
    for decode in (decode_record, lambda data: decode_event(Happened, data)):
        try:
            decode(encoded)
        except DecodeError:
            continue


@pytest.mark.property
@given(records, st.data())
def test_a_record_with_bytes_changed_decodes_or_raises_decode_error(
    record: Record, data: st.DataObject
) -> None:
    """Damage inside a record never raises anything but DecodeError."""
    encoded = bytearray(encode_record(record))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    try:
        decode_record(bytes(encoded))
    except DecodeError:
        return


@pytest.mark.property
@given(
    st.recursive(st.none() | names, lambda inner: st.lists(inner) | st.dictionaries(names, inner))
)
def test_the_depth_walk_agrees_with_the_definition(value: object) -> None:
    """Nesting is counted as a person would count brackets."""

    def depth(inner: object) -> int:
        if isinstance(inner, dict):
            return 1 + max(map(depth, inner.values()), default=0)
        return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

    # 40 empty lists beside it, so that the quick count does not answer before the walk
    encoded = msgspec.msgpack.encode([value, [[]] * 40])
    deep = max(1 + depth(value), 3)
    check_depth(encoded, limit=deep)
    with pytest.raises(DecodeError):
        check_depth(encoded, limit=deep - 1)


def test_nesting_bombs_and_oversized_records_are_refused() -> None:
    """Half a million opened arrays, or a record beyond the limit, cost nothing but an error."""
    bomb = encode_record(a_record()).replace(bytes(encode_event(Happened(what=3))), b"\x91" * 4000)
    for encoded in (bomb, b"\x91" * 500_000, bytes(MAX_RECORD_BYTES + 1)):
        with pytest.raises(DecodeError):
            decode_record(encoded)


def test_a_record_as_deep_as_allowed_is_read() -> None:
    """The limit on nesting is the limit that is documented: the record's array, then its data."""
    deep = b"\x91" * (MAX_DEPTH - 1) + b"\xc0"
    assert decode_record(encode_record(a_record(data=msgspec.Raw(deep)))).data
    with pytest.raises(DecodeError):
        decode_record(encode_record(a_record(data=msgspec.Raw(b"\x91" + deep))))


@pytest.mark.parametrize("beside", [b"", b"\x80" * 40])
def test_what_a_later_format_adds_nests_no_deeper_either(beside: bytes) -> None:
    """The limit holds for the whole array of a record, the fields that are not known here too."""
    name = msgspec.msgpack.encode((beside.decode("latin-1"),))[1:]  # bytes that look like maps
    for levels in (MAX_DEPTH - 1, MAX_DEPTH):
        encoded = encode_record(a_record(data=msgspec.Raw(name)))
        assert encoded[:3] == b"\xdc\x00\x12", "18 fields"
        longer = b"\xdc\x00\x13" + encoded[3:] + b"\x91" * levels + b"\xc0"
        if levels < MAX_DEPTH:
            assert decode_record(longer).data
        else:
            with pytest.raises(DecodeError):
                decode_record(longer)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"seq": 0}, {"version": 0}, {"gen": -1}, {"index": 1}, {"index": -1},
        {"event_id": b"short"}, {"time": -1}, {"count": 0},
    ],
)  # fmt: skip
def test_records_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    """Well-typed nonsense is refused when it is read."""
    with pytest.raises(DecodeError):
        decode_record(encode_record(a_record(**change)))


def test_elements_that_a_later_format_adds_are_passed_over() -> None:
    """Fields are only ever added at the end, and an older reader goes on."""
    array = msgspec.msgpack.decode(encode_record(a_record()))
    assert decode_record(msgspec.msgpack.encode([*array, "new"])).seq == 7


def test_defaults_are_left_out_of_an_event() -> None:
    """An optional field that nobody sets changes no stored byte."""

    class Later(Event, frozen=True, kw_only=True):
        KIND = "test.happened"
        what: int = 0
        text: str = ""
        added: tuple[str, ...] = ()

    assert bytes(encode_event(Happened(what=3))) == bytes(encode_event(Later(what=3)))
    assert decode_event(Later, encode_event(Happened(what=3))) == Later(what=3)

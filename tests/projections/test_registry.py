"""The registry: bytes of any schema become today's events, and nothing else passes."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.record import Event
from projections.errors import CorruptHistory, UnknownKind
from projections.registry import JOB_TYPES, REGISTRY, Registry
from projections.upcasters import Fields


class VolumeGrown(Event, frozen=True, kw_only=True):
    """The third schema of an event that lives in this test only."""

    KIND: ClassVar[str] = "volume.grown"
    SCHEMA: ClassVar[int] = 3
    volume: str
    size_mib: int
    node: str


def _mib_from_bytes(old: Fields) -> Fields:
    return {"volume": old["volume"], "size_mib": old["size"] >> 20}


def _with_node(old: Fields) -> Fields:
    node, _, volume = old["volume"].partition(":")
    return {**old, "node": node, "volume": volume}


UPCASTERS = {("volume.grown", 1): _mib_from_bytes, ("volume.grown", 2): _with_node}
GROWN = Registry((VolumeGrown,), UPCASTERS)

# What versions before wrote: {"volume": "n1:vg/a", "size": 1 GiB} and {..., "size_mib": 1024}
SCHEMA_1 = bytes.fromhex("82a6766f6c756d65a76e313a76672f61a473697a65ce40000000")
SCHEMA_2 = bytes.fromhex("82a6766f6c756d65a76e313a76672f61a873697a655f6d6962cd0400")


@pytest.mark.parametrize(("schema", "data"), [(1, SCHEMA_1), (2, SCHEMA_2)])
def test_old_bytes_are_brought_to_the_present_type(schema: int, data: bytes) -> None:
    """A record of any older schema is read through the chain of upcasters."""
    event = GROWN.decode_data("volume.grown", schema, msgspec.Raw(data))
    assert event == VolumeGrown(volume="vg/a", size_mib=1024, node="n1")


@pytest.mark.property
@given(
    volume=st.text(),
    node=st.text().filter(lambda text: ":" not in text),
    size=st.integers(0, 2**40),
)
def test_upcasting_what_an_older_version_could_write_never_fails(
    volume: str, node: str, size: int
) -> None:
    """Whatever values schema 1 allowed, the chain gives an event of the present type."""
    old: dict[str, Any] = {"volume": f"{node}:{volume}", "size": size << 20}
    data = msgspec.Raw(msgspec.msgpack.encode(old))
    event = GROWN.decode_data("volume.grown", 1, data)
    assert event == VolumeGrown(volume=volume, size_mib=size, node=node)


def test_a_chain_with_a_gap_is_refused_when_the_registry_is_made() -> None:
    """A schema without an upcaster is found at import, not at the record that needs it."""
    with pytest.raises(AssertionError, match=r"volume\.grown 1"):
        Registry((VolumeGrown,), {("volume.grown", 2): _with_node})


@pytest.mark.parametrize(("kind", "schema"), [("volume.shrunk", 1), ("volume.grown", 4)])
def test_an_unknown_kind_or_a_newer_schema_halts(kind: str, schema: int) -> None:
    """UnknownKind names the kind, the schema and the seq."""
    with pytest.raises(UnknownKind) as caught:
        GROWN.decode_data(kind, schema, msgspec.Raw(SCHEMA_1), 17)
    assert (caught.value.kind, caught.value.schema, caught.value.seq) == (kind, schema, 17)


def test_an_unknown_note_is_passed_over() -> None:
    """A kind that begins with `note.` is ignorable by its name."""
    assert GROWN.decode_data("note.weather", 1, msgspec.Raw(b"\x80")) is None


@pytest.mark.parametrize("schema", [1, 3])
@pytest.mark.parametrize("data", [b"\xc0", b"\x93\x01", b"\x81\xa1a\x01", b""])
def test_bytes_that_are_not_the_event_are_corrupt_history(schema: int, data: bytes) -> None:
    """Whatever the bytes are, the only error is CorruptHistory, with the seq."""
    with pytest.raises(CorruptHistory, match="record 5"):
        GROWN.decode_data("volume.grown", schema, msgspec.Raw(data), 5)


def test_every_type_of_the_vocabulary_is_known_once() -> None:
    """Kinds are unique, hyphenated, and say in a docstring what they mean."""
    kinds = [event.KIND for event in REGISTRY]
    assert len(kinds) == len(set(kinds))
    assert set(JOB_TYPES) < set(REGISTRY)
    for event in REGISTRY:
        assert event.__doc__
        assert set(event.KIND) <= set("abcdefghijklmnopqrstuvwxyz.-")

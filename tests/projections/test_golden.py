"""Recorded events of every schema: they are read and folded for ever."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from eventstore.record import Stored
from projections.registry import REGISTRY, decode
from projections.state import Projector, digest_of
from tests.projections.filled import Field, fields_in
from tests.projections.golden import every_kind, files, recorded


def kinds(records: Iterable[Stored]) -> set[tuple[str, int]]:
    return {(stored.record.kind, stored.record.schema) for stored in records}


def told(records: Iterable[Stored]) -> set[Field]:
    """Return the fields of all events and of what stands in them."""
    return {field for stored in records for field in fields_in(decode(stored.record))}


def unpacked(data: bytes | msgspec.Raw) -> object:
    return msgspec.msgpack.decode(data)


def test_every_kind_has_recorded_bytes_of_each_of_its_schemas() -> None:
    """No schema that was ever written is without golden bytes."""
    golden = {key for path in files() for key in kinds(recorded(path))}
    wanted = {(event.KIND, schema) for event in REGISTRY for schema in range(1, event.SCHEMA + 1)}
    assert golden == wanted


def test_every_field_stands_in_recorded_bytes() -> None:
    """No field that was ever recorded is without golden bytes in which it is set."""
    found = {field for path in files() for field in told(recorded(path))}
    there = {(field.struct, field.name) for field in found if field.is_set}
    assert there == {(field.struct, field.name) for field in found}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_nothing_is_lost_when_recorded_bytes_are_read(path: Path) -> None:
    """What is read and written again is the same: no name and no type has moved."""
    for stored in recorded(path):
        event = decode(stored.record)
        if event is not None and stored.record.schema == event.SCHEMA:
            assert unpacked(msgspec.msgpack.encode(event)) == unpacked(stored.record.data)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_recorded_history_is_decoded_and_folded(path: Path) -> None:
    """Each golden file folds to its end, whatever schema its events are of."""
    records = recorded(path)
    assert all(decode(stored.record) is not None for stored in records)
    projector = Projector()
    ended = projector.apply(records)
    assert projector.seq == len(records)
    assert [job.status for job in ended][:3] == ["success", "error", "error"]
    assert not projector.state.jobs.open
    assert not projector.state.cluster.instances
    assert not projector.state.cluster.reserved
    assert projector.state.cluster.settings.destroyed
    assert projector.digest() == digest_of(projector.state)


def test_the_story_still_tells_every_kind() -> None:
    """The story from which the next golden file is written has every present kind and schema."""
    there = kinds(every_kind().records)
    assert there == {(event.KIND, event.SCHEMA) for event in REGISTRY}

"""Recorded opcodes, calls and results are read for ever."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.golden_orders import files, orders, recorded
from tests.projections.filled import fields_in


def test_every_order_and_each_of_its_fields_is_recorded() -> None:
    """No opcode, call or result is without golden bytes, nor any field that is set in them."""
    kinds = orders()
    read = [(name, data) for path in files() for name, data in recorded(path)]
    assert {name for name, _ in read} >= set(kinds)
    values = [msgspec.msgpack.decode(data, type=kinds[name]) for name, data in read]
    found = set(fields_in(values))
    there = {(field.struct, field.name) for field in found if field.is_set}
    assert there == {(field.struct, field.name) for field in found}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_nothing_is_lost_when_recorded_orders_are_read(path: Path) -> None:
    """What is read and written again is the same: no name and no type has moved."""
    kinds = orders()
    for name, data in recorded(path):
        value = msgspec.msgpack.decode(data, type=kinds[name])
        assert unpacked(msgspec.msgpack.encode(value)) == unpacked(data), name


def unpacked(data: bytes) -> object:
    return msgspec.msgpack.decode(data)

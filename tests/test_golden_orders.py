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
    """What is read and written again stands where it stood: no name and no type has moved."""
    kinds = orders()
    for name, data in recorded(path):
        value = msgspec.msgpack.decode(data, type=kinds[name])
        assert stands(unpacked(data), unpacked(msgspec.msgpack.encode(value))), name


@pytest.mark.parametrize("now", [[1, "b"], [2, "a", 0], [1], {"x": 1}])
def test_a_value_that_has_moved_is_seen(now: object) -> None:
    """Structs that are arrays may grow at their end; nothing before it may change."""
    assert stands([1, "a"], [1, "a", 0])
    assert not stands([1, "a"], now)


def stands(then: object, now: object) -> bool:
    """Whether all of `then` is in `now`, at its place. An array may have grown at its end."""
    match then, now:
        case list(), list():
            return len(then) <= len(now) and all(map(stands, then, now))
        case dict(), dict():
            return then.keys() == now.keys() and all(stands(then[key], now[key]) for key in then)
    return then == now


def unpacked(data: bytes) -> object:
    return msgspec.msgpack.decode(data)

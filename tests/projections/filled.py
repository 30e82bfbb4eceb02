"""Values of which every field is set: no field stands at its default.

For golden events and orders. A default takes no bytes, so bytes that are to hold a field for ever
must have something else there. A field that is added to a type is filled without a line being
written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import inspect

INSIDE = msgspec.Raw(msgspec.msgpack.encode({"inside": True}))

Struct = TypeVar("Struct", bound=msgspec.Struct)


def filled(kind: type[Struct], **given: object) -> Struct:
    """Return a struct with the `given` fields, and something beside the default in each other."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return kind(**{field.name: _sample(field.type, field.default) for field in info.fields} | given)


def bare(kind: type[Struct]) -> Struct:
    """Return a struct with a value in each field that must have one, and in no other."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    needed = (field for field in info.fields if field.required)
    return kind(**{field.name: _sample(field.type, field.default) for field in needed})


class Field(NamedTuple):
    """A field of a struct, and whether it is set to something."""

    struct: str
    name: str
    is_set: bool


def fields_in(value: object) -> Iterator[Field]:
    """Yield the fields of a value, of the structs within it too."""
    match value:
        case msgspec.Struct():
            for field in msgspec.structs.fields(value):
                inside = getattr(value, field.name)
                yield Field(type(value).__name__, field.name, inside != _default(field))
                yield from fields_in(inside)
        case tuple() | list():
            for item in value:
                yield from fields_in(item)
        case dict():
            for item in value.values():
                yield from fields_in(item)


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _sample(wanted: inspect.Type, default: object) -> object:
    match wanted:
        case inspect.Metadata():
            return _sample(wanted.type, default)
        case inspect.LiteralType():
            return next(value for value in wanted.values if value != default)
        case inspect.BoolType():
            return default is not True
        case inspect.IntType():
            return 77
        case inspect.FloatType():
            return 7.5
        case inspect.StrType() | inspect.AnyType():
            return "some"
        case inspect.BytesType():
            return b"some"
        case inspect.RawType():
            return INSIDE
        case inspect.UnionType():
            return _sample(wanted.types[0], default)
        case inspect.VarTupleType():
            return (_sample(wanted.item_type, None),)
        case inspect.ListType():
            return [_sample(wanted.item_type, None)]
        case inspect.TupleType():
            return tuple(_sample(item, None) for item in wanted.item_types)
        case inspect.DictType():
            return {_sample(wanted.key_type, None): _sample(wanted.value_type, None)}
        case inspect.StructType():
            return filled(wanted.cls)
        case _:
            raise AssertionError(f"no sample of {wanted}")

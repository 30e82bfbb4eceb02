"""Reading JSON with errors that name what is missing or of the wrong type, in Ganeti's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from commands.placement.model import LARGEST
from tools.htools.errors import DataError

Record = Mapping[str, object]
T = TypeVar("T")

_KINDS: Final = {
    str: "String",
    int: "Int",
    float: "Double",
    bool: "Bool",
    list: "List",
    dict: "JSObject",
}


def decode(text: str | bytes, what: str) -> object:
    """Parse JSON. Raises DataError with the line and column of the fault."""
    try:
        found: object = msgspec.json.decode(text)
        return found
    except (msgspec.DecodeError, RecursionError):
        pass
    # The fast parser does not say where; the slow one does.
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise DataError(
            f"{what}: Malformed JSON: {problem.msg} (line {problem.lineno}, column {problem.colno})"
        ) from problem
    except (UnicodeDecodeError, RecursionError, ValueError) as problem:
        raise DataError(f"{what}: Malformed JSON: {problem}") from problem


def decode_object(text: str | bytes, what: str) -> Record:
    """Parse JSON that must be an object."""
    found = decode(text, what)
    if not isinstance(found, dict):
        raise DataError(f"{what}: Unable to read JSObject")
    return found


def get(record: Record, key: str, kind: type[T], what: str) -> T:
    """A value that must be there and of a kind; numbers in range. Raises DataError."""
    try:
        value = record[key]
    except KeyError:
        keys = ",".join(f'"{name}"' for name in record)
        raise DataError(f"{what}: key '{key}' not found, object contains only [{keys}]") from None
    return checked(value, key, kind, what)


def checked(value: object, key: str, kind: type[T], what: str) -> T:
    """A value as the kind that it must be."""
    if type(value) is kind:
        if kind is int and not -LARGEST <= value <= LARGEST:  # type: ignore[operator]  # an int
            raise DataError(f"{what}: key '{key}': value {value} is out of range")
        return value
    if kind in (int, float) and type(value) in (int, float):
        number = float(value)  # type: ignore[arg-type]  # a number
        if not -LARGEST <= number <= LARGEST:
            raise DataError(f"{what}: key '{key}': value {value} is out of range")
        return kind(round(number) if kind is int else number)  # type: ignore[call-arg]  # a number
    raise DataError(f"{what}: key '{key}': Unable to read {_KINDS[kind]}")


def get_or(record: Record, key: str, kind: type[T], default: T, what: str) -> T:
    """A value that may be missing or null."""
    if record.get(key) is None:
        return default
    return get(record, key, kind, what)


def maybe(record: Record, key: str, kind: type[T], what: str) -> T | None:
    """A value, or None if it is missing or null."""
    return None if record.get(key) is None else get(record, key, kind, what)


def texts(record: Record, key: str, what: str) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(checked(item, key, str, what) for item in get(record, key, list, what))


def amount(record: Record, key: str, what: str, *, least: int = 0) -> int:
    """A whole number not below `least`."""
    value = get(record, key, int, what)
    if value < least:
        raise DataError(f"{what}: key '{key}': value {value} is out of range")
    return value


def real_amount(record: Record, key: str, what: str) -> float:
    """A number not below 0."""
    value = get(record, key, float, what)
    if value < 0:
        raise DataError(f"{what}: key '{key}': value {value} is out of range")
    return value

"""Reading JSON with errors that name what is missing or of the wrong type, in Ganeti's words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final, NoReturn, TypeVar

import msgspec

from commands.placement.model import LARGEST
from tools.htools.errors import DataError, position

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

_DIGITS: Final = 300  # of a number; Python itself refuses more than 4300
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?(?:NaN|Infinity|\d[-+.\deE]*)', re.DOTALL)


class _NoNumber(ValueError):
    """A token that no double can hold."""


def decode(text: str | bytes, what: str) -> object:
    """Parse an object or array of JSON. Raises DataError with the line and column of the fault."""
    _top_level(text, what)
    try:
        found: object = msgspec.json.decode(text)
        return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # The fast parser does not say where; the slow one does.
    try:
        text = text if isinstance(text, str) else text.decode()
        return json.loads(text, parse_float=_real, parse_int=_whole, parse_constant=_no_number)
    except _NoNumber as problem:
        token = str(problem)
        at = next(found.start() for found in _TOKEN.finditer(str(text)) if found[0] == token)
        shown = token if len(token) <= 30 else f"{token[:30]}..."
        raise DataError(
            f"{what}: Malformed JSON: {shown} is no number {position(str(text), at)}"
        ) from problem
    except json.JSONDecodeError as problem:
        raise DataError(
            f"{what}: Malformed JSON: {problem.msg} (line {problem.lineno}, column {problem.colno})"
        ) from problem
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{what}: Malformed JSON: not UTF-8 {position(problem.object, problem.start)}"
        ) from problem
    except RecursionError as problem:
        raise DataError(f"{what}: Malformed JSON: nested too deeply") from problem


def _top_level(text: str | bytes, what: str) -> None:
    """Refuse, in the original's words, what is neither an object nor an array."""
    begun = text.lstrip()
    if begun[:1] in ("{", "[", b"{", b"["):
        return
    where = f" {position(text, len(text) - len(begun))}" if begun else ""
    raise DataError(
        f"{what}: Invalid JSON: a JSON text a serialized object or array at the top level.{where}"
    )


def _real(token: str) -> float:
    value = float(token)
    return value if math.isfinite(value) else _no_number(token)


def _whole(token: str) -> int:
    return int(token) if len(token) <= _DIGITS else _no_number(token)


def _no_number(token: str) -> NoReturn:
    raise _NoNumber(token)


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
        if kind in (int, float) and not -LARGEST <= value <= LARGEST:  # type: ignore[operator]  # a number
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

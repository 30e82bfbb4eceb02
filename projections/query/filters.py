"""Ganeti's filter language as nested lists (pure). `["&", ["==", "pnode", "n1"], ["?", "tags"]]`:

    & |          all, any of what follows       ["&", F...]
    !            not                            ["!", F]
    ?            the field is true              ["?", field]
    == != < <= > >=   compare                   ["==", field, value]
    =~           regular expression, anywhere   ["=~", field, pattern]
    =[]          a list field contains          ["=[]", field, value]

A comparison with a field that has no normal value is false. `=` is an old spelling of `==`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from projections.errors import ProjectionError
from projections.query.table import NORMAL, FieldDef, World

MAX_DEPTH = 10  # as in Ganeti

Predicate = Callable[[World, Any], bool]


class BadFilter(ProjectionError):
    """The filter is not one; the message says where."""


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_filter(text: object, fields: dict[str, FieldDef], depth: int = 0) -> Predicate:
    """Return the filter as a function of a row. Raises BadFilter."""
    if depth > MAX_DEPTH:
        raise BadFilter(f"the filter is nested deeper than {MAX_DEPTH} levels")
    match text:
        case [("&" | "|") as word, *parts] if parts:
            tests = [compile_filter(part, fields, depth + 1) for part in parts]
            return _all(tests) if word == "&" else _any(tests)
        case ["!", part]:
            test = compile_filter(part, fields, depth + 1)
            return lambda world, row: not test(world, row)
        case ["?", str(name)]:
            return _comparison(_field(name, fields), lambda found: bool(found))
        case ["==" | "=", str(name), wanted]:
            return _comparison(_field(name, fields), lambda found: _equal(found, wanted))
        case ["!=", str(name), wanted]:
            return _comparison(_field(name, fields), lambda found: not _equal(found, wanted))
        case [("<" | "<=" | ">" | ">=") as word, str(name), wanted]:
            return _comparison(_field(name, fields), _ordered(name, _ORDER[word], wanted))
        case ["=~", str(name), str(pattern)]:
            return _comparison(_field(name, fields), _matches(pattern))
        case ["=[]", str(name), wanted]:
            return _comparison(_field(name, fields), lambda found: _contains(found, wanted))
    raise BadFilter(f"not a filter: {text!r}")


def _field(name: str, fields: dict[str, FieldDef]) -> FieldDef:
    found = fields.get(name)
    if found is None:
        raise BadFilter(f"unknown field in the filter: {name}")
    return found


def _all(tests: Iterable[Predicate]) -> Predicate:
    return lambda world, row: all(test(world, row) for test in tests)


def _any(tests: Iterable[Predicate]) -> Predicate:
    return lambda world, row: any(test(world, row) for test in tests)


def _comparison(each: FieldDef, test: Callable[[Any], bool]) -> Predicate:
    def holds(world: World, row: Any) -> bool:
        status, found = each.get(world, row)
        return status == NORMAL and test(found)

    return holds


def _equal(found: object, wanted: object) -> bool:
    if isinstance(found, bool) and isinstance(wanted, str):
        return wanted.lower() in (("y", "yes", "true") if found else ("n", "no", "false"))
    if isinstance(found, int) and isinstance(wanted, str):
        return str(found) == wanted  # ids of jobs are numbers, and typed as text
    return found == wanted


def _ordered(
    name: str, compare: Callable[[Any, Any], bool], wanted: object
) -> Callable[[Any], bool]:
    def test(found: Any) -> bool:
        try:
            return compare(found, wanted)
        except TypeError:
            raise BadFilter(f"field {name} cannot be compared with {wanted!r}") from None

    return test


def _matches(pattern: str) -> Callable[[Any], bool]:
    try:
        search = re.compile(pattern).search
    except re.error as wrong:
        raise BadFilter(f"bad regular expression {pattern!r}: {wrong}") from None
    return lambda found: search(str(found)) is not None


def _contains(found: object, wanted: object) -> bool:
    return isinstance(found, (list, tuple, dict, set, frozenset)) and wanted in found

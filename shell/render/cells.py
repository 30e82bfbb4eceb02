"""One value as text: sizes, times, yes and no, and what is not there (pure).

As in Ganeti: `?` no data, `-` does not apply, `*` its node is offline, `??` unknown field; with
--verbose (nodata), (unavail), (offline), (unknown).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

NORMAL, UNKNOWN, NO_DATA, UNAVAILABLE, OFFLINE = range(5)

_SHORT = {UNKNOWN: "??", NO_DATA: "?", UNAVAILABLE: "-", OFFLINE: "*"}
_LONG = {
    UNKNOWN: "(unknown)",
    NO_DATA: "(nodata)",
    UNAVAILABLE: "(unavail)",
    OFFLINE: "(offline)",
}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STAMP = "stamp"  # what `timestamps` of jobs are, which Ganeti's fields call "other"

RIGHT = frozenset({"number", "float", "unit"})  # kinds of columns that are set flush right


def absent(status: int, *, verbose: bool) -> str:
    """Return what stands for a value that is not there."""
    return (_LONG if verbose else _SHORT)[status]


def size(mib: float, units: str = "h") -> str:
    """Return a size that is given in MiB. `units`: h (the nearest, with its letter), m, g or t."""
    if units == "m" or (units == "h" and mib < 1024):
        return f"{round(mib)}" + "M" * (units == "h")
    if units == "g" or (units == "h" and mib < 1024 * 1024):
        return f"{mib / 1024:.1f}" + "G" * (units == "h")
    return f"{mib / 1024 / 1024:.1f}" + "T" * (units == "h")


def moment(seconds: float) -> str:
    """Return a time, given in seconds since 1970 UTC, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def moment_ms(ms: int) -> str:
    """Return a time, given in ms since 1970 UTC, in local time with ms."""
    return f"{moment(ms // 1000)}.{ms % 1000:03}"


def count(number: int, noun: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def text(value: object, kind: str, units: str) -> str:
    """Return a value of a column of this kind."""
    if value is None:
        return "-"
    if kind == "unit" and isinstance(value, (int, float)):
        return size(value, units)
    if kind == "timestamp" and isinstance(value, (int, float)):
        return moment(value)
    if kind == STAMP:
        return _stamps(value)
    return plain(value)


def _stamps(value: object) -> str:
    """Return Ganeti's pairs of seconds and microseconds, one or a list of them."""
    match value:
        case [int() as seconds, int() as us]:
            return f"{moment(seconds)}.{us:06}"
        case list() | tuple():
            return ",".join(map(_stamps, value))
    return plain(value)


def plain(value: object) -> str:
    """Return a value whose kind says nothing about its form."""
    match value:
        case None:
            return "-"
        case bool():
            return "Y" if value else "N"
        case list() | tuple():
            return ",".join(map(_inner, value))
        case Mapping():
            return ", ".join(f"{key}={_inner(value[key])}" for key in sorted(value)) or "(empty)"
    return _CONTROL.sub(_escaped, str(value))


def _inner(value: object) -> str:
    """Return a part of a value: what has parts of its own stands in brackets."""
    if isinstance(value, (list, tuple, Mapping)):
        return f"({plain(value) if value else ''})"
    return plain(value)


def printable(text: str) -> str:
    """Return text of others (a script's output, a message) as it may go to a terminal.

    Ends of lines and tabs stay; other control characters, which could move the cursor or colour
    the screen, are shown as escapes.
    """
    return _CONTROL_BUT_LINES.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()

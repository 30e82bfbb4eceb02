"""What people write after an option, as values: Ganeti's rules (pure).

    key=value,flag,no_flag,-key     {"key": "value", "flag": True, "flag": False, "key": None}
    ident:key=value,...             ("ident", {...});  no_ident: ("ident", False), -ident: None
    a backslash before a comma or a backslash takes it as it is

Values stay text where the opcode knows their type: sizes, numbers and yes/no of parameters are
read, and refused, in one place for all ways in (commands/parse.py).
"""

from __future__ import annotations

import re

from shell.failure import BadUsage

KeyValues = dict[str, str | bool | None]
Ident = tuple[str, KeyValues | bool | None]

OLDEST_S = 1e12  # 30,000 years: whatever is older is as old
LARGEST = 2**63 - 1  # what a record of the log can hold

_DIGITS = len(str(LARGEST)) + 1  # with a sign; Python itself refuses to read some thousand

_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


def split_escaped(text: str, separator: str = ",") -> list[str]:
    r"""Split at separators that have no backslash before them; `\\` stands for one backslash."""
    parts, part, escaped = [], "", False
    for sign in text:
        if escaped:
            part += sign if sign in (separator, "\\") else "\\" + sign
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == separator:
            parts.append(part)
            part = ""
        else:
            part += sign
    parts.append(part + "\\" * escaped)
    return parts


def key_values(text: str, option: str) -> KeyValues:
    """Return `key=value,...` as a dict. Raises BadUsage for a key that stands twice."""
    found: KeyValues = {}
    for part in split_escaped(text) if text else []:
        key, equals, value = part.partition("=")
        key = key.strip()
        entry: str | bool | None = value
        if not equals and key.startswith("no_"):
            key, entry = key[3:], False
        elif not equals and key.startswith("-"):
            key, entry = key[1:], None
        elif not equals:
            entry = True
        if not key:
            raise BadUsage(f"{option}: no name before {part!r}", hint="write key=value,key=value")
        if key in found:
            raise BadUsage(f"{option}: {key} is given twice", hint="give each name once")
        found[key] = entry
    return found


def ident_key_values(text: str, option: str) -> Ident:
    """Return `ident:key=value,...` as (ident, dict)."""
    ident, _, rest = text.partition(":")
    if not rest and "=" not in ident:
        if ident.startswith("no_"):
            return ident[3:], False
        if ident.startswith("-") and not ident[1:].isdecimal():
            return ident[1:], None
    return ident, key_values(rest, option)


def spec_lists(text: str, option: str) -> list[dict[str, KeyValues]]:
    """Return `min:a=1/max:a=2//min:...` as a list of dicts."""
    specs = []
    for spec in text.split("//"):
        named: dict[str, KeyValues] = {}
        for part in split_escaped(spec, "/"):
            ident, values = ident_key_values(part, option)
            if not isinstance(values, dict):
                raise BadUsage(f"{option}: {part!r} has no values", hint="write name:key=value,...")
            named[ident] = values
        specs.append(named)
    return specs


def yes_or_no(text: str, option: str) -> bool:
    """Return a truth value. Raises BadUsage."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise BadUsage(f"{option}: {text!r} is neither yes nor no", hint="write yes or no")


def number(text: str, option: str) -> int:
    """Return a whole number. Raises BadUsage."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise BadUsage(f"{option}: {text!r} is not a whole number", hint="write digits only")
    if len(text) > _DIGITS or abs(int(text)) > LARGEST:
        raise BadUsage(f"{option}: the number is too large", hint=f"at most {LARGEST}")
    return int(text)


def maybe_float(text: str, option: str) -> float | str:
    """Return a number, or the word `default`. Raises BadUsage."""
    if text.lower() == "default":
        return "default"
    try:
        return float(text)
    except ValueError:
        raise BadUsage(f"{option}: {text!r} is not a number", hint="such as 1.5") from None


_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def age_s(text: str) -> float:
    """Return an age in seconds: `30`, `90m`, `2d`, `1w`. Raises BadUsage."""
    match = re.fullmatch(r"([0-9]+)([smhdw]?)", text)
    if match is None:
        raise BadUsage(f"{text!r} is not an age", hint="such as 3600, 90m, 12h, 2d, 1w, or all")
    age = number(match[1], "the age") * _AGES[match[2] or "s"]
    return min(float(age), OLDEST_S)

"""What people and clients write, turned into typed values, or refused with what is accepted (pure).

Ganeti's rules: a size is MiB unless it has a unit (`m`, `g`, `t`, binary multiples), and one that
was written as text is rounded up to a multiple of 4 MiB, the usual extent of LVM. In a set of
parameters the value `default`, or none at all, takes a setting back to what is inherited.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from commands.errors import WRONG_INPUT, Refused
from projections.objects import Params, Value
from projections.params import Parameter, Table

LARGEST = 2**53  # of numbers: whole ones up to it stay exact wherever they go, JSON included
_DIGITS = 18  # more are too large, and thousands would not even be read

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_UNITS = {
    **dict.fromkeys(("", "m", "mb", "mib"), 1),
    **dict.fromkeys(("g", "gb", "gib"), 1 << 10),
    **dict.fromkeys(("t", "tb", "tib"), 1 << 20),
}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
DEFAULT = "default"
MEMORY = "memory"  # stands for minmem and maxmem


def size_mib(value: Value, what: str) -> int:
    """Return a size in MiB. Raises Refused unless it is a positive number, with or without unit."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST:
        return value
    match = _SIZE.fullmatch(str(value).strip().lower())
    factor = _UNITS.get(match[2]) if match else None
    if match and factor is not None and 0 < (found := float(match[1]) * factor) <= LARGEST:
        return math.ceil(math.ceil(found) / 4) * 4
    raise Refused(
        WRONG_INPUT,
        f"{what}: {value!r} is not a size",
        hint="give a number of MiB above 0, or one with a unit: 512, 512m, 10g, 1.5t",
    )


def whole(text: str, what: str) -> int:
    """Return a whole number. Raises Refused, also for one beyond +-LARGEST."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise Refused(WRONG_INPUT, f"{what}: {text!r} is no whole number", hint="digits only")
    if len(text) > _DIGITS or abs(int(text)) > LARGEST:
        raise Refused(WRONG_INPUT, f"{what}: {text} is too large", hint=f"at most {LARGEST}")
    return int(text)


def host_name(text: str, what: str) -> str:
    """Return a name in lower case. Raises Refused unless it is a host name (RFC 1123)."""
    name = text.strip().lower()
    if len(name) <= 253 and _NAME.fullmatch(name):
        return name
    raise Refused(
        WRONG_INPUT,
        f"{text!r} cannot be the name of {what}",
        hint="letters, digits, - and _, in parts of at most 63 joined by dots",
    )


def choice(value: str, among: Iterable[str], what: str) -> str:
    """Return `value`, which must be one of `among`. Raises Refused with those there are."""
    known = sorted(among)
    if value in known:
        return value
    raise Refused(WRONG_INPUT, f"there is no {what} {value!r}", hint=f"one of {', '.join(known)}")


def modified(own: Params, changes: Mapping[str, Value], table: Table, what: str) -> Params:
    """Return what is set on an object after `changes`; an inherited value is not copied to it.

    Raises Refused for an unknown name, a value of the wrong type or out of its limits, or one that
    only the whole cluster may have.
    """
    result = dict(own)
    for name, value in _with_memory(changes, table).items():
        parameter = table.get(name)
        if parameter is None:
            raise _unknown(name, table, what)
        if (value is None and parameter.type != "maybe-string") or value == DEFAULT:
            result.pop(name, None)
            continue
        if parameter.cluster_global and what != CLUSTER:
            raise Refused(
                WRONG_INPUT,
                f"parameter {name} of {what} is the same for the whole cluster",
                hint=f"set {name} with gnt-cluster modify",
            )
        typed = name if name in changes else MEMORY
        result[name] = _typed(value, parameter, f"{what}: {typed}")
    return result


CLUSTER = "the cluster"  # as `what`: parameters that only the cluster has are accepted


def _with_memory(changes: Mapping[str, Value], table: Table) -> dict[str, Value]:
    """Put minmem and maxmem in the place of `memory`; one that is given itself wins."""
    if MEMORY not in changes or "minmem" not in table:
        return dict(changes)
    rest = {name: value for name, value in changes.items() if name != MEMORY}
    return {"minmem": changes[MEMORY], "maxmem": changes[MEMORY], **rest}


def _unknown(name: str, table: Table, what: str) -> Refused:
    known = sorted([*table, MEMORY] if "minmem" in table else table)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"one of {', '.join(known)}" if known else f"{what} has no parameters"
    if near:
        hint = f"did you mean {' or '.join(near)}? There are {', '.join(known)}"
    if name in (MEMORY, "vcpus", "maxmem", "minmem"):
        hint = f"{name} is a backend parameter: -B {name}=..."
    return Refused(WRONG_INPUT, f"{what} has no parameter {name}", hint=hint)


def _typed(value: Value, parameter: Parameter, what: str) -> Value:
    found = _converted(value, parameter.type, what)
    if parameter.choices and found not in parameter.choices and (found or parameter.required):
        accepted = ", ".join(str(each) for each in parameter.choices)
        raise Refused(WRONG_INPUT, f"{what} cannot be {value!r}", hint=f"one of {accepted}")
    if isinstance(found, int) and not isinstance(found, bool):
        _check_limits(found, parameter, what)
    if isinstance(found, str):
        _check_text(found, parameter, what)
    return found


def _check_limits(number: int, parameter: Parameter, what: str) -> None:
    low, high = parameter.ge, parameter.le
    if (low is not None and number < low) or (high is not None and number > high):
        limits = [f"at least {low}"] if low is not None else []
        limits += [f"at most {high}"] if high is not None else []
        raise Refused(WRONG_INPUT, f"{what} cannot be {number}", hint=" and ".join(limits))


def _check_text(text: str, parameter: Parameter, what: str) -> None:
    if not text:
        if parameter.required:
            raise Refused(WRONG_INPUT, f"{what} may not be empty", hint="`default` resets it")
        return
    if parameter.path and not _is_path(text, or_url=parameter.path == "or URL"):
        raise Refused(
            WRONG_INPUT, f"{what}: {text!r} is not a path", hint="an absolute path without . or .."
        )
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        raise Refused(
            WRONG_INPUT, f"{what} cannot be {text!r}", hint=f"it must match {parameter.pattern}"
        )


def _is_path(text: str, *, or_url: bool) -> bool:
    if or_url and re.match(r"(https?|ftps?)://", text):
        return True
    return text.startswith("/") and not {"", ".", ".."} & set(text[1:].split("/"))


def _converted(value: Value, kind: str, what: str) -> Value:
    text = str(value).strip()
    match kind:
        case "bool":
            if text.lower() in _TRUE:
                return True
            if text.lower() in _FALSE:
                return False
            raise Refused(WRONG_INPUT, f"{what}: {value!r} is not yes or no", hint="true or false")
        case "size":
            return size_mib(value, what)
        case "int":
            return whole(text, what)
        case "float":
            try:
                found = float(text)
            except ValueError:
                found = math.nan
            if math.isfinite(found):
                return found
            raise Refused(WRONG_INPUT, f"{what}: {value!r} is not a number", hint="such as 1.5")
        case "maybe-string":
            return None if value is None or text == "none" else text
        case "string":
            return text
    raise AssertionError(kind)

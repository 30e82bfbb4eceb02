"""The users that guests may run as with `security_model=pool`, as ranges of user ids (pure).

Kept as ranges that are sorted and apart, both ends included. Written as Ganeti does: text such as
`2000-2099,3000`, or pairs. A range is added or removed whole or in part; ids that are there already
or not there at all are no mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from commands.errors import WRONG_INPUT, Refused

Range = tuple[int, int]
_LAST = 2**32 - 3  # the two above stand for "no change" and "nobody" (setresuid(2))
_PART = re.compile(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?")


def uid_ranges(value: object, what: str) -> tuple[Range, ...]:
    """Return the ranges that text or pairs mean. Raises Refused."""
    parts = value.split(",") if isinstance(value, str) else value
    if parts in ("", []) or parts == [""]:
        return ()
    if not isinstance(parts, list | tuple):
        raise _wrong(f"{what}: {value!r} is no list of user ids")
    return _joined(tuple(_range(part, what) for part in parts))


def changed(
    now: tuple[Range, ...], *, add: tuple[Range, ...], remove: tuple[Range, ...]
) -> tuple[Range, ...]:
    """Return the pool with some ids more, and others fewer."""
    pool = list(_joined((*now, *add)))
    for first, last in remove:
        pool = [
            piece
            for low, high in pool
            for piece in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if piece[0] <= piece[1]
        ]
    return _joined(tuple(pool))


def text(pool: Iterable[Sequence[int]]) -> str:
    """Return the pool as it is written: `2000-2099,3000`."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in pool)


def _range(part: object, what: str) -> Range:
    if isinstance(part, str) and (match := _PART.fullmatch(part)):
        low, high = int(match[1]), int(match[2] or match[1])
    elif (
        isinstance(part, list | tuple)
        and len(part) == 2
        and all(type(end) is int for end in part)  # a bool is none
    ):
        low, high = part
    else:
        raise _wrong(f"{what}: {part!r} is no range of user ids")
    if not 0 < low <= high <= _LAST:
        raise _wrong(f"{what}: {low}-{high} are no user ids of guests; 0 is root")
    return low, high


def _joined(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    pool: list[Range] = []
    for low, high in sorted(ranges):
        if pool and low <= pool[-1][1] + 1:
            pool[-1] = pool[-1][0], max(high, pool[-1][1])
        else:
            pool.append((low, high))
    return tuple(pool)


def _wrong(problem: str) -> Refused:
    return Refused(WRONG_INPUT, problem, hint="such as 2000-2099,3000")

"""A moment as people write it: a seq, a clock time, or so long ago (pure but for the local zone).

90432                      the seq of a record
-15m  -2h  -3d             so long before now
10:42  10:42:07            today, or yesterday if that is still to come
2026-11-22 10:42  2026-11-22T10:42:07  2026-11-22T09:42:07Z  2026-11-22T10:42+01:00
"""

from __future__ import annotations

import datetime
import re

from commands.api import Moment
from shell.failure import BadUsage
from shell.values import age_s, number

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def parse_moment(text: str, now: datetime.datetime | None = None) -> Moment:
    """Return the moment. `now` is aware of its zone. Raises BadUsage."""
    now = now if now is not None else datetime.datetime.now().astimezone()
    if text.isascii() and text.isdecimal():
        return Moment(seq=number(text, "the record"))
    if text.startswith("-") and len(text) > 1:
        try:
            return _at(now - datetime.timedelta(seconds=age_s(text[1:])))
        except OverflowError:
            raise BadUsage(f"{text!r} is before all history", hint="such as -15m or -2d") from None
    clock = _CLOCK.fullmatch(text)
    try:
        if clock:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            found = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return _at(found if found <= now else found - datetime.timedelta(days=1))
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BadUsage(
            f"{text!r} is neither a seq nor a time",
            hint="such as 90432, 10:42, -15m, or '2026-11-22 10:42'",
        ) from None
    return _at(found if found.tzinfo else found.replace(tzinfo=now.tzinfo))


def _at(found: datetime.datetime) -> Moment:
    return Moment(time_ms=int(found.timestamp() * 1000))

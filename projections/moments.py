"""Which state a moment means: that after a record, or as of a time (pure).

What has not happened yet has no state, and neither has the time before the first record: both are
refused, with where the log begins or ends, instead of being answered with another moment's state.
A time after the last record and not after now is answered: nothing has happened since.
"""

from __future__ import annotations

import datetime

from projections.errors import ProjectionError
from projections.past import History

# The clocks of who asks and who answers differ a little, and `now` must not be the future.
CLOCKS_DIFFER_MS = 2000


class NoSuchMoment(ProjectionError):
    """The log has no state of that moment; `hint` says from when to when it has them."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def require_seq(seq: int, *, head: int, head_ms: int) -> None:
    """Raise NoSuchMoment unless the log reaches `seq`; its head is of the time `head_ms`."""
    if seq > head:
        raise NoSuchMoment(f"there is no record {seq} yet", hint=_ends(head, head_ms))
    if seq < 1:
        raise NoSuchMoment("records count from 1", hint=_ends(head, head_ms))


def require_time(time_ms: int, *, now_ms: int, head: int, head_ms: int) -> None:
    """Raise NoSuchMoment if a time is still to come."""
    if time_ms > now_ms + CLOCKS_DIFFER_MS:
        raise NoSuchMoment(f"{_text(time_ms)} is still to come", hint=_ends(head, head_ms))


def seq_at(history: History, time_ms: int) -> int:
    """Return the seq of the last record up to a time. Raises NoSuchMoment before the first one."""
    seq = history.seq_at(time_ms)
    if seq < 1:
        first = history.records(1, 1)
        begins = f"it begins at {_text(first[0].record.unix_ms)}" if first else "it is empty"
        raise NoSuchMoment(f"the log has nothing as old as {_text(time_ms)}", hint=begins)
    return seq


def _ends(head: int, head_ms: int) -> str:
    return f"the log ends with record {head}, of {_text(head_ms)}"


def _text(time_ms: int) -> str:
    """Return a time as people and `--at` read it, in UTC."""
    try:
        found = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms since 1970"
    return found.isoformat(timespec="seconds").replace("+00:00", "Z")

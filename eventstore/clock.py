"""The log's clock: wall time for people that never goes backwards in the log (pure).

A hybrid logical clock (Kulkarni et al., 2014): 48 bits of milliseconds since 1970 UTC, then 16 bits
that count what happened within one millisecond, or while the wall clock stood behind the log. Order
is `seq`; this is a label. The wall clock is an argument, so that nothing here reads one.
"""

from __future__ import annotations

COUNTER_BITS = 16


class HybridClock:
    """Give out times, each later than the one before, as near to the wall clock as that allows."""

    def __init__(self, last: int = 0) -> None:
        """`last` is the time of the last record in the log, 0 if it is empty."""
        self._last = last

    def ticks(self, now_ms: int, count: int) -> range:
        """Return the times of the next `count` records. `now_ms`: wall clock, ms since 1970 UTC.

        If the counter is full it runs over into the milliseconds: the time is then ahead of the
        wall clock, which is allowed, and still later than the one before, which is required.
        """
        first = max(self._last + 1, now_ms << COUNTER_BITS)
        times = range(first, first + count)
        self._last = times[-1]
        return times

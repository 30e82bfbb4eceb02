from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.clock import HybridClock

walls = st.lists(st.integers(0, 2**40))


@pytest.mark.property
@given(walls, st.integers(0, 2**56))
def test_time_never_goes_back_whatever_the_wall_clock_does(wall: list[int], last: int) -> None:
    """Each time is later than the one before, and never behind the wall clock."""
    clock = HybridClock(last)
    for now_ms in wall:
        for told in clock.ticks(now_ms, 2):
            assert told > last
            assert told >> 16 >= now_ms
            last = told


def test_a_wall_clock_that_goes_on_is_followed() -> None:
    """While the wall clock goes forward, the milliseconds are its own."""
    clock = HybridClock()
    told = [*clock.ticks(5, 1), *clock.ticks(5, 2), *clock.ticks(6, 1)]
    assert told == [5 << 16, (5 << 16) + 1, (5 << 16) + 2, 6 << 16]

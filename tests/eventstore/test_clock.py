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
        told = clock.tick(now_ms)
        assert told > last
        assert told >> 16 >= now_ms
        last = told


def test_a_wall_clock_that_goes_on_is_followed() -> None:
    """While the wall clock goes forward, the milliseconds are its own."""
    clock = HybridClock()
    assert [clock.tick(ms) for ms in (5, 5, 6)] == [5 << 16, (5 << 16) + 1, 6 << 16]

"""A moment has a state, or it is refused with where the log begins or ends."""

from __future__ import annotations

import pytest

from projections.moments import NoSuchMoment, require_seq, require_time

HOUR_MS = 3_600_000


@pytest.mark.parametrize("seq", [1, 7])
def test_a_record_that_is_there(seq: int) -> None:
    """From the first to the last."""
    require_seq(seq, head=7, head_ms=0)


@pytest.mark.parametrize("seq", [-1, 0, 8, 1 << 40])
def test_a_record_that_is_not_there(seq: int) -> None:
    """The hint says which is the last one, and of when."""
    with pytest.raises(NoSuchMoment) as refused:
        require_seq(seq, head=7, head_ms=HOUR_MS)
    assert refused.value.hint == "the log ends with record 7, of 1970-01-01T01:00:00Z"


def test_a_time_that_is_still_to_come() -> None:
    """Not one since the last record, nor one that two clocks see differently."""
    require_time(2 * HOUR_MS, now_ms=2 * HOUR_MS - 500, head=7, head_ms=HOUR_MS)
    with pytest.raises(NoSuchMoment, match="1970-01-01T03:00:00Z is still to come"):
        require_time(3 * HOUR_MS, now_ms=2 * HOUR_MS, head=7, head_ms=HOUR_MS)
    with pytest.raises(NoSuchMoment, match="is still to come"):
        require_time(1 << 62, now_ms=2 * HOUR_MS, head=7, head_ms=HOUR_MS)

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.storage.thinning import EVERY, allowed_gap, kept


@pytest.mark.property
@given(st.lists(st.integers(1, EVERY), min_size=1, max_size=400))
def test_the_nearest_snapshot_is_never_further_than_allowed(steps: list[int]) -> None:
    """However snapshots were made (at most EVERY apart), thinning as it goes keeps the bound."""
    have: set[int] = set()
    head = 0
    for step in steps:
        head += step
        have = kept({*have, head}, head)
    assert head in have
    points = [0, *sorted(have)]
    for older, newer in pairwise(points):
        assert newer - older <= allowed_gap(head - newer)


def test_a_million_records_keep_about_eighty_snapshots() -> None:
    """The number grows with the logarithm of the log."""
    have: set[int] = set()
    for head in range(EVERY, 1_000_000 + 1, EVERY):
        have = kept({*have, head}, head)
    assert 60 <= len(have) <= 90
    recent = sorted(seq for seq in have if seq >= 700_000)
    assert recent == list(range(700_000, 1_000_001, EVERY))

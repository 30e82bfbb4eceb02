"""Sums of sets name the buckets in which two sets differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.set_sums import BUCKETS, bucket_of, differing, sums_of

NAMES = st.sets(st.text(max_size=8), max_size=30)


@pytest.mark.property
@given(one=NAMES, other=NAMES)
def test_the_buckets_that_differ_are_those_of_the_names_that_differ(
    one: set[str], other: set[str]
) -> None:
    """No name that only one of them has is missed, and no other bucket is named."""
    found = differing(sums_of(one), sums_of(other))
    by_bucket = [
        ({name for name in one if bucket_of(name) == at}, {n for n in other if bucket_of(n) == at})
        for at in range(BUCKETS)
    ]
    assert list(found) == [at for at, (mine, yours) in enumerate(by_bucket) if mine != yours]


def test_what_is_no_list_of_sums_is_refused() -> None:
    """An answer of another number of buckets cannot be compared."""
    with pytest.raises(ValueError, match="shorter"):
        differing(sums_of("a"), (1, 2))

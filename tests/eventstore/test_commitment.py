from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.commitment import Announce, Commitment

VOTERS = ("a", "b", "c", "d", "e")
TOP = 20


@pytest.mark.property
@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, TOP))),
    st.integers(1, TOP),
)
def test_committed_is_what_a_majority_holds(
    voters: int, reports: list[tuple[int, int]], epoch_start: int
) -> None:
    """Whatever the order or repetition of reports, the machine agrees with the definition."""
    names = VOTERS[:voters]
    machine = Commitment(frozenset(names), epoch_start)
    held = dict.fromkeys(names, 0)
    announced = [0]
    for which, seq in reports:
        voter = names[which % voters]
        held[voter] = max(held[voter], seq)
        announced += [effect.committed for effect in machine.on_durable(voter, seq)]
        majority = max(s for s in range(TOP + 1) if 2 * sum(h >= s for h in held.values()) > voters)
        assert machine.committed == (majority if majority >= epoch_start else 0)
    assert announced == sorted(set(announced)), "an announcement went back or was repeated"


def test_one_voter_is_a_majority_of_one() -> None:
    """With one voter, durable is committed, from the epoch's first record on."""
    machine = Commitment(frozenset({"a"}), epoch_start=4, committed=3)
    assert machine.on_durable("a", 3) == ()
    assert machine.on_durable("a", 6) == (Announce(6),)

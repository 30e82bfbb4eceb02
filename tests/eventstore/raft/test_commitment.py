from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.raft.commitment import Announce, Commitment

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


@pytest.mark.property
@given(
    st.sets(st.sampled_from(VOTERS), min_size=1),
    st.sets(st.sampled_from(VOTERS), min_size=1),
    st.dictionaries(st.sampled_from(VOTERS), st.integers(0, TOP)),
    st.integers(1, TOP),
)
def test_another_set_of_voters_counts_from_what_each_holds(
    before: set[str], after: set[str], held: dict[str, int], epoch_start: int
) -> None:
    """After a change of voters the machine agrees with the definition, and never goes back."""
    machine = Commitment(frozenset(before), epoch_start)
    for voter in before:
        machine.on_durable(voter, held.get(voter, 0))
    known = machine.committed
    machine.on_voters(frozenset(after), held)
    values = [held.get(voter, 0) for voter in after]
    top = max(s for s in range(TOP + 1) if 2 * sum(v >= s for v in values) > len(values))
    reached = top if top >= epoch_start else 0
    assert machine.committed == max(known, reached)

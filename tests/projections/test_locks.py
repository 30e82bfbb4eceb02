"""The lock table: all or none, in turn, no deadlock, no starvation; against a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.errors import CorruptHistory
from projections.events.jobs import Lock
from projections.locks import LockTable, Request

A, B = Lock("a"), Lock("b")
SHARED_A = Lock("a", True)


def ask(table: LockTable, job: int, *locks: Lock, priority: int = 0) -> LockTable:
    """Grant the request, or let it wait: what a scheduler does."""
    request = Request(priority, job, locks)
    return table.wait(request) if table.behind(request) else table.grant(job, locks)


def test_shared_locks_are_held_together() -> None:
    """Two that share a lock hold it both; an exclusive request waits for both."""
    table = ask(ask(LockTable(), 1, SHARED_A), 2, SHARED_A)
    assert table.behind(Request(0, 3, (A,))) == (1, 2)
    table = table.release(1)
    assert table.behind(Request(0, 3, (A,))) == (2,)
    assert table.release(2) == LockTable()


def test_a_waiting_request_holds_back_younger_ones_that_conflict() -> None:
    """A reader does not pass a writer that came first, though it could share with the holder."""
    table = ask(ask(LockTable(), 1, SHARED_A), 2, A)
    assert table.behind(Request(0, 3, (SHARED_A,))) == (2,)
    assert table.behind(Request(-1, 3, (SHARED_A,))) == (), "a higher priority passes"
    assert table.behind(Request(0, 3, (B,))) == (), "what does not conflict passes"


def test_who_is_in_the_way_of_which_lock() -> None:
    """Holders and earlier requests, each with the locks that conflict, and no other."""
    table = ask(ask(LockTable(), 1, SHARED_A), 2, A, B)
    wanted = Request(0, 3, (B, SHARED_A, Lock("c")))
    assert table.in_the_way(wanted) == {2: ["a", "b"]}
    assert table.in_the_way(Request(0, 3, (A, SHARED_A))) == {1: ["a"], 2: ["a"]}
    assert tuple(table.in_the_way(wanted)) == table.behind(wanted)


def test_all_or_none() -> None:
    """Who waits for one lock holds none of the others."""
    table = ask(ask(LockTable(), 1, A), 2, A, B)
    assert table.owned.get(2) is None
    assert table.held.get("b") is None


def test_a_grant_that_contradicts_is_corrupt_history() -> None:
    """A lock that somebody holds exclusively cannot be taken; nor can a job take twice."""
    table = LockTable().grant(1, (A,))
    with pytest.raises(CorruptHistory):
        table.grant(2, (SHARED_A,))
    with pytest.raises(CorruptHistory):
        table.grant(1, (B,))


def test_exclusive_wins_over_shared_in_one_request() -> None:
    """A request that names a lock in both ways holds it exclusively."""
    table = LockTable().grant(1, (SHARED_A, A))
    assert table.behind(Request(0, 2, (SHARED_A,))) == (1,)
    assert table.release(1) == LockTable()


@dataclass
class Model:
    """The rules of projections/locks.py, word by word, in lists."""

    held: dict[int, tuple[Lock, ...]] = field(default_factory=dict)
    waiting: list[Request] = field(default_factory=list)

    def may(self, request: Request) -> bool:
        others = [locks for job, locks in self.held.items() if job != request.job]
        earlier = [
            other.locks
            for other in self.waiting
            if other.job != request.job and (other.priority, other.job) < request.turn
        ]
        return not any(conflict(request.locks, locks) for locks in others + earlier)


def conflict(one: tuple[Lock, ...], other: tuple[Lock, ...]) -> bool:
    return any(
        mine.name == theirs.name and not (mine.shared and theirs.shared)
        for mine in one
        for theirs in other
    )


LOCKS = st.lists(st.builds(Lock, st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=3)
STEPS = st.lists(st.tuples(LOCKS, st.integers(-1, 1), st.integers(0, 5)), max_size=40)


@pytest.mark.property
@given(STEPS)
def test_the_table_does_what_the_model_does(
    steps: list[tuple[list[Lock], int, int]],
) -> None:
    """After any story: the same holders and waiters as the model, no two holders in conflict,
    and whatever is released, in the end everybody has had its turn and the table is empty."""
    table, model = LockTable(), Model()
    for job, (locks, priority, release) in enumerate(steps, start=1):
        request = Request(priority, job, tuple(locks))
        assert (not table.behind(request)) == table.is_free(request) == model.may(request)
        table = ask(table, job, *locks, priority=priority)
        if model.may(request):
            model.held[job] = request.locks
        else:
            model.waiting.append(request)
        if release and model.held:
            table = _release(table, model, sorted(model.held)[release % len(model.held)])
        _compare(table, model)
    for _ in range(len(steps)):
        if model.held:
            table = _release(table, model, min(model.held))
            _compare(table, model)
    assert table == LockTable(), "somebody was never served"


def _release(table: LockTable, model: Model, job: int) -> LockTable:
    """Release, then serve those who wait for what was given back, in turn."""
    names = [lock.name for lock in model.held.pop(job)]
    before = table
    table = table.release(job)
    for waiter in before.waiters_for(names):
        request = table.waiting[waiter]
        if not table.behind(request):
            assert model.may(request)
            table = table.grant(waiter, request.locks)
            model.waiting.remove(request)
            model.held[waiter] = request.locks
    for request in sorted(model.waiting, key=lambda request: request.turn):
        assert not model.may(request), "somebody was forgotten"
    return table


def _compare(table: LockTable, model: Model) -> None:
    assert set(table.owned) == set(model.held)
    assert list(table.in_order()) == sorted(model.waiting, key=lambda request: request.turn)
    holders = list(model.held.values())
    for at, one in enumerate(holders):
        assert not any(conflict(one, other) for other in holders[at + 1 :])

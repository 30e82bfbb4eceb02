"""Deadlines: from when this leader saw the step, never early, also after a failover."""

from __future__ import annotations

import msgspec
import pytest

from commands.engine.draws import RandomDraws, SeededDraws
from commands.engine.timers import LONGEST_PAUSE_S, SKEW_S, Key, Timers, pause_s
from eventstore.packed import Packed
from projections.job_state import Job, OpState, PlanState, StepState
from projections.plans import Plan, Wait

NIL = msgspec.Raw(b"\xc0")
KEY = Key(0, 0, "w", "sent", 1)


def waiting(sent_ms: int) -> Job:
    plan = Plan(steps=(Wait(id="w", timeout_s=60.0),))
    state = PlanState(
        plan=plan, given=NIL, steps=(StepState(state="sent", attempt=1, sent_ms=sent_ms),)
    )
    op = OpState(op=Packed("x", 1, NIL), summary="X", status="running", plans=(state,))
    return Job(id=1, actor="operator:alice", ops=(op,))


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("log_ms", "left_s"),
    [
        (None, 60.0),  # within a reign
        (1_000_000, 60.0),  # a failover at once
        (1_000_000 + 5_000, 60.0),  # less than the skew
        (1_000_000 + 30_000, 60.0 - (30.0 - SKEW_S)),
        (1_000_000 - 30_000, 60.0),  # the clock of the new leader is behind
        (1_000_000 + 600_000, 0.0),  # over long ago
    ],
)
def test_what_is_left_of_a_wait(log_ms: int | None, left_s: float) -> None:
    """It is due when what is left is over, and not a moment before."""
    clock = Clock(500.0)
    timers = Timers(clock)
    timers.watch(waiting(1_000_000), log_ms=log_ms)
    assert timers.over(1, KEY, 60.0) == (left_s == 0.0)
    clock.now_s += max(0.0, left_s - 0.01)
    assert timers.over(1, KEY, 60.0) == (left_s == 0.0)
    clock.now_s += 0.02
    assert timers.due() == {1}
    assert timers.over(1, KEY, 60.0)


def test_seeing_a_step_again_does_not_start_its_time_again() -> None:
    """A step is watched at every commit of its job; the first one counts."""
    clock = Clock(0.0)
    timers = Timers(clock)
    for clock.now_s in (0.0, 30.0, 59.0):
        timers.watch(waiting(1))
    clock.now_s = 60.0
    assert timers.over(1, KEY, 60.0)
    timers.forget(1)
    assert timers.next_s is None
    assert not timers.over(1, KEY, 60.0)


def test_pauses_grow_to_a_limit() -> None:
    """1, 2, 4 seconds, and at most half a minute."""
    assert [pause_s(tried) for tried in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert pause_s(50) == LONGEST_PAUSE_S


def test_seeded_draws_follow_from_the_place() -> None:
    """The same opcode of another run has the same seed; another one has another."""
    one, other = SeededDraws("lab", lambda: 7), SeededDraws("lab", lambda: 8)
    assert one.seed(1, 0, 0) == other.seed(1, 0, 0)
    assert one.seed(1, 0, 0) == one.seed(1, 0, 1), "an opcode may need to look first, or not"
    assert one.seed(1, 0, 0) != one.seed(1, 1, 0)
    assert one.seed(1, 0, 0) != SeededDraws("lab2").seed(1, 0, 0)
    assert len(RandomDraws().seed(1, 0, 0)) == len(one.seed(1, 0, 0)) == 16
    assert RandomDraws().seed(1, 0, 0) != RandomDraws().seed(1, 0, 0)

"""What a machine wants is carried out, and told, in order and within a turn's time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import pytest

from eventstore.voter.turns import Turns

Call = Callable[[], None]


class Booked:
    """A call in the future that remembers whether it was given up."""

    cancelled = False

    def cancel(self) -> None:
        """Do not call."""
        self.cancelled = True


class Desk:
    """A machine that wants what the test says, on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.deadline_ms = 101_000
        self.wants: deque[Call] = deque()
        self.posted: deque[Call] = deque()
        self.booked: list[tuple[float, Booked]] = []
        self.fire: list[Call] = []
        self.ticks = 0
        self.turns = Turns(
            take=self._take,
            tick=self._tick,
            deadline_ms=lambda: self.deadline_ms,
            post=self.posted.append,
            call_at=self._call_at,
            boot_s=lambda: self.now_s,
        )

    def _take(self) -> bool:
        if not self.wants:
            return False
        self.wants.popleft()()
        return True

    def _tick(self) -> None:
        self.ticks += 1

    def _call_at(self, due_s: float, call: Call) -> Booked:
        self.booked.append((due_s, Booked()))
        self.fire.append(call)
        return self.booked[-1][1]

    def turn(self) -> None:
        """Run what was posted until now."""
        for _ in range(len(self.posted)):
            self.posted.popleft()()


def test_what_it_led_to_is_told_before_it_is_asked_again() -> None:
    """Each thing that the machine said is told in its order; what must come next comes next."""
    desk, said = Desk(), list[str]()

    def first() -> None:
        desk.turns.tell(lambda: said.append("b"))
        desk.turns.tell(lambda: said.append("c"))
        desk.turns.tell_next(lambda: said.append("a"))

    desk.wants += [first, lambda: said.append("d")]
    desk.turns.wake()
    desk.turns.wake()
    assert len(desk.posted) == 1
    desk.turn()
    assert said == list("abcd")


def test_one_that_raises_does_not_swallow_the_next() -> None:
    """The error comes out, and the rest is told in the next turn."""
    desk, said = Desk(), list[str]()

    def fail() -> None:
        raise RuntimeError("a bug in a fold")

    desk.turns.tell(fail)
    desk.turns.tell(lambda: said.append("next"))
    with pytest.raises(RuntimeError):
        desk.turns.pump()
    assert said == []
    desk.turn()
    assert said == ["next"]


def test_a_long_tale_is_told_in_several_turns() -> None:
    """After 50 ms of telling the rest waits for the next turn; at the end nothing waits."""
    desk, said = Desk(), list[int]()

    def slowly(n: int) -> None:
        desk.now_s += 0.04
        said.append(n)

    for n in range(4):
        desk.turns.tell(lambda n=n: slowly(n))  # type: ignore[misc]  # a default
    desk.turns.pump()
    assert said == [0, 1]
    desk.turns.pump(math.inf)
    assert said == [0, 1, 2, 3]


def test_it_is_called_when_its_time_has_come() -> None:
    """An earlier deadline replaces a later one; a later one waits for the call that is booked."""
    desk = Desk()
    desk.turns.pump()
    desk.deadline_ms = 100_500
    desk.turns.pump()
    desk.deadline_ms = 102_000
    desk.turns.pump()
    assert [(due_s, booked.cancelled) for due_s, booked in desk.booked] == [
        (101.0005, True),
        (100.5005, False),
    ]
    desk.fire[-1]()
    assert desk.ticks == 1
    assert desk.booked[-1][0] == 102.0005
    desk.turns.stop()
    assert desk.booked[-1][1].cancelled

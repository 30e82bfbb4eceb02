"""Lines for the person who waits are thinned out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.feedback import PERIOD_S, FeedbackGate
from nodeagent.task_scope import Progress


def test_the_first_line_comes_at_once_and_the_next_a_second_later() -> None:
    """Between them the newest percentage replaces the older one."""
    gate = FeedbackGate()
    gate.say(10.0, "t", Progress("0 %", 0.0))
    assert [line.text for line in gate.due(10.0)] == ["0 %"]
    for percent in (1.0, 2.0):
        gate.say(10.1, "t", Progress(f"{percent:.0f} %", percent))
    assert gate.due(10.5) == []
    assert gate.next_at() == 11.0
    (line,) = gate.due(11.0)
    assert (line.text, line.percent) == ("2 %", 2.0)
    assert gate.next_at() is None


def test_lines_of_output_are_joined() -> None:
    """None of what a script prints is lost, as long as it fits."""
    gate = FeedbackGate()
    for text in ("one", "two", "three"):
        gate.say(0.0, "t", Progress(text))
    assert [line.text for line in gate.due(0.0)] == ["one\ntwo\nthree"]


def test_a_long_line_keeps_its_end() -> None:
    """At most 4 KiB travel."""
    gate = FeedbackGate()
    gate.say(0.0, "t", Progress("x" * 10_000 + "end"))
    (line,) = gate.due(0.0)
    assert len(line.text) == 4096
    assert line.text.endswith("end")


def test_a_task_that_has_ended_says_nothing() -> None:
    """Its result says more."""
    gate = FeedbackGate()
    gate.say(0.0, "t", Progress("late"))
    gate.ended("t")
    assert gate.due(5.0) == []
    assert gate.next_at() is None


@pytest.mark.property
@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from(["a", "b"])), max_size=40))
def test_never_more_than_one_line_a_second_for_each_task(said: list[tuple[float, str]]) -> None:
    """Whatever tasks say, and whenever."""
    gate, now = FeedbackGate(), 0.0
    last: dict[str, float] = {}
    for passed_s, task in said:
        now += passed_s
        gate.say(now, task, Progress("x", 1.0))
        for line in gate.due(now):
            assert now - last.get(line.task, -PERIOD_S) >= PERIOD_S
            last[line.task] = now

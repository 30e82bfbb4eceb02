"""Lines for the person who waits, at most one a second for each task (pure).

A line that comes too early waits; a newer one replaces it if it only moves a number on, else they
are joined, the end being kept. What is left when the task ends is not said: its result says more.
"""

from __future__ import annotations

from nodeagent.calls import Feedback
from nodeagent.task_scope import Progress

PERIOD_S = 1.0
_MAX_BYTES = 4096


class FeedbackGate:
    """Thins out the lines of the tasks that run. `now` is any steady clock, in seconds."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._kept: dict[str, Progress] = {}

    def say(self, now: float, task: str, line: Progress) -> None:
        """A task has something to say."""
        kept = self._kept.get(task)
        if kept is not None and line.percent is None:
            text = f"{kept.text}\n{line.text}"[-_MAX_BYTES:]
            line = Progress(text, kept.percent, kept.eta_s)
        self._kept[task] = line
        self._said.setdefault(task, now - PERIOD_S)

    def due(self, now: float) -> list[Feedback]:
        """Return what may be said now."""
        ready = [task for task in self._kept if now - self._said[task] >= PERIOD_S]
        lines = []
        for task in ready:
            line = self._kept.pop(task)
            self._said[task] = now
            text = line.text.encode()[-_MAX_BYTES:].decode(errors="replace")
            lines.append(Feedback(task=task, text=text, percent=line.percent, eta_s=line.eta_s))
        return lines

    def next_at(self) -> float | None:
        """When something will be due, None if nothing waits."""
        return min((self._said[task] + PERIOD_S for task in self._kept), default=None)

    def ended(self, task: str) -> None:
        """The task has ended: forget its lines."""
        self._kept.pop(task, None)
        self._said.pop(task, None)

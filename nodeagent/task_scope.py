"""What holds a running call: how long it may take, whether it must stop, a way to speak (edge).

A driver's method blocks a worker's thread. Nothing can end a thread from outside, so whatever may
take long asks here: `wait` instead of sleeping, `check` between steps, `on_stop` to have what it
started (a process) ended. The agent's loop calls `stop` when the task's time is over or the leader
withdraws it; the driver then sees `Stopped` at its next question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nodeagent.errors import Stopped


class Progress(NamedTuple):
    """A line for the person who waits."""

    text: str
    percent: float | None = None
    eta_s: float | None = None


class TaskScope:
    """One execution of one call. `stop` comes from the agent's loop, the rest from the worker."""

    def __init__(self, say: Callable[[Progress], None] = lambda _: None) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._why: tuple[str, str] = ("stopped", "")
        self._on_stop: list[Callable[[], None]] = []

    def feedback(
        self, text: str, *, percent: float | None = None, eta_s: float | None = None
    ) -> None:
        """Tell the person who waits. Called as often as one likes: the agent thins it out."""
        self._say(Progress(text, percent, eta_s))

    def stop(self, code: str, message: str) -> None:
        """Ask the call to end. Only the first reason counts. `code`: timeout, stopped."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._why = (code, message)
            self._stopped.set()
            callbacks = list(self._on_stop)
        for callback in callbacks:
            callback()

    @property
    def stopping(self) -> bool:
        """Whether the call was asked to end."""
        return self._stopped.is_set()

    def stopped(self, *, left: str = "", output: str = "") -> Stopped:
        """Return the error to raise once the call has ended early. `left`: what may remain."""
        code, message = self._why
        return Stopped(code, f"{message}; {left}" if left else message, output=output)

    def check(self, *, left: str = "") -> None:
        """Raises Stopped if the call was asked to end."""
        if self._stopped.is_set():
            raise self.stopped(left=left)

    def wait(self, seconds: float, *, left: str = "") -> None:
        """Sleep. Raises Stopped as soon as the call is asked to end."""
        if self._stopped.wait(seconds):
            raise self.stopped(left=left)

    @contextmanager
    def on_stop(self, callback: Callable[[], None]) -> Iterator[None]:
        """Within the block, `stop` also calls `callback` (at once, if it was called already)."""
        with self._lock:
            self._on_stop.append(callback)
            late = self._stopped.is_set()
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._on_stop.remove(callback)

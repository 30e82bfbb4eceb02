"""Time and chance of a simulation: one queue of events and one random generator.

Everything that happens is a call at a time; calls of the same time happen in the order in which
they were asked for. A seed therefore decides everything, and a run can be replayed bit for bit.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

HEAL_MS, LAST_WRITE_MS, END_MS = 45_000, 50_000, 60_000  # of a run


class Violation(AssertionError):
    """An invariant does not hold."""


class Kernel:
    """The clock, the queue, the dice, and the trace."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.now_ms = 0
        self.rng = random.Random(seed)
        self.events = 0
        self._verbose = verbose
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.trace: list[str] = []

    def at(self, time_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Call later, at `time_ms` (now, if that is past)."""
        self._count += 1
        heapq.heappush(self._queue, (max(time_ms, self.now_ms), self._count, call, args))

    def after(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Call later, in `delay_ms`."""
        self.at(self.now_ms + delay_ms, call, *args)

    def run_until(self, end_ms: int) -> None:
        """Let everything happen that happens up to `end_ms`."""
        queue = self._queue
        while queue and queue[0][0] <= end_ms:
            self.now_ms, _, call, args = heapq.heappop(queue)
            self.events += 1
            call(*args)
        self.now_ms = end_ms

    def say(self, who: str, what: str, *args: object) -> None:
        """Note something for whoever replays the seed."""
        if self._verbose:
            line = f"{self.now_ms:6d} {who}: {what % args if args else what}"
            self.trace.append(line)
            print(line)

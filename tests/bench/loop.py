"""The least reactor there can be: run what was posted, in order, on this thread."""

from __future__ import annotations

import queue
from collections.abc import Callable


class Loop:
    """What a log posts its callbacks to."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.post = self._posted.put

    def run_until(self, holds: Callable[[], bool]) -> None:
        """Run what is posted until the condition holds."""
        while not holds():
            self._posted.get(timeout=60)()

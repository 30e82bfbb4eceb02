"""Threads that run blocking calls (edge).

Daemon threads, made when first needed: a driver that hangs in the kernel must not keep the agent
from ending. (`concurrent.futures` joins its threads at exit.)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Workers:
    """At most `limit` threads; more work waits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def run(self, work: Callable[[], None]) -> None:
        """Call `work` on a thread. It must not raise."""
        if not self._idle.acquire(blocking=False) and self._threads < self._limit:
            self._threads += 1
            name = f"worker-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._work.put(work)

    def _serve(self) -> None:
        while True:
            self._work.get()()
            self._idle.release()

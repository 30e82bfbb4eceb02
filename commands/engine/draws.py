"""Where the given values of decisions come from: chance, time, what was seen (edge of the engine).

Drawn by the leader alone, once for each decision, and recorded with the plan.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from nodeagent.calls import NodeStatus

SEED_BYTES = 16

# The last status of those of the nodes (uuids) that were heard
Look = Callable[[Iterable[str]], Mapping[str, NodeStatus]]


class Draws(Protocol):
    """Time and chance."""

    def now_ms(self) -> int:
        """Return the wall clock, ms since 1970 UTC."""

    def seed(self, job: int, op: int, plan: int) -> bytes:
        """Return 16 bytes for one decision."""


class RandomDraws:
    """Chance of the operating system: what a real cluster uses."""

    def now_ms(self) -> int:
        """Return the wall clock, ms since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def seed(self, job: int, op: int, plan: int) -> bytes:
        """Return 16 random bytes."""
        return os.urandom(SEED_BYTES)


class SeededDraws:
    """The same chance for the same opcode in every run with the same secret: labs and tests.

    Whether a handler has to look at nodes first depends on what was heard by then, so the number of
    the plan makes no difference here.
    """

    def __init__(
        self, secret: str, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._secret = secret.encode()
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the clock that it was made with, ms since 1970 UTC."""
        return self._now_ms()

    def seed(self, job: int, op: int, plan: int) -> bytes:
        """Return 16 bytes that follow from the secret, the job and the opcode."""
        place = f"{job}/{op}".encode()
        return hmac.new(self._secret, place, hashlib.sha256).digest()[:SEED_BYTES]

"""Faults on purpose: die, or run out of disk, at one chosen record (for tests and the lab).

`CAIRN_FAULT` names one fault:

    kill:before:SEQ    SIGKILL this process before the transaction that would hold record SEQ
    kill:unmarked:SEQ  once it is durable in the log, before the ack mark is written
    kill:after:SEQ     once it is durable and marked, before anybody is told
    full:after:SEQ     from the transaction after the one that holds SEQ on, the disk is full

So that each record is reachable, the writer ends a group of batches before and after the batch that
holds SEQ. Unset, there is no object to ask and nothing is done.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from eventstore.errors import DiskFull

VARIABLE = "CAIRN_FAULT"
_KNOWN = frozenset({("kill", "before"), ("kill", "unmarked"), ("kill", "after"), ("full", "after")})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault at one record."""

    what: str  # kill or full
    when: str  # before, unmarked or after
    seq: int

    def cuts(self, first: int, last: int) -> bool:
        """Say whether the batch of records first..last must be a transaction of its own."""
        return first <= self.seq <= last

    def before_commit(self, first: int, last: int) -> None:
        """Called before the transaction of records first..last. Raises DiskFull if so ordered."""
        if self.what == "full" and first > self.seq:
            raise DiskFull(f"no room for record {first} ({VARIABLE})")
        self._kill("before", first, last)

    def after_commit(self, first: int, last: int) -> None:
        """Called when the records are durable in the log, before the ack mark is."""
        self._kill("unmarked", first, last)

    def after_mark(self, first: int, last: int) -> None:
        """Called when the records are durable and marked, before anybody is told."""
        self._kill("after", first, last)

    def _kill(self, when: str, first: int, last: int) -> None:
        if self.what == "kill" and self.when == when and self.cuts(first, last):
            os.kill(os.getpid(), signal.SIGKILL)


def parse(value: str) -> Fault | None:
    """Return the fault that `value` names, None for "". Raises ValueError for anything else."""
    if not value:
        return None
    parts = value.split(":")
    if len(parts) != 3 or (parts[0], parts[1]) not in _KNOWN or not parts[2].isdecimal():
        known = ", ".join(sorted(f"{what}:{when}:SEQ" for what, when in _KNOWN))
        raise ValueError(f"{VARIABLE}={value}: expected one of {known}")
    return Fault(parts[0], parts[1], int(parts[2]))


def from_environment() -> Fault | None:
    """Return the fault that this process was started with, if any."""
    return parse(os.environ.get(VARIABLE, ""))

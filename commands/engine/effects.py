"""What the engine asks of the daemon that runs it (pure data)."""

from __future__ import annotations

import msgspec

from commands.api import JobOrderReply, Submitted
from eventstore.record import Batch
from eventstore.replica import Outcome


class Propose(msgspec.Struct, frozen=True):
    """Propose this batch, and call `Engine.on_outcome(token, outcome)` with what became of it."""

    token: int
    batch: Batch
    purpose: str  # for the daemon's log


class WakeAt(msgspec.Struct, frozen=True):
    """Call `Engine.on_tick` at this time of CLOCK_BOOTTIME. It replaces an earlier wish."""

    boot_s: float


class Answer(msgspec.Struct, frozen=True):
    """A request that came with `ticket` is through. With `outcome` Committed, `body` is the reply
    (None: empty); else nothing is known to have been recorded."""

    ticket: int
    outcome: Outcome
    body: Submitted | JobOrderReply | None = None


Effect = Propose | WakeAt | Answer

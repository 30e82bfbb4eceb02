"""What an operator must know of until it is settled (pure data)."""

from __future__ import annotations

import msgspec

from eventstore.packed import Packed


class Parked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An opcode that needs attention: it keeps its locks until `gnt-job resolve`."""

    summary: str
    message: str  # why it goes neither forward nor back
    left: tuple[str, ...] = ()  # what is left where, for people


class Duty(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The undo of something that a node owes, though the job that asked for it is over.

    `failed` says why the last try failed; empty while the node is still to do it.
    """

    node: str  # uuid
    job: int
    what: str  # for people
    task: str  # its present try
    attempt: int = 1
    call: Packed | None = None  # None: recorded before duties could be tried again
    resource: str = ""
    timeout_s: float = 300.0
    failed: str = ""

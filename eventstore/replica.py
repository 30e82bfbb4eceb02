"""The one joint between the log and all that stands on it: propose, committed, leadership (pure).

Everything above the log sees it only through `Replica`. `quorum.py` implements it, for one voter as
for many:

    propose -> encode (leader) -> durable here -> durable on a majority -> committed
            -> `on_committed` callbacks, in order, whole batches -> published

The rules that every implementation keeps (REPLICATION R1, R4, R7, R12):

- nothing external (a reply, a publication, a task) happens before commit;
- callbacks run on the reactor's thread, in order of seq, each batch exactly once per process;
- `done` of a proposal is called once, after the `on_committed` callbacks of its batch;
- on loss of leadership every open proposal ends as `Unknown`, never as committed;
- N = 1 takes the same path as N = 3; there is no other implementation (ADR 130).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from eventstore.record import Batch, Epoch, Stored


class Committed(msgspec.Struct, frozen=True):
    """The batch is durable on a majority; it was folded before this was said."""

    records: tuple[Stored, ...]
    repeated: bool = False  # the idempotency key was known: this is what it did the first time


class Refused(msgspec.Struct, frozen=True):
    """Nothing was appended and nothing will be. `code`: clash, not-leader, disk-full, too-large,
    key-expired. For clash, `stream`, `expected` and `actual` are set."""

    code: str
    message: str
    hint: str = ""
    stream: str = ""
    expected: int = 0
    actual: int = 0


class Unknown(msgspec.Struct, frozen=True):
    """It may or may not become committed. Ask again with the same idempotency key."""

    message: str


Outcome = Committed | Refused | Unknown


class Leadership(msgspec.Struct, frozen=True):
    """Who leads, as far as this voter knows. `ready`: the no-op of this epoch is committed."""

    epoch: Epoch
    leader: str | None
    here: bool
    ready: bool

    @property
    def level(self) -> bool:
        """Whether this voter has whatever was acknowledged; any other may lag."""
        return self.here and self.ready


class Replica(Protocol):
    """One voter's view of the replicated log."""

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""

    @property
    def committed(self) -> int:
        """Seq of the last committed record, 0 if none."""

    @property
    def leadership(self) -> Leadership:
        """Who leads now."""

    def propose(self, batch: Batch, done: Callable[[Outcome], None]) -> None:
        """Ask for `batch` to be appended; `done` hears once what became of it. Never blocks.

        Stream versions are checked against what has been *appended*, so proposals may be pipelined.
        """

    def version(self, stream: str) -> int:
        """Return the version of a stream as appended so far (committed or not), 0 if none."""

    def on_committed(self, callback: Callable[[Sequence[Stored]], None]) -> None:
        """Call `callback` with each batch that becomes committed from now on."""

    def on_leadership(self, callback: Callable[[Leadership], None]) -> None:
        """Call `callback` at every change of leadership."""

    def read(self, first: int, last: int) -> Sequence[Stored]:
        """Return the committed records first..last (inclusive; capped to the committed head)."""

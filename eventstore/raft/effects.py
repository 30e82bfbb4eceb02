"""What the core asks its runner to do (pure). The order in which to do it is in core.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from eventstore.raft.entry import Entry
from eventstore.raft.messages import Message, SegmentOffer
from eventstore.raft.state import HardState
from eventstore.record import Epoch
from eventstore.replica import Leadership
from eventstore.storage.ack_mark import Mark


class Persist(NamedTuple):
    """Make this durable: one transaction in the log's file, then the mark; then tell `advance`.

    In this order within the transaction: move the rows from `truncate_from` on into `orphans`
    (0: none), add the rows of `entries`, set the epoch and the vote.
    """

    ticket: int  # 1, 2, 3, ...: to be made durable in this order; several may share a transaction
    hard: HardState
    truncate_from: int
    entries: tuple[Entry, ...]
    mark: Mark
    retry: bool  # after `no_room`: the writer drops every Persist until one that says so


class Outgoing(NamedTuple):
    """A message that may be sent now: whatever it depends on is durable."""

    to: str
    message: Message


class ReadReady(NamedTuple):
    """A linearizable read may be answered once the fold has reached `seq`; None: ask again
    elsewhere, this voter does not lead any more."""

    request: int
    seq: int | None


class ShipSegment(NamedTuple):
    """Send the committed records first..last to this peer, over the bulk socket (segments.py)."""

    to: str
    first: int
    last: int


class ReceiveSegment(NamedTuple):
    """Fetch this segment, verify it, append it, and say `installed` or `install_failed`."""

    offer: SegmentOffer


class Alarm(NamedTuple):
    """Something that an operator should hear of. `code` is stable, `message` is for people."""

    code: str
    message: str


@dataclass(slots=True)
class Ready:
    """What is to be done, in the order of the fields."""

    persist: Persist | None = None
    messages: list[Outgoing] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)  # each once, in order; durable here too
    leadership: Leadership | None = None  # it changed; if `here` ended, open proposals are Unknown
    reads: list[ReadReady] = field(default_factory=list)
    segments: list[ShipSegment | ReceiveSegment] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    dropped_from: int = 0  # these records of the leader's own were never appended: Refused
    begin: Epoch | None = None  # this voter won: place EpochStarted in this epoch and propose it

    def __bool__(self) -> bool:
        return bool(
            self.persist
            or self.messages
            or self.committed
            or self.leadership
            or self.reads
            or self.segments
            or self.alarms
            or self.dropped_from
            or self.begin
        )

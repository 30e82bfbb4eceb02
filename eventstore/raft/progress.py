"""What a leader knows of one peer, and what it may send it (R16, pure). After etcd's progress.

    PROBE     where the logs agree is not known: one question (an empty append) at a time
    STREAM    appends go out without waiting, up to `in_flight` of them; `next` runs ahead
    SEGMENT   far behind: records travel in bulk, meanwhile heartbeats only (segments.py)

A lost append shows by the next heartbeat, which asks about the record before `next`; the refusal
says where to go on. Each search for agreement has a number, and refusals of appends that were sent
before it began are not listened to: when a window of appends arrives in disorder all but one are
refused, and each refusal would send the whole window again. Answers of another reign were dropped
before they come here, and within a reign `match` falls only for a peer that lost what it had
acknowledged (or seems to, for a moment), so late, repeated and reordered answers are harmless.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from eventstore.raft.state import DiskState


class Pace(Enum):
    """How a peer is served."""

    PROBE = "probe"
    STREAM = "stream"
    SEGMENT = "segment"


@dataclass(slots=True)
class Progress:
    """One peer, as its leader knows it. `match`: durable there and equal to our log."""

    name: str
    inc: bytes
    next: int
    heard_ms: int
    match: int = 0
    pace: Pace = Pace.PROBE
    waiting: bool = False  # PROBE: the question is under way
    in_flight: deque[int] = field(default_factory=deque)  # last seq of each append under way
    disk: DiskState = DiskState.OK
    fsync_ms: float = 0.0
    told_commit: int = 0
    attempt: int = 0
    segment_ms: int = 0  # SEGMENT: when it last went on
    older: bool = False  # it is in an earlier generation: show it the takeover
    entries_until_ms: int = 0  # it refused a segment: send it entries for a while

    def may_stream(self, limit: int) -> bool:
        """Say whether entries may be sent now."""
        return self.pace is Pace.STREAM and len(self.in_flight) < limit

    def on_sent(self, last: int | None) -> None:
        """Note that entries up to `last` were sent; None: an append without any."""
        self.waiting = True
        if last is not None:
            self.next = last + 1
            self.in_flight.append(last)

    def on_match(self, seq: int, attempt: int) -> bool:
        """Note that the peer holds the log durably up to `seq`; say whether that is new."""
        while self.in_flight and self.in_flight[0] <= seq:
            self.in_flight.popleft()
        news = seq > self.match
        self.match = max(self.match, seq)
        if self.pace is Pace.PROBE and attempt == self.attempt:
            self.pace, self.waiting = Pace.STREAM, False
        self.next = max(self.next, self.match + 1)
        return news

    def on_conflict(self, attempt: int, refused: int, agreed: int) -> None:
        """Note that the peer refused an append of this attempt, which stood behind record
        `refused`; look again behind `agreed`.

        Asked about what it had acknowledged, it says no: its disk has lost it (R9). What it had
        acknowledged was counted, and does not vote; from here on it is sent it anew.
        """
        if attempt != self.attempt or self.pace is Pace.SEGMENT:
            return
        if self.pace is Pace.PROBE and refused <= self.match:
            self.match = min(self.match, agreed)
        self.probe(max(agreed, self.match) + 1)

    def probe(self, following: int, *, waiting: bool = False) -> None:
        """Find out whether the logs agree up to the record before `following`.

        `waiting`: not before the next heartbeat.
        """
        self.pace, self.waiting, self.next = Pace.PROBE, waiting, following
        self.attempt += 1
        self.in_flight.clear()

    def begin_segment(self, now_ms: int) -> None:
        """Only heartbeats from here on; they ask about what is known to agree."""
        self.pace, self.segment_ms, self.next = Pace.SEGMENT, now_ms, self.match + 1
        self.in_flight.clear()

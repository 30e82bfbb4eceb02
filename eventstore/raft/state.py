"""Who a voter is, what it must remember, and how patient it is (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from eventstore.record import Epoch


class Identity(NamedTuple):
    """A voter's name and the random id of its storage. A new disk is a new voter."""

    name: str
    inc: bytes


NOBODY = Identity("", b"")


class HardState(NamedTuple):
    """What must be on the disk before anybody hears of it (R1)."""

    epoch: Epoch
    vote: Identity  # for whom it voted in this term; NOBODY: still free


class Role(Enum):
    """What a voter does in its term."""

    FOLLOWER = "follower"  # also a learner, and a voter that recovers
    CANDIDATE = "candidate"  # asks for votes, or for the promise of votes
    LEADER = "leader"


class DiskState(Enum):
    """How a voter's disk does, as it tells the leader (R14)."""

    OK = 0
    LOW = 1  # less than a twentieth is free: it should not lead
    FULL = 2  # it acknowledges nothing more until there is room


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait, in milliseconds of CLOCK_BOOTTIME, and how much to send at once.

    The defaults come from stalls of 0.4 s that were measured on a throttled disk (R15).
    """

    heartbeat_ms: int = 300
    election_min_ms: int = 2000
    election_max_ms: int = 4000
    retry_full_ms: int = 1000  # how often a full disk is tried again
    in_flight: int = 64  # appends per peer without an answer (R16)
    message_bytes: int = 1 << 20  # of entries in one append; one batch may fill it
    segment_lag: int = 10_000  # records behind from which a peer is sent segments
    segment_records: int = 50_000  # in one segment, at most
    segment_ms: int = 60_000  # without progress a segment is given up
    promote_lag: int = 1000  # records that a learner may be behind when it becomes a voter
    kept_bytes: int = 8 << 20  # of recent entries in memory


LAN = Timing(heartbeat_ms=60, election_min_ms=300, election_max_ms=600)
"""For voters on one quiet network with disks that sync within 50 ms: failover below a second."""

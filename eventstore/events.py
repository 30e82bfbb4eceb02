"""The log's own events: its beginning, its reigns, its keys, its signatures. Stream `log` (pure).

Kinds that begin with `log.` belong to this package; everything else is opaque to it.
"""

from __future__ import annotations

from typing import ClassVar

from eventstore.record import Event

STREAM = "log"

# "ticket": a one-time key with which an invited node may only ask to join
ROLES = ("voter", "node", "operator", "auditor", "gateway", "ticket")


class LogCreated(Event, frozen=True, kw_only=True):
    """The first record of every log."""

    KIND: ClassVar[str] = "log.created"

    cluster_id: str  # uuid; the hash chain starts from it
    origin: str  # the name in checkpoints (C2SP "origin")


class EpochStarted(Event, frozen=True, kw_only=True):
    """A voter began to lead. The no-op of its reign (R4)."""

    KIND: ClassVar[str] = "log.epoch-started"

    voter: str  # its name
    inc: str  # hex id of its storage


class KeyAdmitted(Event, frozen=True, kw_only=True):
    """From here on the holder of this CURVE key may connect, in this role.

    `sign_key`, where set, is the Ed25519 public key with which the holder signs checkpoints.
    """

    KIND: ClassVar[str] = "log.key-admitted"

    name: str  # whose: `operator:alice`, `node:<uuid>`, ...; becomes `actor`
    role: str  # one of ROLES
    curve_key: str  # Z85, 40 characters
    sign_key: str = ""  # base64, 32 bytes


class KeyRevoked(Event, frozen=True, kw_only=True):
    """The holder of this CURVE key may no longer connect; open connections are dropped."""

    KIND: ClassVar[str] = "log.key-revoked"

    curve_key: str
    reason: str = ""


class CheckpointSigned(Event, frozen=True, kw_only=True):
    """A signed note (C2SP tlog-checkpoint) over the first `size` records."""

    KIND: ClassVar[str] = "log.checkpoint"

    size: int
    note: str  # the whole signed note


class LossAccepted(Event, frozen=True, kw_only=True):
    """An operator accepted that acknowledged records are gone; a new generation began."""

    KIND: ClassVar[str] = "log.loss-accepted"

    reason: str
    last_seq: int  # of what is left
    mark_seq: int  # of what had been acknowledged
    mark_hash: str  # hex


class VotersChanged(Event, frozen=True, kw_only=True):
    """Who replicates the log from here on: it acts as soon as it is appended (R10).

    A storage is named by the hex id that it drew when it was made: a new disk is a new voter.
    """

    KIND: ClassVar[str] = "log.voters-changed"

    voters: dict[str, str]  # name to the id of its storage
    learners: dict[str, str] = {}  # they follow and do not vote; name to the id of its storage
    witnesses: tuple[str, ...] = ()  # voters that lead only to hand over


class VoterPlaced(Event, frozen=True, kw_only=True):
    """Where a voter is reached, by others of its kind and by clients, and by which key it is known.

    Another place of the same name takes the place of this one.
    """

    KIND: ClassVar[str] = "log.voter-placed"

    name: str
    inc: str  # hex id of its storage
    curve_key: str  # Z85
    requests: str  # endpoints, tcp://address:port
    publications: str
    replication: str
    segments: str = ""


class TakeoverForced(Event, frozen=True, kw_only=True):
    """An operator made one voter the only one, under a new generation; others may have had more."""

    KIND: ClassVar[str] = "log.takeover-forced"

    reason: str
    voter: str  # the one that is left
    inc: str  # hex id of its storage
    dead: dict[str, str]  # voters that were given up; name to the id of its storage
    last_seq: int  # of the log that was taken over
    last_hash: str  # hex, of that record
    signature: str = ""  # by the operator's key, as whoever checks it defines

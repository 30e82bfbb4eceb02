"""Records, batches and the hash chain: the format of the log (pure).

A **record** is an event at its place in the log. It is encoded once, by the leader, as a
MessagePack array whose first element is the format's version; fields are only ever added at the
end. The bytes are stored and forwarded as they are and are never encoded again to be checked,
because MessagePack has several encodings of one value.

    hash(0) = SHA-256(0x02 || cluster id)
    hash(n) = SHA-256(0x02 || hash(n-1) || bytes(n))

0x00 and 0x01 are the leaf and node prefixes of RFC 6962, so the domains stay apart; a Merkle leaf
is the record's exact bytes. The hash stands beside the bytes, never in them.

A **batch** is the unit of propose, append, commit, fold and publish: 1 to n records of which all or
none exist. Each record carries its index in the batch and the batch's count, so that a reader can
tell a whole batch from a part of one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import msgspec

FORMAT = 1
HASH_BYTES = 32
MAX_BATCH_BYTES = 1 << 20  # of one batch; REPLICATION 4.1
MAX_RECORD_BYTES = 512 << 10
ANY_VERSION = -1  # in `expected`: the proposer does not care at which version the stream is


class Epoch(NamedTuple):
    """A reign. Generations are raised only by a forced takeover, terms by elections."""

    gen: int
    term: int


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact in the past tense. Subclasses name their kind; the kind is stored for ever.

    Stored as a MessagePack map with the defaults left out, so that a new optional field needs no
    new schema. Anything else that changes needs SCHEMA + 1 and an upcaster.
    """

    KIND: ClassVar[str]
    SCHEMA: ClassVar[int] = 1


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event at its place in the log, as it is stored. Units: `time` see `clock.py`."""

    v: int
    seq: int  # dense from 1: the total order
    gen: int
    term: int
    time: int  # hybrid clock: milliseconds since 1970 UTC << 16 | counter
    event_id: bytes  # 16 random bytes
    kind: str
    schema: int
    stream: str  # the entity: `node/<uuid>`, `job/42`, `cluster`, ...
    version: int  # place in the stream, dense from 1
    actor: str  # who: `operator:alice`, `node:<uuid>`, `policy:watcher`
    origin: str  # the voter that encoded it
    job: int | None  # the job that it serves
    cause: int | None  # seq of the record that led to it
    key: str | None  # idempotency key of the request
    data: msgspec.Raw  # the event, MessagePack
    index: int = 0  # place in its batch
    count: int = 1  # records in its batch

    @property
    def epoch(self) -> Epoch:
        """The reign in which the record was appended."""
        return Epoch(self.gen, self.term)

    @property
    def unix_ms(self) -> int:
        """Wall-clock label in milliseconds since 1970 UTC; order is `seq`, never this."""
        return self.time >> 16


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A record with its exact bytes and its hash: what the log holds and what travels.

    Like a record, nothing that the cyclic garbage collector need look at: there are many of them.
    """

    record: Record
    encoded: bytes
    hash: bytes


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that someone wants recorded; the leader gives it its place."""

    stream: str
    event: Event
    actor: str
    job: int | None = None
    cause: int | None = None
    key: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Drafts that belong together, and the stream versions under which they may be appended.

    `expected` maps a stream to the version it must be at before the append (0: it must not exist);
    streams that are not named are not checked.
    """

    drafts: tuple[Draft, ...]
    expected: Mapping[str, int] = {}


def genesis_hash(cluster_id: str) -> bytes:
    """Return the hash before the first record. Two clusters' chains never share a prefix."""
    return hashlib.sha256(b"\x02" + cluster_id.encode()).digest()


def chain_hash(previous: bytes, encoded: bytes) -> bytes:
    """Return the hash of a record with these exact bytes that follows `previous`."""
    return hashlib.sha256(b"\x02" + previous + encoded).digest()


def chain_hashes(previous: bytes, encodings: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of records with these exact bytes that follow `previous` in this order.

    The same as `chain_hash` for each, a fifth quicker: every append waits for this loop.
    """
    hashes: list[bytes] = []
    sha256 = hashlib.sha256
    for encoded in encodings:
        previous = sha256(b"\x02" + previous + encoded).digest()
        hashes.append(previous)
    return hashes

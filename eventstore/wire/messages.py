"""The frames of the protocol as types (pure). Arrays; fields are only ever added at the end.

    request      DEALER -> ROUTER   [Request]
    reply        ROUTER -> DEALER   [Reply], for a streaming kind several of them
    publication  XPUB -> SUB        [topic, Publication, records]
    heartbeat    XPUB -> SUB        [HEARTBEAT_TOPIC, Heartbeat]

`records` is an array of pairs: a record's exact bytes, and its hash in the chain.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from eventstore import codec
from eventstore.record import Epoch, Stored
from eventstore.wire import frames

VERSION = 1

# The name of a topic ends with a NUL, because ZeroMQ subscribes by prefix: `job/4` is not `job/42`.
# A stream may be called neither of these two.
WHOLE_LOG_TOPIC = b"*\0"
HEARTBEAT_TOPIC = b"hb\0"

DONE, PART, FAILED = 0, 1, 2  # Reply.status: the last reply, one of several, an error

NIL = msgspec.Raw(b"\xc0")


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a client asks. It never says who it is: the server knows the key of the connection."""

    v: int
    id: int  # chosen by the client, returned in each reply; unique on its connection
    kind: str  # what is asked; the table in docs/wire-protocol.md
    timeout_ms: int  # how long the client will wait; a duration, as clocks differ
    key: str | None  # idempotency key; whatever changes something must bear one
    body: msgspec.Raw  # as the kind says


class Start(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first fields of a request in every version, past and future."""

    v: int
    id: int


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer of one voter, as of what it then held as committed."""

    v: int
    id: int
    status: int  # DONE, PART or FAILED
    gen: int  # the epoch of the leader that the voter knows
    term: int
    leads: bool  # this voter is that leader, and the first record of its reign is committed
    as_of: int  # seq of the last record that it knows as committed
    body: msgspec.Raw  # as the kind says; Fault if FAILED


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """An error on its way to the client. Codes: eventstore/wire/faults.py and docs."""

    code: str
    message: str
    hint: str = ""
    data: dict[str, msgspec.Raw] = {}


class Publication(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The header of published records."""

    v: int
    gen: int
    term: int
    leads: bool
    first_seq: int
    last_seq: int
    prev_hash: bytes  # hash of record first_seq - 1; on a stream's topic empty
    head_seq: int  # the last committed record when this was sent


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sent each second, so that silence is seen and a lost last message is found."""

    v: int
    gen: int
    term: int
    leads: bool
    voter: str  # the sender's name
    leader: str  # the leader's name, empty if none is known
    head_seq: int
    cluster_id: str


class RangeRequest(msgspec.Struct, frozen=True, array_like=True):
    """Body of `range`: records first..last of the log, or of a stream by version if one is named.

    `max_bytes` bounds the reply; at least one record comes, if there is one.
    """

    first: int
    last: int = 0  # 0: to the head
    max_bytes: int = 512 << 10
    stream: str = ""


class RangeReply(msgspec.Struct, frozen=True, array_like=True):
    """Answer to `range`. `more`: the limit cut it short, ask again after the last one."""

    records: list[tuple[bytes, bytes]]
    more: bool


class HeadReply(msgspec.Struct, frozen=True, array_like=True):
    """Answer to `head`."""

    cluster_id: str
    seq: int
    hash: bytes  # of that record; genesis hash if seq is 0
    leader: str
    voter: str


class Stamp(NamedTuple):
    """What every reply and publication says about its sender at that moment."""

    epoch: Epoch
    leads: bool
    as_of: int


_PAIRS = list[tuple[bytes, bytes]]


def topic_of(stream: str) -> bytes:
    """Return the topic on which the records of `stream` are published."""
    return stream.encode() + b"\0"


def pack_records(records: list[Stored] | tuple[Stored, ...]) -> bytes:
    """Return the body of a publication."""
    return frames.encode([(stored.encoded, stored.hash) for stored in records])


def unpack_records(body: bytes) -> list[Stored]:
    """Return the records of a publication's body. Raises DecodeError."""
    return to_stored(frames.decode(body, _PAIRS))


def to_stored(pairs: list[tuple[bytes, bytes]]) -> list[Stored]:
    """Decode the records of a publication or a range. Raises DecodeError."""
    return [Stored(codec.decode_record(encoded), encoded, digest) for encoded, digest in pairs]

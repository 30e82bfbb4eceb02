"""What voters say to one another: MessagePack arrays, and the limits of what is believed (pure).

Each begins with its type and the same header: protocol version, cluster, the sender's epoch, its
name and the id of its storage. The header's term is always the sender's own, durable before it is
said; what a pre-vote asks about stands in `for_term`. The link has checked that the sender's key
belongs to its name; everything else is checked here, or where it is used. Fields are only ever
added at the end.

`decode` is the one way in for bytes from outside: size first, then types and ranges. It raises
DecodeError and nothing else. What may nest is in the types; of what a later version adds at the end
nothing is kept. Ranges stand with the types wherever a type can say them: msgspec then checks them
as it decodes, which is a fifth of what it costs to look at each field afterwards.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from eventstore.codec import MAX_NAME_BYTES
from eventstore.errors import DecodeError
from eventstore.raft.entry import Packed
from eventstore.record import HASH_BYTES, MAX_BATCH_BYTES, Epoch

VERSION = 1
INC_BYTES = 16
MAX_MESSAGE_BYTES = 2 * MAX_BATCH_BYTES + (64 << 10)  # entries for one message, and one batch over

Natural = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=MAX_NAME_BYTES)]
Inc = Annotated[bytes, Meta(min_length=INC_BYTES, max_length=INC_BYTES)]
Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first fields of every message."""

    v: Natural
    cluster: Name
    gen: Natural
    term: Natural
    sender: Annotated[Name, Meta(min_length=1)]
    inc: Inc

    @property
    def epoch(self) -> Epoch:
        """The sender's epoch."""
        return Epoch(self.gen, self.term)


class Vote(Header, frozen=True, array_like=True, gc=False, tag=1):
    """Vote for me; with `pre`: would you? (which changes nothing)."""

    pre: bool
    for_term: Natural
    last_seq: Natural
    last_gen: Natural
    last_term: Natural
    transfer: bool  # the leader asked for this election


class VoteReply(Header, frozen=True, array_like=True, gc=False, tag=2):
    """Answer to Vote. `reason` says why not."""

    pre: bool
    for_term: Natural
    granted: bool
    reason: Name


class Append(Header, frozen=True, array_like=True, gc=False, tag=3):
    """The entries behind record `prev_seq`; without any, a heartbeat."""

    prev_seq: Natural
    prev_gen: Natural
    prev_term: Natural
    prev_hash: Hash
    entries: tuple[Annotated[Packed, Meta(min_length=1)], ...]
    commit_seq: Natural
    read_ctx: Natural  # to be returned, see reads.py
    attempt: Natural  # to be returned: how often the leader has looked for agreement (progress.py)
    takeover: Packed = ()  # to one of an older generation: the batch that began the sender's


class AppendReply(Header, frozen=True, array_like=True, gc=False, tag=4):
    """What this voter has on its disk. If not `ok`: where the leader should look for agreement."""

    ok: bool
    prev_seq: Natural  # of the append that is answered
    match_seq: Natural  # durable here and equal to the leader's log, if ok
    conflict_seq: Natural  # if not ok: nothing above this seq can agree ...
    conflict_gen: Natural  # ... and nothing of an epoch above this one
    conflict_term: Natural
    read_ctx: Natural
    attempt: Natural
    disk_state: Annotated[int, Meta(ge=0, le=2)]  # a DiskState
    last_fsync_ms: float


class TimeoutNow(Header, frozen=True, array_like=True, gc=False, tag=5):
    """The leader hands over: stand for election at once."""


class SegmentOffer(Header, frozen=True, array_like=True, gc=False, tag=6):
    """Committed records first..last, to be had in chunks (segments.py)."""

    first: Natural
    last: Natural
    prev_gen: Natural
    prev_term: Natural
    prev_hash: Hash  # of record first - 1
    last_gen: Natural
    last_term: Natural
    last_hash: Hash
    size: Natural  # bytes of the file
    sha256: bytes  # of the file


class SegmentChunk(Header, frozen=True, array_like=True, gc=False, tag=7):
    """Part of an offered segment. It travels from runner to runner."""

    last: Natural  # names the segment
    offset: Natural
    data: bytes


class SegmentReply(Header, frozen=True, array_like=True, gc=False, tag=8):
    """What became of an offer. `offset`: of the chunk that is wanted next."""

    last: Natural  # names the segment
    state: Natural  # WANTED, INSTALLED or REFUSED
    offset: int


WANTED, INSTALLED, REFUSED = 0, 1, 2

Message = (
    Vote
    | VoteReply
    | Append
    | AppendReply
    | TimeoutNow
    | SegmentOffer
    | SegmentChunk
    | SegmentReply
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Return the message in `data`. Raises DecodeError for any bytes that are not one."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise DecodeError(f"a message of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    try:
        message: Message = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a message between voters: {error}") from None
    if flaw := _flaw(message):
        raise DecodeError(f"not a message between voters: {flaw}")
    return message


def _flaw(message: Message) -> str:
    """Say what the types do not: "" if the message is sound in itself."""
    if message.v != VERSION:
        return f"protocol {message.v}; this version speaks {VERSION}"
    if isinstance(message, SegmentOffer):
        return "" if 1 <= message.first <= message.last else "a segment of nothing"
    return ""

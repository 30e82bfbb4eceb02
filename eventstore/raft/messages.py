"""What voters say to one another: MessagePack arrays, and the limits of what is believed (pure).

Each begins with its type and the same header: protocol version, cluster, the sender's epoch, its
name and the id of its storage. The header's term is always the sender's own, durable before it is
said; what a pre-vote asks about stands in `for_term`. The link has checked that the sender's key
belongs to its name; everything else is checked here, or where it is used. Fields are only ever
added at the end.

`decode` is the one way in for bytes from outside: size first, then nesting, types, ranges. It
raises DecodeError and nothing else.
"""

from __future__ import annotations

import msgspec

from eventstore.codec import MAX_NAME_BYTES, check_depth
from eventstore.errors import DecodeError
from eventstore.raft.entry import Packed
from eventstore.record import HASH_BYTES, MAX_BATCH_BYTES, Epoch

VERSION = 1
INC_BYTES = 16
MAX_MESSAGE_BYTES = 2 * MAX_BATCH_BYTES + (64 << 10)  # entries for one message, and one batch over
MAX_DEPTH = 4


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first fields of every message."""

    v: int
    cluster: str
    gen: int
    term: int
    sender: str
    inc: bytes

    @property
    def epoch(self) -> Epoch:
        """The sender's epoch."""
        return Epoch(self.gen, self.term)


class Vote(Header, frozen=True, array_like=True, gc=False, tag=1):
    """Vote for me; with `pre`: would you? (which changes nothing)."""

    pre: bool
    for_term: int
    last_seq: int
    last_gen: int
    last_term: int
    transfer: bool  # the leader asked for this election


class VoteReply(Header, frozen=True, array_like=True, gc=False, tag=2):
    """Answer to Vote. `reason` says why not."""

    pre: bool
    for_term: int
    granted: bool
    reason: str


class Append(Header, frozen=True, array_like=True, gc=False, tag=3):
    """The entries behind record `prev_seq`; without any, a heartbeat."""

    prev_seq: int
    prev_gen: int
    prev_term: int
    prev_hash: bytes
    entries: tuple[Packed, ...]
    commit_seq: int
    read_ctx: int  # to be returned, see reads.py
    attempt: int  # to be returned: how often the leader has looked for agreement (progress.py)
    takeover: Packed = ()  # to one of an older generation: the batch that began the sender's


class AppendReply(Header, frozen=True, array_like=True, gc=False, tag=4):
    """What this voter has on its disk. If not `ok`: where the leader should look for agreement."""

    ok: bool
    prev_seq: int  # of the append that is answered
    match_seq: int  # durable here and equal to the leader's log, if ok
    conflict_seq: int  # if not ok: nothing above this seq can agree ...
    conflict_gen: int  # ... and nothing of an epoch above this one
    conflict_term: int
    read_ctx: int
    attempt: int
    disk_state: int  # a DiskState
    last_fsync_ms: float


class TimeoutNow(Header, frozen=True, array_like=True, gc=False, tag=5):
    """The leader hands over: stand for election at once."""


class SegmentOffer(Header, frozen=True, array_like=True, gc=False, tag=6):
    """Committed records first..last, to be had in chunks (segments.py)."""

    first: int
    last: int
    prev_gen: int
    prev_term: int
    prev_hash: bytes  # of record first - 1
    last_gen: int
    last_term: int
    last_hash: bytes
    size: int  # bytes of the file
    sha256: bytes  # of the file


class SegmentChunk(Header, frozen=True, array_like=True, gc=False, tag=7):
    """Part of an offered segment. It travels from runner to runner."""

    last: int  # names the segment
    offset: int
    data: bytes


class SegmentReply(Header, frozen=True, array_like=True, gc=False, tag=8):
    """What became of an offer. `offset`: of the chunk that is wanted next."""

    last: int  # names the segment
    state: int  # WANTED, INSTALLED or REFUSED
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
    check_depth(data, MAX_DEPTH)
    try:
        message: Message = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a message between voters: {error}") from None
    if flaw := _flaw(message):
        raise DecodeError(f"not a message between voters: {flaw}")
    return message


def _flaw(message: Message) -> str:
    """Say what the types alone do not: "" if the message is sound in itself."""
    if message.v != VERSION:
        return f"protocol {message.v}; this version speaks {VERSION}"
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if isinstance(value, int) and value < 0:
            return f"{field} is negative"
        if field.endswith("hash") and len(value) != HASH_BYTES:
            return f"{field} has {len(value)} bytes"
        if isinstance(value, str) and len(value.encode()) > MAX_NAME_BYTES:
            return f"{field} is too long"
    if len(message.inc) != INC_BYTES or not message.sender:
        return "it does not say who sends it"
    if isinstance(message, Append):
        return "" if all(message.entries) else "an empty entry"
    if isinstance(message, AppendReply):
        return "" if message.disk_state <= 2 else f"disk state {message.disk_state}"
    if isinstance(message, SegmentOffer):
        return "" if 1 <= message.first <= message.last else "a segment of nothing"
    return ""

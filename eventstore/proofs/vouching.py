"""What voters have signed for: the log's own keys and checkpoints, gathered and judged (pure).

Shared by whoever verifies a log, or a part of one: go through the records in order with `note`,
compute the Merkle root at each of `sizes`, and ask for `flaws`. A checkpoint is sound if it is of
this log, speaks of records before its own, has the right root, and is signed by the key of a voter
that was admitted before it and not revoked by then.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from eventstore.codec import decode_event
from eventstore.errors import DecodeError
from eventstore.events import STREAM, CheckpointSigned, KeyAdmitted, KeyRevoked, LogCreated
from eventstore.proofs.checkpoint import SignedNote, parse, verified_by
from eventstore.record import Record

KINDS = (LogCreated.KIND, KeyAdmitted.KIND, KeyRevoked.KIND)  # what later checkpoints need


class Vouched(NamedTuple):
    """A checkpoint that stands in the log, and the signing keys that were admitted by then."""

    seq: int
    event: CheckpointSigned
    keys: frozenset[bytes]


@dataclass(slots=True)
class Vouching:
    """The keys and checkpoints of the records that were gone through."""

    origin: str = ""
    keys: dict[str, bytes] = field(default_factory=dict)  # CURVE key -> signing key, of voters
    checkpoints: list[Vouched] = field(default_factory=list)

    def note(self, record: Record) -> None:
        """Take up a record. Raises DecodeError if it is one of these and cannot be read."""
        if record.stream != STREAM:
            return
        match record.kind:
            case LogCreated.KIND:
                self.origin = decode_event(LogCreated, record.data).origin
            case KeyAdmitted.KIND:
                key = decode_event(KeyAdmitted, record.data)
                if key.role == "voter" and key.sign_key:
                    self.keys[key.curve_key] = _unbase64(key.sign_key)
            case KeyRevoked.KIND:
                self.keys.pop(decode_event(KeyRevoked, record.data).curve_key, None)
            case CheckpointSigned.KIND:
                event = decode_event(CheckpointSigned, record.data)
                vouched = Vouched(record.seq, event, frozenset(self.keys.values()))
                self.checkpoints.append(vouched)

    @property
    def sizes(self) -> frozenset[int]:
        """The sizes of the tree of which the roots are needed."""
        return frozenset(vouched.event.size for vouched in self.checkpoints)

    def flaws(self, roots: Mapping[int, bytes]) -> Iterator[tuple[Vouched, str]]:
        """Yield each checkpoint with what is wrong with it, "" if nothing is."""
        for vouched in self.checkpoints:
            yield vouched, _flaw(vouched, self.origin, roots)


def _flaw(vouched: Vouched, origin: str, roots: Mapping[int, bytes]) -> str:
    event = vouched.event
    try:
        note: SignedNote = parse(event.note)
    except DecodeError as error:
        return str(error)
    checkpoint = note.checkpoint
    if checkpoint.origin != origin or checkpoint.size != event.size:
        return f"it is one of {checkpoint.origin} at size {checkpoint.size}"
    if event.size >= vouched.seq:
        return f"it speaks of {event.size} records, but stands at {vouched.seq}"
    if roots.get(event.size) != checkpoint.root:
        return f"its root is not that of the first {event.size} records"
    if verified_by(note, vouched.keys) is None:
        return "no voter's key that was admitted by then has signed it"
    return ""


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DecodeError(f"a signing key that is not base64: {error}") from error

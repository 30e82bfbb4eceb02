"""A forced takeover: one voter becomes the only one, by an operator's word (edge).

For when a majority is lost for good: two voters of which one burned, three of which two did. The
survivor's daemon must be down. What is done is recorded and cannot be mistaken for anything else:

- the generation is raised, so every epoch of the old one is below: agents and voters that hear of
  the new one refuse the old master from there on;
- the first record of the new generation names the survivor, those given up with the ids of their
  storages, the last record that was taken over, who did it and why;
- it is signed with the survivor's own key, which the log admitted. Other voters believe the record
  by that signature (`trusted`), never a higher generation by itself.

What may be lost: records that a majority had and this voter had not. Nobody can tell from here;
therefore the caller first asks the other voters, as far as they answer, who holds more. The tail
that this voter holds is kept, committed or not: whoever asked for it was told that the outcome is
unknown, or that it was done.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from eventstore.access.keyring import Keyring
from eventstore.clock import HybridClock
from eventstore.codec import decode_event
from eventstore.errors import DecodeError, EventStoreError
from eventstore.events import STREAM, TakeoverForced
from eventstore.raft.membership import Config, config_of
from eventstore.record import Batch, Draft, Epoch, Record, Stored
from eventstore.replica import Refused
from eventstore.storage.ack_mark import Mark
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import epoch_values
from eventstore.storage.log_view import LogView
from eventstore.voter.appended import Appended
from eventstore.voter.storage import open_voter


@dataclass(frozen=True, slots=True)
class Survivor:
    """What a storage says about itself: what a takeover would start from."""

    cluster_id: str
    epoch: Epoch
    last: Stored
    config: Config


def examine(directory: Path) -> Survivor:
    """Return what is in a voter's storage. Changes nothing; raises EventStoreError."""
    with LogView(directory) as view:
        head = view.head
        if not head:
            raise EventStoreError("this voter holds no record yet", hint="take another one")
        config = None
        for stored in (*view.records(1, view.records(1, 1)[0].record.count), *view.stream(STREAM)):
            config = config_of(stored.record) or config
        assert config is not None, "the first batch makes a configuration"
        return Survivor(view.cluster_id, view.epoch, view.records(head, head)[0], config)


def take_over(
    directory: Path,
    *,
    voter: str,
    reason: str,
    actor: str,
    sign_seed: bytes,
    now_ms: int,
) -> Stored:
    """Make this voter the only one of a new generation; return the record that says so.

    The whole log is verified first. Raises LogInUse while its daemon runs, CorruptLog, NotOurLog,
    DiskFull; EventStoreError if it is the only one already.
    """
    storage = open_voter(Layout(directory), whole=True)
    try:
        storage.check_alone()  # what it had said itself must be there
        found = examine(directory)
        inc = storage.log.meta.inc
        dead = {n: i.hex() for n, i in found.config.voters.items() if i != inc}
        if not dead:
            raise EventStoreError("this voter is the only one already", hint="just start it")
        assert storage.last is not None, "examined"
        last = storage.last
        epoch = Epoch(found.epoch.gen + 1, found.epoch.term + 1)
        event = _signed(
            TakeoverForced(
                reason=reason,
                voter=voter,
                inc=inc.hex(),
                dead=dead,
                last_seq=last.record.seq,
                last_hash=last.hash.hex(),
            ),
            found.cluster_id,
            epoch,
            sign_seed,
        )
        appended = Appended(
            seq=last.record.seq,
            last_hash=last.hash,
            versions={STREAM: _version(directory)},
            clock=HybridClock(last.record.time),
            origin=voter,
            draw_bytes=os.urandom,
        )
        draft = Draft(stream=STREAM, event=event, actor=actor)
        placed = appended.place(Batch(drafts=(draft,)), epoch, now_ms)
        assert not isinstance(placed, Refused), "one small record is never too large"
        meta = storage.log.meta._replace(epoch=epoch, voted_for=voter, voted_inc=inc)
        storage.log.append(placed.entry.run(), epoch_values(meta))
        storage.mark.write(Mark(appended.seq, appended.hash, *epoch, voter, inc, inc))
        return placed.entry.records[0]
    finally:
        storage.close()


def trusted(record: Record, cluster_id: str, keyring: Keyring) -> bool:
    """Say whether a takeover's record is signed by a voter that the log has admitted."""
    try:
        event = decode_event(TakeoverForced, record.data)
        signature = base64.b64decode(event.signature, validate=True)
    except (DecodeError, ValueError):
        return False
    said = _bytes_of(event, cluster_id, record.epoch)
    for holder in keyring.keys.values():
        if (holder.role, holder.name) == ("voter", f"voter:{event.voter}") and holder.sign_key:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(holder.sign_key))
            try:
                key.verify(signature, said)
            except InvalidSignature:
                continue
            return True
    return False


def _signed(event: TakeoverForced, cluster_id: str, epoch: Epoch, seed: bytes) -> TakeoverForced:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(_bytes_of(event, cluster_id, epoch))
    return msgspec.structs.replace(event, signature=base64.b64encode(signature).decode())


def _bytes_of(event: TakeoverForced, cluster_id: str, epoch: Epoch) -> bytes:
    """Return what is signed: all that the record says, for this cluster and generation."""
    unsigned = msgspec.structs.replace(event, signature="")
    return b"cairn takeover 1\n" + msgspec.msgpack.encode((cluster_id, epoch.gen, unsigned))


def _version(directory: Path) -> int:
    with LogView(directory) as view:
        return max((stored.record.version for stored in view.stream(STREAM)), default=0)

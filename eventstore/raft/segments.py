"""Catching up in bulk: committed records, never folded state (R13, pure).

A peer that is more than `segment_lag` records behind gets the records themselves in a file, over a
socket of their own, so that they never delay a heartbeat. It can verify and replay all that it
holds. The core only decides; the runners carry:

    leader's core      ShipSegment(to, first, last)        committed and durable here
    leader's runner    makes the file, sends SegmentOffer (`offer` makes the message)
    follower's core    ReceiveSegment(offer)               if its log ends at first - 1
    runners            SegmentReply WANTED / SegmentChunk, until the file is whole
    follower's runner  verifies size, SHA-256, chain from prev_hash to last_hash and whole batches,
                       appends the rows behind every Persist it was given, then `installed`; or
                       `install_failed`
    follower's core    Persist with a mark that names them, then SegmentReply INSTALLED; or REFUSED

Nothing is cut off for a segment: an acknowledgement of what is cut off might be under way in this
very reign, and would be counted. (Only an append of a higher epoch cuts off, and it makes such
acknowledgements worthless.) A tail in the way is replaced by entries first; the next offer fits.

Meanwhile the follower acknowledges heartbeats with what it holds, appends nothing, and neither
votes nor stands. What a segment holds was committed when it was offered, so a change of leader on
the way does no harm. A leader that hears of no progress for `segment_ms` sends entries again.
"""

from __future__ import annotations

from eventstore.raft.effects import ShipSegment
from eventstore.raft.entry import Position
from eventstore.raft.entry_log import EntryLog
from eventstore.raft.messages import SegmentOffer
from eventstore.raft.progress import Progress
from eventstore.raft.state import Timing
from eventstore.raft.voter import Header
from eventstore.record import Epoch


def due(peer: Progress, log: EntryLog, timing: Timing, now_ms: int) -> ShipSegment | None:
    """Return the segment that this peer should get, None if entries will do."""
    held = min(log.committed, log.durable)
    if held - peer.match <= timing.segment_lag or peer.in_flight or now_ms < peer.entries_until_ms:
        return None
    upto = log.agreement(min(held, peer.match + timing.segment_records), log.last.epoch)
    if upto.seq <= peer.match:
        return None
    return ShipSegment(peer.name, peer.match + 1, upto.seq)


def offer(
    header: Header, log: EntryLog, ship: ShipSegment, size: int, sha256: bytes
) -> SegmentOffer:
    """Return the message that offers a segment whose file has these bytes."""
    before, end = log.position(ship.first - 1), log.position(ship.last)
    assert before is not None
    assert end is not None, "what is committed and durable is there"
    return SegmentOffer(
        *header,
        first=ship.first,
        last=ship.last,
        prev_gen=before.epoch.gen,
        prev_term=before.epoch.term,
        prev_hash=before.hash,
        last_gen=end.epoch.gen,
        last_term=end.epoch.term,
        last_hash=end.hash,
        size=size,
        sha256=sha256,
    )


def fits(message: SegmentOffer, log: EntryLog) -> bool:
    """Say whether the segment continues this log."""
    before = Position(
        message.first - 1, Epoch(message.prev_gen, message.prev_term), message.prev_hash
    )
    return log.last == before

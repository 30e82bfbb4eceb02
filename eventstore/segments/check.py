"""Whether a fetched segment may be believed: everything in it is computed anew (edge).

A segment is appended to the log only if

- it is the file that was offered: its size, its SHA-256;
- it is records, in whole batches, of which each follows the one before: seq, epoch, hash chain,
  from the last record held here to exactly the one that the offer ends with;
- every checkpoint in it is sound (vouching.py): the Merkle root over the records before it, those
  held here included, is the one that a voter signed.

The first catches damage on the way, the second a leader that offers what is not its log, the third
a history that was exchanged under the voters that signed it. Memory is bounded: the file is gone
through in pieces, twice, and what is kept of it is configurations, places, keys and checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

from eventstore.access.places import KINDS as PLACE_KINDS
from eventstore.codec import decode_record
from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import STREAM
from eventstore.proofs.merkle import Tree, leaf_hash, range_root
from eventstore.proofs.vouching import KINDS as VOUCHING_KINDS
from eventstore.proofs.vouching import Vouching
from eventstore.raft.entry import Entry, Position, unpack
from eventstore.raft.membership import Config, config_in
from eventstore.raft.messages import SegmentOffer
from eventstore.record import MAX_BATCH_BYTES, Epoch, Stored
from eventstore.segments.part import SegmentPart
from eventstore.segments.source import records
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.layout import Layout
from eventstore.storage.log_reader import LogReader
from eventstore.storage.subtrees import Subtrees


class Found(NamedTuple):
    """What the segment says of the voters, in order."""

    configs: list[Config]
    places: list[Stored]


def check(part: SegmentPart, offer: SegmentOffer, layout: Layout) -> Found:
    """Go through the segment. On a thread of its own: the files are opened anew.

    The index must hold what is held here, up to the record before the segment. Raises DecodeError:
    what was fetched is not what was offered, or what was offered is not sound.
    """
    if part.size != offer.size or part.sha256() != offer.sha256:
        raise DecodeError("it is not the file that was offered")
    with (
        closing(LogReader(layout.log)) as log,
        closing(IndexReader(layout.index)) as index,
    ):
        vouching = _vouching(log, index, offer.first - 1)
        found = _chained(part, offer, vouching)
        _check_roots(part, offer, vouching, Subtrees(log, index))
    return found


def entries(encoded: Iterable[bytes], before: Position) -> Iterator[Entry]:
    """Yield the batches of these records, chained behind `before`. Raises DecodeError."""
    batch: list[bytes] = []
    size = count = 0
    for each in encoded:
        count = count if batch else decode_record(each).count
        batch.append(each)
        size += len(each)
        if len(batch) == count:
            entry = unpack(tuple(batch), before)
            yield entry
            batch, size, before = [], 0, entry.end
        elif size > MAX_BATCH_BYTES:
            raise DecodeError(f"a batch of more than {MAX_BATCH_BYTES} bytes")
    if batch:
        raise DecodeError("it ends within a batch")


def before_of(offer: SegmentOffer) -> Position:
    """Return the record that the segment stands behind."""
    return Position(offer.first - 1, Epoch(offer.prev_gen, offer.prev_term), offer.prev_hash)


def _chained(part: SegmentPart, offer: SegmentOffer, vouching: Vouching) -> Found:
    """Walk the chain; gather what the segment says of voters, keys and checkpoints."""
    found = Found([], [])
    end = before_of(offer)
    for entry in entries(records(part.pieces()), end):
        end = entry.end
        for stored in entry.records:
            vouching.note(stored.record)
            if stored.record.stream == STREAM and stored.record.kind in PLACE_KINDS:
                found.places.append(stored)
        try:
            config = config_in(entry)
        except CorruptLog as error:
            raise DecodeError(str(error)) from error
        if config:
            found.configs.append(config)
    if end != Position(offer.last, Epoch(offer.last_gen, offer.last_term), offer.last_hash):
        raise DecodeError(f"it ends with record {end.seq}, which is not the one that was offered")
    return found


def _check_roots(
    part: SegmentPart, offer: SegmentOffer, vouching: Vouching, subtrees: Subtrees
) -> None:
    """Build the Merkle tree on, and compare it with every checkpoint of the segment."""
    held = offer.first - 1
    roots = {n: range_root(0, n, subtrees) for n in vouching.sizes if n <= held}
    tree = Tree(held, _frontier(held, subtrees))
    for encoded in records(part.pieces()):
        tree.append(leaf_hash(encoded))
        if tree.size in vouching.sizes:
            roots[tree.size] = tree.root()
    for vouched, flaw in vouching.flaws(roots):
        if flaw:
            raise DecodeError(f"the checkpoint in record {vouched.seq} is not sound: {flaw}")


def _frontier(size: int, subtrees: Subtrees) -> list[bytes]:
    """Return the roots of the complete subtrees that a tree of `size` leaves is the sum of."""
    frontier, done = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            frontier.append(subtrees(level, done >> level))
            done += 1 << level
    return frontier


def _vouching(log: LogReader, index: IndexReader, upto: int) -> Vouching:
    """Return the keys that were admitted by record `upto`, and the log's name."""
    vouching = Vouching()
    marks = ", ".join("?" * len(VOUCHING_KINDS))
    for seq in index.seqs(f"stream = ? AND kind IN ({marks})", (STREAM, *VOUCHING_KINDS)):
        if seq <= upto:
            for stored in log.stored(seq, seq):
                vouching.note(stored.record)
    return vouching

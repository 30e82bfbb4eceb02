"""A follower's side of replication (R5, R6, R7, pure). Raft paper, section 5.3.

An append says behind which record its entries stand: seq, epoch and hash. If this log has that very
record, then by induction both logs are equal up to it. Entries that are here already are skipped,
the first that differs cuts off the rest of this log (it was never committed, R6), new ones are
added. Where the record is not found, the answer says where agreement should be looked for.

The same seq and epoch with another hash can come of damage or a bug only, since one leader in one
epoch makes one history: the voter stops (CorruptLog) and does not truncate (R5).

What the leader has committed is committed here as far as *this message* has shown the logs to be
equal, no further: behind that there may be a tail of an old reign (R7; etcd raft 139).
"""

from __future__ import annotations

from eventstore.errors import CorruptLog, DecodeError
from eventstore.raft import segments
from eventstore.raft.effects import ReceiveSegment
from eventstore.raft.entry import Entry, Position, unpack
from eventstore.raft.generations import takeover_in
from eventstore.raft.messages import REFUSED, Append, AppendReply, SegmentOffer, SegmentReply
from eventstore.raft.state import DiskState
from eventstore.raft.voter import Voter
from eventstore.record import Epoch


class Following:
    """What a voter does with a leader's appends; the caller has dealt with epochs."""

    def __init__(self, voter: Voter) -> None:
        self._voter = voter

    def on_append(self, append: Append) -> None:
        """Take up what fits and answer. Raises CorruptLog (stop), DecodeError (drop it)."""
        voter = self._voter
        agreed = self._agreement(append)
        if agreed is None:
            self.refuse(append)
            return
        matched = self._take_up(append, agreed)
        voter.log.committed = max(voter.log.committed, self._committed(append, matched))
        reply = self._accepted(append, matched)
        if append.entries and not voter.full:
            voter.acknowledge(append.sender, reply, matched)
        else:  # a slow disk does not make this voter look dead
            held = min(matched, voter.log.durable)
            voter.send(append.sender, self._accepted(append, held))

    def refuse(self, append: Append) -> None:
        """Say that the append does not fit, and where to look for agreement."""
        voter = self._voter
        asked = Epoch(append.prev_gen, append.prev_term)
        hint = voter.log.agreement(append.prev_seq, asked)
        if hint.seq < voter.log.committed <= append.prev_seq:
            hint = self._position(min(voter.log.committed, voter.log.last.seq))
        self.refuse_behind(append, hint)

    def refuse_behind(self, append: Append, hint: Position) -> None:
        """Say that the append does not fit, and that agreement lies at or below `hint`."""
        voter = self._voter
        reply = AppendReply(
            *voter.header,
            ok=False,
            prev_seq=append.prev_seq,
            match_seq=0,
            conflict_seq=hint.seq,
            conflict_gen=hint.epoch.gen,
            conflict_term=hint.epoch.term,
            read_ctx=append.read_ctx,
            attempt=append.attempt,
            disk_state=voter.disk.value,
            last_fsync_ms=voter.last_fsync_ms,
        )
        voter.send(append.sender, reply)

    def brings_takeover(self, append: Append) -> bool:
        """Say whether the append, of a higher generation, proves it and fits (generations.py).

        If it contradicts what is committed here, this voter is superseded.
        """
        voter = self._voter
        if voter.superseded or voter.installing:  # what is installed counts as committed: wait
            return False
        if not takeover_in(append.takeover, append.gen, voter.trusts):
            return False
        agreed = self._agreement(append)
        if agreed is None:
            if append.prev_seq <= voter.log.committed:
                self._supersede(append.gen, append.prev_seq)
            return False
        for entry in self._unpacked(append, agreed):
            if self._differs(entry):
                if entry.first <= voter.log.committed:
                    self._supersede(append.gen, entry.first)
                    return False
                return True
            agreed = entry.end
        return agreed.seq >= voter.log.committed

    def _supersede(self, gen: int, fork: int) -> None:
        self._voter.superseded = True
        told = f"generation {gen} begins a history without record {fork}, committed here"
        self._voter.alarm("superseded", told)

    def on_offer(self, offer: SegmentOffer) -> ReceiveSegment | None:
        """Accept a segment that continues this log."""
        voter = self._voter
        if voter.installing == offer:
            return ReceiveSegment(offer)
        if (
            voter.installing
            or voter.disk is not DiskState.OK
            or not segments.fits(offer, voter.log)
        ):
            voter.send(offer.sender, SegmentReply(*voter.header, offer.last, REFUSED, 0))
            return None
        voter.installing = offer
        return ReceiveSegment(offer)

    def _agreement(self, append: Append) -> Position | None:
        """Return the record that the append stands behind, if this log has it (R5)."""
        own = self._voter.log.position(append.prev_seq)
        if own is None or own.epoch != (append.prev_gen, append.prev_term):
            return None
        if own.hash != append.prev_hash:
            told = f"record {own.seq} of epoch {tuple(own.epoch)} is another one at {append.sender}"
            raise CorruptLog(told, seq=own.seq, hint="gnt-log verify on both voters")
        return own

    def _take_up(self, append: Append, agreed: Position) -> int:
        """Bring this log up to the append; return up to where it now equals the leader's."""
        voter = self._voter
        matched = agreed
        for entry in self._unpacked(append, agreed):
            if self._differs(entry):
                if voter.full or voter.installing:
                    break  # answer with what is held already
                if entry.first <= voter.log.last.seq:
                    voter.truncate(entry.first)
                voter.append(entry)
            matched = entry.end
        return matched.seq

    def _unpacked(self, append: Append, agreed: Position) -> list[Entry]:
        entries: list[Entry] = []
        before = agreed
        for packed in append.entries:
            entry = unpack(packed, before)
            if entry.epoch > append.epoch:
                raise DecodeError(f"record {entry.first} is of an epoch above its leader's")
            before = entry.end
            entries.append(entry)
        return entries

    def _differs(self, entry: Entry) -> bool:
        """Say whether this log lacks the entry. Raises CorruptLog for a twin with another hash."""
        own = self._voter.log.entry_at(entry.first)
        if own is None or own.epoch != entry.epoch:
            return True
        if own.first != entry.first or own.hash != entry.hash:
            told = f"record {entry.first} of epoch {tuple(entry.epoch)} has two forms"
            raise CorruptLog(told, seq=entry.first, hint="gnt-log verify on both voters")
        return False

    def _committed(self, append: Append, matched: int) -> int:
        """Return up to where this message shows that the log is committed (R7)."""
        return min(append.commit_seq, matched)

    def _accepted(self, append: Append, matched: int) -> AppendReply:
        voter = self._voter
        return AppendReply(
            *voter.header,
            ok=True,
            prev_seq=append.prev_seq,
            match_seq=matched,
            conflict_seq=0,
            conflict_gen=0,
            conflict_term=0,
            read_ctx=append.read_ctx,
            attempt=append.attempt,
            disk_state=voter.disk.value,
            last_fsync_ms=voter.last_fsync_ms,
        )

    def _position(self, seq: int) -> Position:
        position = self._voter.log.position(seq)
        assert position is not None, seq
        return position

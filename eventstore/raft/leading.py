"""A leader's side of replication: one reign (R4, R7, R8, R10, R11, R16, pure).

A reign begins with the no-op of its term, which the runner encodes (`Ready.begin`). Entries go to
every member at once, pipelined; a majority's durable acknowledgement commits them, counting only
entries of this term (`commitment.py`). A heartbeat is an append without entries.

A reign ends

- when a higher term is seen (core.py);
- when no majority has answered for the least election timeout (check-quorum, R8): whoever asks this
  leader should rather be told that the outcome is unknown than wait for ever;
- when this voter was removed and that is committed (R10);
- by handing over: asked for, or because its own disk is slow or nearly full (R8, R14), or because
  it is a witness, which may only bring an electable voter level and hand over.
"""

from __future__ import annotations

from eventstore.events import EpochStarted
from eventstore.raft import segments
from eventstore.raft.commitment import Announce, Commitment, majority
from eventstore.raft.effects import ReadReady, ShipSegment
from eventstore.raft.entry import Entry, Packed
from eventstore.raft.generations import takeover_of
from eventstore.raft.membership import Config, config_in, flaw_of_change
from eventstore.raft.messages import (
    INSTALLED,
    WANTED,
    Append,
    AppendReply,
    SegmentReply,
    TimeoutNow,
)
from eventstore.raft.progress import Pace, Progress
from eventstore.raft.reads import ReadIndex
from eventstore.raft.state import DiskState
from eventstore.raft.transfer import Transfer, best_target
from eventstore.raft.voter import Voter
from eventstore.record import Epoch
from eventstore.replica import Refused

_REST = 10  # least election timeouts between two attempts to hand over of its own accord


class Leading:
    """One reign of this voter."""

    def __init__(self, voter: Voter) -> None:
        self._voter = voter
        self.epoch_start = voter.log.last.seq + 1
        self.over = ""  # why the reign is over, "" as long as it is not
        self.transfer: Transfer | None = None
        self.ships: list[ShipSegment] = []
        self.progress: dict[str, Progress] = {}
        self._reads = ReadIndex()
        self._answers: list[ReadReady] = []
        self._commitment = Commitment(
            frozenset(voter.config.voters), self.epoch_start, committed=voter.log.committed
        )
        self._beat_ms = voter.now_ms
        self._rest_until_ms = 0  # no hand-over of its own accord before
        self._follow_config()

    # -- what it is asked

    @property
    def epoch_committed(self) -> bool:
        """The no-op of this term is committed (R4)."""
        return self._voter.log.committed >= self.epoch_start

    def refusal(self, entry: Entry) -> Refused | None:
        """Say why this entry must not be appended, None if it may."""
        voter = self._voter
        if entry.epoch != voter.epoch or entry.first != voter.log.last.seq + 1:
            return Refused("not-leader", "it was placed for another reign or another end")
        if entry.first == self.epoch_start:
            if entry.records[0].record.kind == EpochStarted.KIND:
                return None
            return Refused("not-leader", "this reign has not begun", hint="ask again in a second")
        if self.transfer or not voter.config.electable(self._me):
            hint = f"ask {self.transfer.target}" if self.transfer else "ask again in a second"
            return Refused("not-leader", "this voter is handing over", hint=hint)
        if voter.full:
            return Refused("disk-full", "there is no room for the log", hint="free some space")
        change = config_in(entry)
        return self.flaw(change) if change else None

    def flaw(self, change: Config) -> Refused | None:
        """Say why the configuration must not change like this now, None if it may (R10)."""
        return flaw_of_change(
            self._voter.config,
            change,
            committed=self._voter.log.committed,
            epoch_committed=self.epoch_committed,
            level=self._level,
        )

    def append(self, entry: Entry) -> None:
        """Append an entry that is not refused."""
        if self._voter.append(entry):
            self._follow_config()

    def read(self, request: int) -> None:
        """Confirm that this voter still leads, then answer up to where one may read (R11)."""
        committed = self._voter.log.committed if self.epoch_committed else None
        self._reads.ask(request, committed)

    def hand_over(self, to: str | None) -> Refused | None:
        """Begin to hand over to a voter, or to the best one. Refused if there is none."""
        target = to or self._best_target()
        if target is None or not self._voter.config.electable(target) or target == self._me:
            hint = "name a voter that answers, and that is no witness"
            return Refused("wrong-state", f"cannot hand over to {to or 'anyone'}", hint=hint)
        now = self._voter.now_ms
        self.transfer = Transfer(target, now + self._voter.timing.election_min_ms)
        return None

    # -- what it hears

    def on_reply(self, reply: AppendReply) -> None:
        """Note what a peer holds, and commit what a majority holds."""
        peer = self._peer(reply.sender, reply.inc)
        if peer is None:
            return
        peer.heard_ms = self._voter.now_ms
        peer.disk, peer.fsync_ms = DiskState(reply.disk_state), reply.last_fsync_ms
        if not reply.ok:
            epoch = Epoch(reply.conflict_gen, reply.conflict_term)
            agreed = self._voter.log.agreement(reply.conflict_seq, epoch)
            peer.older = reply.gen < self._voter.epoch.gen
            if peer.older:  # nothing but the takeover's record convinces it: with a heartbeat
                peer.probe(max(agreed.seq, peer.match) + 1, waiting=True)
            else:
                peer.on_conflict(reply.attempt, reply.prev_seq, agreed.seq)
        elif reply.match_seq <= self._voter.log.last.seq:
            peer.older = False
            self._reads.on_returned(peer.name, reply.read_ctx)
            if peer.on_match(reply.match_seq, reply.attempt):
                self._count(peer.name, peer.match)
        if peer.disk is DiskState.FULL and peer.pace is Pace.STREAM:
            peer.probe(peer.match + 1, waiting=True)

    def on_segment_reply(self, reply: SegmentReply) -> None:
        """Note how a segment gets on."""
        peer = self._peer(reply.sender, reply.inc)
        if peer is None or peer.pace is not Pace.SEGMENT:
            return
        peer.heard_ms = peer.segment_ms = self._voter.now_ms
        if reply.state == INSTALLED and reply.last <= self._voter.log.last.seq:
            peer.probe(reply.last + 1)
            peer.on_match(reply.last, peer.attempt)
            self._count(peer.name, peer.match)
        elif reply.state != WANTED:
            peer.entries_until_ms = self._voter.now_ms + self._voter.timing.segment_ms
            peer.probe(self._voter.log.last.seq + 1)

    def on_persisted(self) -> None:
        """Count this voter's own disk like any other (R1)."""
        self._count(self._me, self._voter.log.durable)
        if self._slow(self._voter.last_fsync_ms):
            self._hand_over_by_itself()

    def on_dropped(self) -> None:
        """Go back to the configuration that acts after entries were dropped for want of room."""
        self._follow_config()

    def tick(self) -> None:
        """Do what time calls for; the caller calls at `deadline`."""
        voter = self._voter
        if not self._has_quorum():
            self.over = "no majority of the voters answers"
            return
        if self.transfer and voter.now_ms >= self.transfer.until_ms:
            self.transfer = None
        if self._should_hand_over():
            self._hand_over_by_itself()
        if voter.now_ms >= self._beat_ms:
            self._beat()

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        return self._beat_ms

    def flush(self) -> None:
        """Send what there is to send, after everything that was asked and heard."""
        spread = self._reads.unsent
        for peer in self.progress.values():
            self._serve(peer, spread=spread)
        self._answers += self._reads.answered(frozenset(self._voter.config.voters), self._me)
        self._hand_over_if_level()

    def take_answers(self) -> list[ReadReady]:
        """Return the reads that may be answered."""
        answers, self._answers = self._answers, []
        return answers

    def take_ships(self) -> list[ShipSegment]:
        """Return the segments to send."""
        ships, self.ships = self.ships, []
        return ships

    def give_up(self) -> list[ReadReady]:
        """Return the reads that this reign will not answer."""
        return [*self.take_answers(), *self._reads.give_up()]

    # -- counting

    def _count(self, name: str, seq: int) -> None:
        if name in self._commitment.voters:
            self._announce(self._commitment.on_durable(name, seq))

    def _announce(self, announced: tuple[Announce, ...]) -> None:
        """Note what is committed now (R4: of this term by counting, older ones with it)."""
        log = self._voter.log
        for announce in announced:
            first = not self.epoch_committed
            log.committed = max(log.committed, announce.committed)
            if first and self.epoch_committed:
                self._reads.on_epoch_committed(log.committed)
            if self._removed():
                self._leave()

    def _removed(self) -> bool:
        config = self._voter.config
        return config.seq <= self._voter.log.committed and self._me not in config.voters

    def _leave(self) -> None:
        """Tell everybody that the change is committed, and the best voter to stand (R10)."""
        for peer in self.progress.values():
            self._send(peer, [])
        target = self._best_target()
        if target:
            self._voter.send(target, TimeoutNow(*self._voter.header))
        self.over = "this voter was removed"

    def _follow_config(self) -> None:
        """Serve the members of the configuration that acts, and count its voters."""
        voter, config = self._voter, self._voter.config
        members = {**config.learners, **config.voters}
        known = {}
        for name, inc in members.items():
            peer = self.progress.get(name)
            if name != self._me:
                fresh = peer is None or peer.inc != inc
                known[name] = self._newcomer(name, inc) if fresh or peer is None else peer
        self.progress = known
        durable = {name: peer.match for name, peer in known.items()}
        durable[self._me] = voter.log.durable
        self._announce(self._commitment.on_voters(frozenset(config.voters), durable))

    def _newcomer(self, name: str, inc: bytes) -> Progress:
        return Progress(name, inc, next=self._voter.log.last.seq + 1, heard_ms=self._voter.now_ms)

    # -- sending

    def _serve(self, peer: Progress, *, spread: bool) -> None:
        """Send the peer what it lacks, as far as it may be sent now.

        `spread`: there is a question that it must be asked (R11).
        """
        voter = self._voter
        log, timing = voter.log, voter.timing
        if peer.pace is Pace.STREAM and (ship := segments.due(peer, log, timing, voter.now_ms)):
            peer.begin_segment(voter.now_ms)
            self.ships.append(ship)
        sent = False
        while peer.next <= log.last.seq and peer.may_stream(timing.in_flight):
            self._send(peer, log.entries(peer.next, timing.message_bytes))
            sent = True
        probes = peer.pace is Pace.PROBE and not peer.waiting
        news = peer.pace is Pace.STREAM and peer.told_commit < log.committed
        if not sent and (spread or probes or (news and not peer.in_flight)):
            self._send(peer, [])

    def _send(self, peer: Progress, entries: list[Entry]) -> None:
        voter = self._voter
        before = voter.log.position(peer.next - 1)
        assert before is not None, "what is sent follows a record of this log"
        append = Append(
            *voter.header,
            prev_seq=before.seq,
            prev_gen=before.epoch.gen,
            prev_term=before.epoch.term,
            prev_hash=before.hash,
            entries=tuple(entry.packed() for entry in entries),
            commit_seq=voter.log.committed,
            read_ctx=self._reads.number(),
            attempt=peer.attempt,
            takeover=self._takeover() if peer.older else (),
        )
        peer.told_commit = voter.log.committed
        peer.on_sent(entries[-1].last if entries else None)
        voter.send(peer.name, append)

    def _takeover(self) -> Packed:
        voter = self._voter
        return takeover_of(voter.log, voter.members.all, voter.epoch.gen)

    def _beat(self) -> None:
        """Send a heartbeat to everybody."""
        voter, timing = self._voter, self._voter.timing
        self._beat_ms = voter.now_ms + timing.heartbeat_ms
        for peer in self.progress.values():
            stuck = voter.now_ms - peer.segment_ms > timing.segment_ms
            silent = voter.now_ms - peer.heard_ms > timing.election_min_ms
            if stuck if peer.pace is Pace.SEGMENT else silent:
                peer.probe(voter.log.last.seq + 1)  # it may hold more than it could tell
            shown = voter.log.entries(peer.next, timing.message_bytes) if peer.older else []
            self._send(peer, shown)

    # -- whether to go on

    def _has_quorum(self) -> bool:
        """Say whether a majority has answered within the least election timeout (R8)."""
        voter = self._voter
        since = voter.now_ms - voter.timing.election_min_ms
        voters = self._commitment.voters
        heard = sum(p.heard_ms >= since for p in self.progress.values() if p.name in voters)
        return heard + (self._me in voters) >= majority(len(voters))

    def _should_hand_over(self) -> bool:
        """Say whether another voter would lead better (R8, R14), or must (witness)."""
        voter = self._voter
        witness = voter.config.stands_back(self._me)
        return witness or self._slow(voter.stalled_ms) or voter.disk is not DiskState.OK

    def _slow(self, took_ms: float) -> bool:
        return took_ms > self._voter.timing.election_min_ms / 2

    def _hand_over_by_itself(self) -> None:
        """Begin to hand over if there is somebody, and not all the time: no proposal is taken
        meanwhile, and a leader with a bad disk is better than none."""
        voter = self._voter
        witness = voter.config.stands_back(self._me)
        if self.transfer is None and (witness or voter.now_ms >= self._rest_until_ms):
            self.hand_over(None)
            self._rest_until_ms = voter.now_ms + _REST * voter.timing.election_min_ms

    def _best_target(self) -> str | None:
        voter = self._voter
        since = voter.now_ms - voter.timing.election_min_ms
        return best_target(self.progress.values(), voter.config, heard_since_ms=since)

    def _hand_over_if_level(self) -> None:
        """Tell the one that takes over, once it holds all that is here, and all that is committed.

        Whoever waits for what is open then hears that it is committed, not that it is unknown.
        """
        transfer, voter = self.transfer, self._voter
        last = voter.log.last.seq
        if transfer is None or transfer.told or voter.log.committed < last:
            return
        target = self.progress.get(transfer.target)
        if target is not None and target.match == last:
            voter.send(target.name, TimeoutNow(*voter.header))
            transfer.told = True

    def _level(self, name: str) -> bool:
        """Say whether a learner is so near that it may vote (R10)."""
        voter, peer = self._voter, self.progress.get(name)
        if peer is None or peer.disk is not DiskState.OK or not peer.match:
            return False  # one that has not answered yet is given time, not a vote
        answers = voter.now_ms - peer.heard_ms <= voter.timing.election_min_ms
        return answers and voter.log.last.seq - peer.match <= voter.timing.promote_lag

    def _peer(self, name: str, inc: bytes) -> Progress | None:
        """Return what is known of a member, None for a stranger or another storage."""
        peer = self.progress.get(name)
        if peer is not None and peer.inc != inc:
            told = f"{name} answers with a storage that is not the one of its membership"
            self._voter.alarm("wrong-storage", told, once=True)
            return None
        return peer

    @property
    def _me(self) -> str:
        return self._voter.me.name

"""The core: one voter of the replicated log, as a machine without I/O (pure).

    tick(now_ms)              time has passed; call it at `deadline_ms`, or oftener
    step(message, now_ms)     a voter said something (decoded; its link is who it says it is)
    propose(entry)            the leader's runner has encoded a batch at the end of the log
    ready()                   what is to be done now
    advance(ticket, ...)      what was to be made durable is

`now_ms` is CLOCK_BOOTTIME in milliseconds (R15). All calls come from one thread. After each call,
or after several, the runner takes `ready()` until it is empty (`while out := core.ready()`), and
carries each out in the order of its fields:

1. `persist` goes to the writer's thread. Persists become durable in the order of their tickets;
   several may share a transaction. Each is one transaction in the log's file (cut off, add, epoch
   and vote) and then the mark; after the mark, and not before, the runner calls `advance(ticket)`.
   The core goes on meanwhile: there may be further Persists before the first one is done.
2. `messages` may be sent at once, in any order, late, twice or never. Whatever depends on something
   that is not durable is held back inside until `advance` (R1).
3. `committed` entries are folded and told of, in this order, each exactly once in a process's life,
   and only now is anything external done about them (R12). They are durable here as well.
4. `leadership` as `Replica` defines it. If it says that this voter no longer leads, every proposal
   that is still open is answered Unknown (R8); `committed` of the same Ready comes first.
5. `reads`: a read may be answered when the fold has reached its seq.
6. `segments`: see segments.py. 7. `alarms` are for the operator.
8. `dropped_from` (no other member, disk full): what this runner placed from that seq on was not
   appended. It takes it back (`Appended.take_back`) and answers Refused("disk-full").
9. `begin`: this voter has won the epoch. The runner places EpochStarted at the end of the log and
   proposes it before anything else.

The runner keeps its `Appended` (stream versions, clock) in step with the log by what it persists:
the rows that `truncate_from` cuts off and the `entries` of others come through `persist`.

If a transaction finds no room, the writer drops it and every later Persist until one that says
`retry`, and the runner calls `no_room()`. Any other failure of the disk is the end of the process.

What is raised: CorruptLog, if histories contradict each other (R5, R6). Then the core is dead: the
process stops, and starts again only after an operator has looked. DecodeError, if a message is not
what it claims; it changed nothing, and the link should be closed.

Epochs (R2), before any role sees a message: of another cluster, alarm and drop. Of a lower epoch,
refuse (the refusal tells the sender the higher one) or drop. Of a higher term, go into it, the vote
free; whoever led stops. Not for the vote of somebody who is no credible candidate: it could not
win, only disturb. Of a higher generation: generations.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.errors import CorruptLog
from eventstore.raft import segments
from eventstore.raft.effects import ReadReady, Ready, ShipSegment
from eventstore.raft.election import Campaign, Elector, credible, refusal
from eventstore.raft.entry import Entry
from eventstore.raft.entry_log import EntryLog, Storage
from eventstore.raft.following import Following
from eventstore.raft.generations import TrustTakeover, trust_none
from eventstore.raft.leading import Leading
from eventstore.raft.membership import Config, Members
from eventstore.raft.messages import (
    INSTALLED,
    REFUSED,
    WANTED,
    Append,
    AppendReply,
    Message,
    SegmentChunk,
    SegmentOffer,
    SegmentReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from eventstore.raft.recovery import assess
from eventstore.raft.state import DiskState, HardState, Identity, Role, Timing
from eventstore.raft.voter import Voter
from eventstore.record import Epoch, genesis_hash
from eventstore.replica import Leadership, Refused
from eventstore.storage.ack_mark import Mark


@dataclass(frozen=True, slots=True)
class Restart:
    """What a voter's storage says at start, after its chain was found sound."""

    cluster_id: str
    me: Identity
    hard: HardState  # of the log's file
    mark: Mark
    last: int  # seq of the last record, 0 for an empty log
    committed: int  # a record that is certainly committed: what a snapshot or the index holds
    configs: Sequence[Config]  # every one in the log (`membership.config_of`), in order


class Core:
    """One voter of the replicated log."""

    def __init__(
        self,
        restart: Restart,
        storage: Storage,
        *,
        rng: random.Random,
        now_ms: int,
        timing: Timing = Timing(),  # noqa: B008  # frozen
        trusts: TrustTakeover = trust_none,
    ) -> None:
        """`rng` draws the election timeouts; `trusts` says whether a takeover's record is good."""
        log = EntryLog(
            storage,
            genesis=genesis_hash(restart.cluster_id),
            last=restart.last,
            committed=restart.committed,
            kept_bytes=timing.kept_bytes,
        )
        hard, recovery = assess(
            restart.mark, restart.hard, log.position(restart.mark.seq), log.last
        )
        self._voter = Voter(
            me=restart.me,
            cluster_id=restart.cluster_id,
            hard=hard,
            log=log,
            members=Members(list(restart.configs)),
            recovery=recovery,
            timing=timing,
            rng=rng,
            trusts=trusts,
            now_ms=now_ms,
        )
        self._following = Following(self._voter)
        self._campaign: Campaign | None = None
        self._leading: Leading | None = None
        self._delivered = restart.committed
        self._told = self._leadership()
        self._begin: Epoch | None = None
        self._dropped_from = 0
        self._reads: list[ReadReady] = []
        self._out = Ready()  # segments are collected here
        self._ask_ms = now_ms
        alone = self._voter.config.alone(restart.me.name)
        self._patience_ms = now_ms + (0 if alone else self._voter.draw_patience_ms())

    # -- what it is told

    def tick(self, now_ms: int) -> None:
        """Do what time calls for."""
        voter = self._voter
        voter.now_ms = max(voter.now_ms, now_ms)
        if self._leading:
            self._leading.tick()
            self._end_reign_if_over()
            if self._leading and self._no_op_missing() and not voter.full:
                self._begin = voter.epoch
        elif voter.now_ms >= self._patience_ms:
            self._patience_ms = voter.now_ms + voter.draw_patience_ms()
            voter.leader = None
            if voter.may_campaign:
                self._stand(pre=True)
        elif self._campaign and voter.now_ms >= self._ask_ms:
            self._ask(self._campaign)  # a lost message should not cost a whole election

    def step(self, message: Message, now_ms: int) -> None:
        """Take up what another voter said. Late, repeated and reordered messages are harmless.

        Raises CorruptLog (stop) or DecodeError (drop it), see above.
        """
        voter = self._voter
        voter.now_ms = max(voter.now_ms, now_ms)
        if voter.superseded:
            return
        if message.cluster != voter.cluster_id:
            told = f"{message.sender} belongs to cluster {message.cluster}"
            voter.alarm("other-cluster", told, once=True)
        elif message.gen != voter.epoch.gen:
            self._other_generation(message)
        elif message.term < voter.epoch.term:
            self._refuse_old(message)
        else:
            if message.term > voter.epoch.term and self._believes_term(message):
                self._enter(message.epoch)
            if message.term == voter.epoch.term:
                self._dispatch(message)
            elif isinstance(message, Vote):
                self._answer_vote(message, "no voter")
        self._end_reign_if_over()

    def propose(self, entry: Entry) -> Refused | None:
        """Append an entry that was placed at the end of the log, in this epoch.

        Refused: nothing was appended and nothing will be; the runner takes it back. None: it is
        open until it comes in `committed`, or leadership is lost (Unknown).
        """
        if self._leading is None:
            leader = self._voter.leader
            hint = f"the leader is {leader}" if leader else "ask again in a second"
            return Refused("not-leader", "this voter does not lead", hint=hint)
        if refused := self._leading.refusal(entry):
            return refused
        self._begin = None
        self._leading.append(entry)
        self._end_reign_if_over()
        return None

    def advance(self, ticket: int, now_ms: int, took_ms: float = 0.0) -> None:
        """Note that every Persist up to `ticket` is durable, log and mark; the last sync took so
        long."""
        voter = self._voter
        voter.now_ms = max(voter.now_ms, now_ms)
        voter.on_persisted(ticket, took_ms)
        if self._leading:
            self._leading.on_persisted()
        elif self._campaign and not self._campaign.pre and voter.hard_durable:
            self._count_vote(voter.me.name)
        self._end_reign_if_over()

    def no_room(self, now_ms: int) -> None:
        """Note that the disk had no room for what it was to make durable (R14)."""
        voter = self._voter
        voter.now_ms = max(voter.now_ms, now_ms)
        # Else others may have got it, and commit it; so also if what makes this voter the only
        # one is itself among what had no room: records before it went to everybody.
        alone = voter.config.alone(voter.me.name) and voter.config.seq <= voter.log.durable
        dropped = voter.on_no_room()
        if self._leading and alone:
            self._dropped_from = dropped
            self._leading.on_dropped()
        elif self._leading:
            self._step_down("there is no room for its log")
        self._campaign = None

    # -- what it is asked

    def read(self, request: int) -> None:
        """Ask for a linearizable read; the answer comes in `Ready.reads` under this number."""
        if self._leading:
            self._leading.read(request)
        else:
            self._reads.append(ReadReady(request, None))

    def hand_over(self, to: str | None = None) -> Refused | None:
        """Begin to hand over leadership, to a voter or to the best one. Refused: it cannot be."""
        if self._leading is None:
            return Refused("not-leader", "this voter does not lead")
        return self._leading.hand_over(to)

    def refuses_change(self, change: Config) -> Refused | None:
        """Say why this voter would not append this configuration now, None if it would."""
        if self._leading is None:
            return Refused("not-leader", "this voter does not lead")
        return self._leading.flaw(change)

    def disk_is(self, state: DiskState) -> None:
        """Note how much room there is: OK, or LOW (under a twentieth free), R14."""
        if self._voter.disk is not DiskState.FULL:
            self._voter.disk = state

    def offer(self, ship: ShipSegment, *, size: int, sha256: bytes) -> SegmentOffer:
        """Return the message that offers a segment whose file has these bytes."""
        return segments.offer(self._voter.header, self._voter.log, ship, size, sha256)

    def want(self, offer: SegmentOffer, offset: int) -> None:
        """Ask whoever offers an accepted segment for what stands at `offset`."""
        voter = self._voter
        voter.send(offer.sender, SegmentReply(*voter.header, offer.last, WANTED, offset))

    def installed(self, offer: SegmentOffer, configs: Sequence[Config], now_ms: int) -> None:
        """Note that an accepted segment is in the log, durable, with the configurations in it."""
        voter = self._voter
        assert voter.installing == offer, "what was accepted is installed"
        voter.now_ms = max(voter.now_ms, now_ms)
        voter.on_installed(offer.last, configs)
        voter.send(offer.sender, SegmentReply(*voter.header, offer.last, INSTALLED, 0))

    def install_failed(self, offer: SegmentOffer) -> None:
        """Note that an accepted segment was not whole, not sound, or did not come."""
        voter = self._voter
        assert voter.installing == offer, "what was accepted can fail"
        voter.installing = None
        voter.send(offer.sender, SegmentReply(*voter.header, offer.last, REFUSED, 0))

    # -- what it says

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do, unless something else happens first."""
        due_ms = self._patience_ms
        if self._leading:
            due_ms = self._leading.deadline_ms
        elif self._campaign:
            due_ms = min(due_ms, self._ask_ms)
        return min(due_ms, self._voter.retry_ms) if self._voter.full else due_ms

    @property
    def voter(self) -> Voter:
        """The state behind it, to look at (status, metrics, tests): never to be changed."""
        return self._voter

    @property
    def role(self) -> Role:
        """What this voter does in its term."""
        if self._leading:
            return Role.LEADER
        return Role.CANDIDATE if self._campaign else Role.FOLLOWER

    @property
    def leading(self) -> Leading | None:
        """The reign of this voter, to look at: progress of its peers, transfer."""
        return self._leading

    def ready(self) -> Ready:
        """Return what is to be done now; each thing is returned once."""
        voter = self._voter
        if self._leading:
            self._leading.flush()
            self._reads += self._leading.take_answers()
            self._out.segments += self._leading.take_ships()
        if voter.recovery:
            voter.check_recovered()
        out, self._out = self._out, Ready()
        out.persist = voter.take_persist()
        out.committed = self._deliver()
        out.messages = voter.take_messages()
        leadership = self._leadership()
        if leadership != self._told:
            out.leadership = self._told = leadership
        out.reads, self._reads = self._reads, []
        out.alarms, voter.alarms = voter.alarms, []
        out.dropped_from, self._dropped_from = self._dropped_from, 0
        out.begin, self._begin = self._begin, None
        return out

    # -- epochs

    def _believes_term(self, message: Message) -> bool:
        """Say whether a higher term is adopted from this message (R2)."""
        voter = self._voter
        return not isinstance(message, Vote) or credible(message, voter.config, voter.log.last)

    def _enter(self, epoch: Epoch) -> None:
        """Go into a higher epoch as a follower."""
        self._step_down("a higher term")
        self._voter.enter(epoch)

    def _refuse_old(self, message: Message) -> None:
        """Tell the sender of an old epoch that it is one (R2)."""
        match message:
            case Append():
                self._following.refuse(message)
            case Vote():
                self._answer_vote(message, "old term")
            case _:
                pass

    def _other_generation(self, message: Message) -> None:
        """See generations.py."""
        voter = self._voter
        if message.gen < voter.epoch.gen:
            if isinstance(message, AppendReply) and self._leading and not message.ok:
                self._leading.on_reply(message)  # it lacks the takeover: start from what it holds
            elif not isinstance(message, AppendReply):
                self._refuse_old(message)
            return
        told = f"{message.sender} is in generation {message.gen}, this voter in {voter.epoch.gen}"
        joining = voter.epoch.gen == 0 and voter.log.last.seq == 0
        if not joining:
            voter.alarm("newer-generation", told, once=True)
        if not isinstance(message, Append):
            return
        if joining or self._following.brings_takeover(message):
            self._enter(message.epoch)
            self._dispatch(message)
        else:
            if voter.superseded:
                self._step_down("superseded by a newer generation")
            committed = voter.log.agreement(voter.log.committed, voter.epoch)
            self._following.refuse_behind(message, committed)

    # -- roles

    def _dispatch(self, message: Message) -> None:
        """Hand a message of this epoch to whom it concerns."""
        match message:
            case Append():
                self._hear_leader(message.sender)
                self._following.on_append(message)
            case AppendReply():
                if self._leading:
                    self._leading.on_reply(message)
            case Vote():
                self._on_vote(message)
            case VoteReply():
                self._on_vote_reply(message)
            case TimeoutNow():
                if message.sender == self._voter.leader and self._voter.may_campaign:
                    self._stand(pre=False, transfer=True)
            case SegmentOffer():
                self._hear_leader(message.sender)
                if receive := self._following.on_offer(message):
                    self._out.segments.append(receive)
            case SegmentReply():
                if self._leading:
                    self._leading.on_segment_reply(message)
            case SegmentChunk():
                pass  # from runner to runner

    def _hear_leader(self, sender: str) -> None:
        """Follow the leader of this epoch."""
        voter = self._voter
        if self._leading or voter.leader not in (None, sender):
            told = f"epoch {tuple(voter.epoch)} has two leaders, {sender} is one"
            raise CorruptLog(told, hint="do not restart; keep the files of all voters")
        voter.leader = sender
        voter.heard_ms = voter.now_ms
        self._campaign = None
        self._patience_ms = voter.now_ms + voter.draw_patience_ms()

    def _stand(self, *, pre: bool, transfer: bool = False) -> None:
        """Ask for votes (election.py)."""
        voter = self._voter
        for_term = voter.epoch.term + 1
        if not pre:
            self._step_down("it stands for election")
            voter.enter(Epoch(voter.epoch.gen, for_term), voter.me)
        self._campaign = Campaign(pre, for_term, frozenset(voter.config.voters), transfer)
        self._patience_ms = voter.now_ms + voter.draw_patience_ms()
        self._ask(self._campaign)
        if pre:
            self._count_vote(voter.me.name)  # the own vote in earnest counts once it is durable

    def _ask(self, campaign: Campaign) -> None:
        """Ask everybody who has not said yes yet."""
        voter = self._voter
        self._ask_ms = voter.now_ms + voter.timing.heartbeat_ms
        vote = Vote(
            *voter.header,
            pre=campaign.pre,
            for_term=campaign.for_term,
            last_seq=voter.log.last.seq,
            last_gen=voter.log.last.epoch.gen,
            last_term=voter.log.last.epoch.term,
            transfer=campaign.transfer,
        )
        for name in sorted(campaign.voters - campaign.granted - {voter.me.name}):
            voter.send(name, vote)

    def _on_vote(self, vote: Vote) -> None:
        voter = self._voter
        since = voter.now_ms - voter.timing.election_min_ms
        hears = self._leading is not None or voter.heard_ms > since
        elector = Elector(voter.hard, voter.config, voter.log.last, voter.able, hears)
        reason = refusal(elector, vote)
        if not vote.pre and not reason:
            voter.vote_for(Identity(vote.sender, vote.inc))
            self._patience_ms = voter.now_ms + voter.draw_patience_ms()
        self._answer_vote(vote, reason)

    def _answer_vote(self, vote: Vote, reason: str) -> None:
        voter = self._voter
        reply = VoteReply(
            *voter.header, pre=vote.pre, for_term=vote.for_term, granted=not reason, reason=reason
        )
        voter.send(vote.sender, reply)

    def _on_vote_reply(self, reply: VoteReply) -> None:
        campaign, voter = self._campaign, self._voter
        if campaign is None or (campaign.pre, campaign.for_term) != (reply.pre, reply.for_term):
            return
        if voter.config.votes(Identity(reply.sender, reply.inc)) and reply.granted:
            self._count_vote(reply.sender)
        elif reply.reason == "no voter":
            told = f"{reply.sender} does not count {voter.me.name} as a voter"
            voter.alarm("no-voter", told, once=True)

    def _count_vote(self, name: str) -> None:
        campaign = self._campaign
        assert campaign is not None
        campaign.on_reply(name, granted=True)
        if not campaign.won:
            return
        if campaign.pre:
            self._stand(pre=False)
        elif self._voter.hard_durable:
            self._lead()

    def _lead(self) -> None:
        """Begin to lead: the runner is asked for the no-op (R4)."""
        voter = self._voter
        self._campaign = None
        voter.leader = voter.me.name
        self._leading = Leading(voter)
        self._begin = voter.epoch

    def _no_op_missing(self) -> bool:
        """Say whether there was no room for the no-op of this reign."""
        leading = self._leading
        return leading is not None and self._voter.log.last.seq < leading.epoch_start

    def _end_reign_if_over(self) -> None:
        if self._leading and self._leading.over:
            self._step_down(self._leading.over)

    def _step_down(self, why: str) -> None:
        """Stop leading, or asking to lead. What is open is Unknown from here on (R8)."""
        voter = self._voter
        self._campaign = None
        if self._leading is None:
            return
        self._reads += self._leading.give_up()
        self._leading, self._begin = None, None
        voter.leader = None
        voter.alarm("stepped-down", f"{voter.me.name} leads no more: {why}")
        self._patience_ms = voter.now_ms + voter.draw_patience_ms()

    # -- what comes out

    def _deliver(self) -> list[Entry]:
        """Return entries that have become committed and are durable here (R12)."""
        log = self._voter.log
        upto = min(log.committed, log.durable)
        if self._delivered >= upto:
            return []
        found = log.entries(self._delivered + 1, self._voter.timing.message_bytes)
        entries = [entry for entry in found if entry.last <= upto]
        if entries:
            self._delivered = entries[-1].last
        return entries

    def _leadership(self) -> Leadership:
        voter, leading = self._voter, self._leading
        here = leading is not None and not voter.config.stands_back(voter.me.name)
        ready = leading is not None and here and self._delivered >= leading.epoch_start
        return Leadership(voter.epoch, voter.leader, here=here, ready=ready)

"""What every role shares: state, log, and the outbox that keeps "durable before said" (R1, pure).

A message is given to the runner only once everything that it depends on is durable, so that the
runner may send whatever it gets. What a message depends on:

- the epoch in its header, and the vote that was given in that epoch: always;
- for an acknowledgement, the records that it acknowledges.

Each change becomes durable with a ticket (`Persist`); a message is held until its ticket is done.
A leader's own append is not waited for: the followers' syncs run beside its own, and it counts
itself when its own is done, like any other voter.

No room on the disk (R14): what was not written is forgotten, as if it had never come, and so is
every message that waited for it. Until `retry_full_ms` have passed nothing new is asked of the
disk; then the next change tries again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from eventstore.raft.effects import Alarm, Outgoing, Persist
from eventstore.raft.entry import Entry, Position
from eventstore.raft.entry_log import EntryLog
from eventstore.raft.generations import TrustTakeover
from eventstore.raft.membership import Config, Members
from eventstore.raft.messages import VERSION, Message, SegmentOffer
from eventstore.raft.recovery import Recovery
from eventstore.raft.state import NOBODY, DiskState, HardState, Identity, Timing
from eventstore.record import Epoch
from eventstore.storage.ack_mark import Mark

Header = tuple[int, str, int, int, str, bytes]


class Voter:
    """One voter's state, whatever its role."""

    def __init__(
        self,
        *,
        me: Identity,
        cluster_id: str,
        hard: HardState,
        log: EntryLog,
        members: Members,
        recovery: Recovery | None,
        timing: Timing,
        rng: random.Random,
        trusts: TrustTakeover,
        now_ms: int,
    ) -> None:
        self.me, self.cluster_id, self.timing, self.trusts = me, cluster_id, timing, trusts
        self.log, self.members, self.recovery = log, members, recovery
        self.superseded = False  # a newer generation contradicts what was committed here
        self.installing: SegmentOffer | None = None  # a segment is on its way into the log
        self.now_ms = now_ms
        self.leader: str | None = None
        self.heard_ms = now_ms - timing.election_min_ms  # when a leader was heard last
        self.disk = DiskState.OK
        self.last_fsync_ms = 0.0
        self.alarms: list[Alarm] = []
        self._alarmed: set[Alarm] = set()
        self._rng = rng
        self._full_until_ms = 0
        self._messages: list[Outgoing] = []
        self._held: list[tuple[int, Outgoing]] = []
        self._done = 0  # every ticket up to this is durable
        self._next = 1
        self._dirty = recovery is not None  # what was taken up from the mark goes into the log
        self._retry = False
        self._handed_ms: list[tuple[int, int]] = []  # (ticket, when) of what is under way
        self._hard_ticket = 0
        self._durable_hard = hard
        self._set(hard)
        if recovery is not None:
            self.alarm("recovering", f"{recovery.told(log.last)}, so it neither votes nor leads")

    # -- who, and what it may do

    @property
    def config(self) -> Config:
        """The configuration that acts."""
        return self.members.config

    @property
    def able(self) -> bool:
        """It may vote: nothing that it said is lost, and its log is not being exchanged (R3)."""
        return self.recovery is None and not self.superseded and self.installing is None

    @property
    def may_campaign(self) -> bool:
        """It may stand for election."""
        config, members = self.config, self.members
        votes = config.votes(self.me)
        if config.seq > self.log.committed:  # not yet removed for certain, and perhaps needed
            votes = votes or members.previous.votes(self.me)
        return self.able and votes and self.disk is not DiskState.FULL

    @property
    def full(self) -> bool:
        """There was no room lately: nothing may be appended."""
        return self.now_ms < self._full_until_ms

    @property
    def retry_ms(self) -> int:
        """When a full disk is tried again."""
        return self._full_until_ms

    def draw_patience_ms(self) -> int:
        """Return how long to wait for a leader this time."""
        timing = self.timing
        return self._rng.randint(timing.election_min_ms, timing.election_max_ms)

    def alarm(self, code: str, message: str, *, once: bool = False) -> None:
        """Tell the operator; `once`: not again in the same words."""
        alarm = Alarm(code, message)
        if not (once and alarm in self._alarmed):
            self.alarms.append(alarm)
        if once:
            self._alarmed.add(alarm)

    # -- state that must be durable

    @property
    def epoch(self) -> Epoch:
        """The epoch this voter is in."""
        return self.hard.epoch

    def enter(self, epoch: Epoch, vote: Identity = NOBODY) -> None:
        """Go into a higher epoch, the vote still free or given at once (R2)."""
        assert epoch > self.hard.epoch, epoch
        self.leader = None
        self._set(HardState(epoch, vote))
        self._dirty = True

    def vote_for(self, candidate: Identity) -> None:
        """Give the vote of this term."""
        assert self.hard.vote in (NOBODY, candidate), "one vote a term"
        if self.hard.vote != candidate:
            self._set(HardState(self.hard.epoch, candidate))
            self._dirty = True

    def _set(self, hard: HardState) -> None:
        self.hard = hard
        self.header: Header = (VERSION, self.cluster_id, *hard.epoch, *self.me)

    def append(self, entry: Entry) -> bool:
        """Add an entry to the log; say whether it brought another configuration."""
        self.log.append(entry)
        return self.members.on_append(entry)

    def truncate(self, first: int) -> None:
        """Cut the log from record `first` on, with the configurations that stood there (R6)."""
        self.log.truncate(first)
        self.members.on_truncate(first)

    # -- messages

    def send(self, to: str, message: Message) -> None:
        """Let a message go as soon as its header is durable."""
        self._hold(self._next if self._dirty else self._hard_ticket, to, message)

    def acknowledge(self, to: str, message: Message, seq: int) -> None:
        """Let a message go as soon as its header and the log up to `seq` are durable."""
        ticket = self.log.ticket_of(seq)
        hard = self._next if self._dirty else self._hard_ticket
        self._hold(max(hard, self._next if ticket is None else ticket), to, message)

    def _hold(self, ticket: int, to: str, message: Message) -> None:
        if ticket <= self._done:
            self._messages.append(Outgoing(to, message))
        elif not self.full:  # else it may never be true
            self._held.append((ticket, Outgoing(to, message)))

    def take_messages(self) -> list[Outgoing]:
        """Return what may be sent now."""
        taken, self._messages = self._messages, []
        return taken

    # -- the disk

    @property
    def stalled_ms(self) -> int:
        """How long the oldest write that is under way has taken."""
        return self.now_ms - self._handed_ms[0][1] if self._handed_ms else 0

    @property
    def hard_durable(self) -> bool:
        """Epoch and vote are on the disk as they are in memory."""
        return self._durable_hard == self.hard

    def take_persist(self) -> Persist | None:
        """Return what must be made durable, None if nothing is new (or the disk was full)."""
        if self.full or not (self._dirty or self.log.unwritten):
            return None
        ticket, self._next = self._next, self._next + 1
        truncate_from, entries = self.log.hand_over(ticket)
        if self._dirty:
            self._hard_ticket, self._dirty = ticket, False
        self._handed_ms.append((ticket, self.now_ms))
        retry, self._retry = self._retry, False
        return Persist(ticket, self.hard, truncate_from, entries, self._mark(), retry)

    def on_persisted(self, ticket: int, took_ms: float) -> None:
        """Note that everything up to `ticket` is durable, the mark included."""
        assert ticket < self._next, ticket
        self._done = max(self._done, ticket)
        self.last_fsync_ms = took_ms
        if self.disk is DiskState.FULL:
            self.disk = DiskState.OK
        if ticket >= self._hard_ticket and not self._dirty:
            self._durable_hard = self.hard
        self._handed_ms = [handed for handed in self._handed_ms if handed[0] > ticket]
        self.log.on_durable(ticket)
        if self._held:
            self._messages += [outgoing for needs, outgoing in self._held if needs <= ticket]
            self._held = [held for held in self._held if held[0] > ticket]

    def on_no_room(self) -> int:
        """Forget what could not be written; return from which record on, 0 if none."""
        self.disk = DiskState.FULL
        self._full_until_ms = self.now_ms + self.timing.retry_full_ms
        self._held.clear()
        self._handed_ms.clear()
        self._retry = True
        self._dirty = self._dirty or not self.hard_durable
        dropped = self.log.drop_unwritten()
        if dropped:
            self.members.on_truncate(dropped)
        return dropped

    def check_recovered(self) -> bool:
        """End RECOVERING if all that was ever said is held again (R9); say whether it ended now."""
        held = min(self.log.durable, self.log.committed)
        if self.recovery is None or not self.recovery.over(self._held_position(held)):
            return False
        self.alarm("recovered", f"what this voter had said is held again, up to record {held}")
        self.recovery = None
        self._dirty = True  # the mark follows the log again
        return True

    def _held_position(self, seq: int) -> Position:
        position = self.log.position(seq)
        assert position is not None, "what is durable is there"
        return position

    def _mark(self) -> Mark:
        """Return the mark that goes with the next write: what it will allow to be said.

        While RECOVERING it goes on naming what is lost, so that a restart does not forget that.
        """
        gen, term = self.hard.epoch
        seq, last_hash = self.log.last.seq, self.log.last.hash
        if self.recovery:
            seq, last_hash = self.recovery.mark.seq, self.recovery.mark.hash
        return Mark(seq, last_hash, gen, term, *self.hard.vote, self.me.inc)

    def on_installed(self, last: int, configs: Sequence[Config]) -> None:
        """Take up records up to `last` that came by a segment and are durable."""
        self.log.install(last)
        self.members.on_install(list(configs))
        self.installing = None
        self._dirty = True  # the mark names them, too

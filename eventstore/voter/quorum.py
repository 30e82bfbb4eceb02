"""One voter of many: the core of `eventstore/raft`, with a disk, a clock and links (edge).

    links      frames of other voters, decoded      ->  core.step
    timer      CLOCK_BOOTTIME                       ->  core.tick        (reactor's thread)
    propose    place at the end of the log          ->  core.propose
    Persister  log, then mark, durable              ->  core.advance     (posted from its thread)

After these calls, what the core wants is carried out (`_take`): messages are sent, Persists handed
to the writer's thread, committed batches told. A cluster of one takes this very path: its majority
is its own disk.

Order. Proposals of one turn of the reactor share a Persist and an append to each peer, because the
core is asked what it wants only at the end of the turn. What is told to others (`on_committed`,
`on_leadership`, `done`) is told in the order in which the core said it (turns.py).

What is proposed here, and what becomes of it, is in proposals.py; the voter is opened by
opening.py.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections import deque
from collections.abc import Callable, Sequence

from eventstore.errors import CorruptLog, DiskFull, EventStoreError
from eventstore.events import EpochStarted
from eventstore.faults import Fault
from eventstore.proofs.checkpointer import Checkpointer
from eventstore.raft.core import Core
from eventstore.raft.effects import Alarm, ReadReady, Ready
from eventstore.raft.entry import Entry
from eventstore.raft.generations import TrustTakeover
from eventstore.raft.membership import Config
from eventstore.raft.messages import Message
from eventstore.raft.state import Timing
from eventstore.record import Batch, Epoch, Record, Stored
from eventstore.replica import Leadership, Refused
from eventstore.segments.bulk import Bulk
from eventstore.storage.metrics import StorageMetrics
from eventstore.voter.disk_room import room_on
from eventstore.voter.idempotency import IdempotencyKeys
from eventstore.voter.outbox import Outbox
from eventstore.voter.persister import Persister
from eventstore.voter.proposals import Done, Proposals
from eventstore.voter.start import Found
from eventstore.voter.turns import CallAt, Post, Turns

_ALARMS = 20  # kept for whoever asks
_CLOCKS_APART_S = 10  # from which an operator should hear of it
_log = logging.getLogger(__name__)


Send = Callable[[str, Message], None]


class QuorumVoter:
    """`Replica` for a voter of a cluster. Made by `open_quorum`; all calls on one thread."""

    def __init__(
        self,
        found: Found,
        *,
        voter: str,
        post: Post,
        call_at: CallAt,
        boot_s: Callable[[], float],
        now_ms: Callable[[], int],
        fatal: Callable[[EventStoreError], None],
        fault: Fault | None,
        sync_delay_s: float,
        sign_seed: bytes | None,
        timing: Timing,
        trusts: TrustTakeover,
    ) -> None:
        storage = found.storage
        self.metrics = StorageMetrics()
        self.indexer = found.indexer
        self.alarms: deque[Alarm] = deque(maxlen=_ALARMS)
        self.places = found.places
        self.bulk: Bulk | None = None  # until `start`
        self._storage, self._index, self._entries = storage, found.index, found.entries
        self._voter, self._post, self._call_at, self._boot_s = voter, post, call_at, boot_s
        self._on_fatal, self._now_ms = fatal, now_ms
        self._outbox = Outbox(lambda _to, _message: None, lambda _at_ms: None)  # until `start`
        self._committed = found.committed
        self._closed = False
        self._turns = Turns(
            take=self._take,
            tick=lambda: self._step(lambda: None),  # after what time calls for
            deadline_ms=lambda: self.core.deadline_ms,
            post=post,
            call_at=call_at,
            boot_s=boot_s,
        )
        self._reads: dict[int, Callable[[int | None], None]] = {}
        self._requests = 0
        self._hear_committed: list[Callable[[Sequence[Stored]], None]] = []
        self._hear_leadership: list[Callable[[Leadership], None]] = []
        self.core = Core(
            found.restart(voter),
            found.entries,
            rng=random.Random(os.urandom(16)),
            now_ms=self._boot_ms(),
            timing=timing,
            trusts=trusts,
        )
        self._leadership = Leadership(self.core.voter.epoch, None, here=False, ready=False)
        self._proposals = Proposals(
            voter=voter,
            versions=found.index.stream_versions(),
            keys=IdempotencyKeys(found.index.keyed),
            append=self._hand_to_core,
            read=self._batch_at,
            explain=self._explained,
            post=post,
            now_ms=now_ms,
        )
        self._checkpointer = Checkpointer(
            voter=voter,
            seed=sign_seed,
            committed=found.committed,
            root=lambda: found.indexer.root,
            origin=found.origin,
            propose=self.propose,
        )
        self._writer = Persister(
            storage.log,
            storage.mark,
            on_durable=lambda ticket, took_ms: post(lambda: self._durable(ticket, took_ms)),
            on_no_room=lambda error: post(lambda: self._no_room(error)),
            fatal=self._storage_failed,
            metrics=self.metrics,
            fault=fault,
            sync_delay_s=sync_delay_s,
        )

    def start(self, send: Send | None = None, send_bulk: Send | None = None) -> None:
        """Begin to take part. `send` carries a message to a voter, or loses it; never blocks.

        `send_bulk` does the same for pieces of segments, on a link of their own.
        """
        if send is not None:
            self._outbox = Outbox(send, self._wake_outbox)
        self.bulk = self._make_bulk(send_bulk or self._send)
        self.indexer.start()
        self._writer.start()
        self._step(lambda: None)
        self._turns.pump()

    # --- what all replicas have

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""
        return self._storage.log.meta.cluster_id

    @property
    def committed(self) -> int:
        """Seq of the last record that is known to be committed, and was told."""
        return self._committed

    @property
    def leadership(self) -> Leadership:
        """Who leads now, as far as this voter knows."""
        return self._leadership

    def version(self, stream: str) -> int:
        """Return the version of a stream as appended so far, 0 if it does not exist."""
        return self._proposals.version(stream)

    def on_committed(self, callback: Callable[[Sequence[Stored]], None]) -> None:
        """Call `callback` with each batch that becomes committed from now on."""
        self._hear_committed.append(callback)

    def on_leadership(self, callback: Callable[[Leadership], None]) -> None:
        """Call `callback` at every change of leadership."""
        self._hear_leadership.append(callback)

    def read(self, first: int, last: int) -> Sequence[Stored]:
        """Return the committed records first..last, as far as there are any."""
        return list(self._storage.reader.stored(max(1, first), min(last, self._committed)))

    def propose(self, batch: Batch, done: Done) -> None:
        """Append `batch`, or say why not. `done` is called later, never from within this call.

        Refused("not-leader") names the leader in its hint, if it is known. Raises ValueError for a
        batch without drafts or with names that no stream may have.
        """
        if not batch.drafts:
            raise ValueError("a batch has at least one draft")
        if self._proposals.taken:
            self._proposals.propose(batch, done)
        else:
            refused = self._not_leader()
            self._post(lambda: done(refused))

    # --- what only a voter of many has

    @property
    def config(self) -> Config:
        """Who votes and who learns, as of what is appended here."""
        return self.core.voter.config

    def receive(self, message: Message) -> None:
        """Take up a message whose link is who it says it is. Raises DecodeError: drop the link."""
        self._step(lambda: self.core.step(message, self._boot_ms()))
        if self.bulk is not None and not self._closed:
            self.bulk.hear(message)
        self._turns.wake()

    def hand_over(self, to: str | None = None) -> Refused | None:
        """Begin to hand over leadership, to a voter or to the best one. Refused: it cannot be."""
        refused = self.core.hand_over(to)
        self._turns.wake()
        return refused

    def confirm(self, done: Callable[[int | None], None]) -> None:
        """Ask the other voters whether this one still leads (R11).

        `done` gets the seq up to which a read of now must reach, or None: ask the leader.
        """
        self._requests += 1
        self._reads[self._requests] = done
        self.core.read(self._requests)
        self._turns.wake()

    def tick(self, now_s: float) -> None:
        """Do what time calls for above the core: look at the disk, append a checkpoint when one is
        due.

        Call it a few times a second from the loop; `now_s` is monotonic.
        """
        self.core.disk_is(room_on(self._storage.layout.directory))
        if self._leadership.ready:
            self._checkpointer.tick(now_s)

    def close(self) -> None:
        """Write what was proposed, then close the files. Open callbacks are posted, not called."""
        self._turns.pump(math.inf)
        self._closed = True
        self._turns.stop()
        if self.bulk is not None:
            self.bulk.close()
        self._writer.close()
        self._resign()
        self._index.close()  # first: the last to close moves the WAL into the file, if it may write
        self.indexer.close()
        self._storage.close()

    # --- in and out of the core

    def _boot_ms(self) -> int:
        return int(self._boot_s() * 1000)

    def _durable(self, ticket: int, took_ms: float) -> None:
        self._step(lambda: self.core.advance(ticket, self._boot_ms(), took_ms))
        self._turns.pump()

    def _no_room(self, error: DiskFull) -> None:
        _log.warning("no room for the log: %s", error)
        self._step(lambda: self.core.no_room(self._boot_ms()))
        self._turns.pump()

    def _step(self, step: Callable[[], None]) -> None:
        """Tell the core something, after what time calls for: it may have stood still."""
        if self._closed:
            return
        try:
            if self.core.deadline_ms <= self._boot_ms():
                self.core.tick(self._boot_ms())
            step()
        except CorruptLog as error:
            self._closed = True  # the core is dead
            self._on_fatal(error)
            self._resign()

    def _take(self) -> bool:
        """Carry out one Ready; say whether there was one."""
        if self._closed:
            return False
        out = self.core.ready()
        if not out:
            return False
        if out.persist:
            for entry in out.persist.entries:
                if entry.own:
                    self.places.apply(entry.records)
        for to, message in out.messages:  # first: theirs is the longer way to a majority
            self._send(to, message)
        if out.persist:
            self._writer.submit(out.persist)
        for segment in out.segments:
            if self.bulk is not None:
                self.bulk.carry_out(segment)
        self._tell_later(out)
        return True

    def _send(self, to: str, message: Message) -> None:
        self._outbox.put(to, message, self._boot_ms())

    def _wake_outbox(self, at_ms: int) -> None:
        self._call_at((at_ms + 0.5) / 1000, lambda: self._outbox.flush(self._boot_ms()))

    def _make_bulk(self, send_bulk: Send) -> Bulk:
        return Bulk(
            self._storage.layout,
            self.core,
            indexer=self.indexer,
            writer=self._writer,
            post=self._post_open,
            call_at=self._call_at,
            boot_s=self._boot_s,
            send=self._send,
            send_bulk=send_bulk,
            on_places=self.places.apply,
            changed=self._turns.wake,
            alarm=self._alarm,
            fatal=self._storage_failed,
        )

    def _post_open(self, call: Callable[[], None]) -> None:
        """Post a call that comes too late when this voter was closed."""
        self._post(lambda: None if self._closed else call())

    def _tell_later(self, out: Ready) -> None:
        tell = self._turns.tell
        for entry in out.committed:
            tell(lambda entry=entry: self._deliver(entry))  # type: ignore[misc]  # a default
        if out.committed:
            tell(self._delivered)
        if out.leadership:
            tell(lambda: self._set_leadership(out.leadership))
        for read in out.reads:
            tell(lambda read=read: self._answer_read(read))  # type: ignore[misc]  # a default
        for alarm in out.alarms:
            self._alarm(*alarm)
        if out.dropped_from:
            tell(lambda: self._take_back(out.dropped_from))
        if out.begin:
            tell(lambda: self._begin(out.begin))

    # --- committed

    def _deliver(self, entry: Entry) -> None:
        """Tell of a committed batch."""
        opened = self._proposals.on_committed(entry)
        self._committed = entry.last
        if entry.records[0].record.kind == EpochStarted.KIND:
            self._compare_clocks(entry.records[0].record)
        self._checkpointer.on_committed(entry.records)
        if opened:
            self._turns.tell_next(opened.tell)
        for hear in self._hear_committed:
            hear(entry.records)

    def _compare_clocks(self, begun: Record) -> None:
        """Say so if a reign begins in this machine's future. Nothing depends on wall clocks (R15),
        and the log's time never goes back: it goes on ahead until this clock has come up."""
        ahead_s = (begun.unix_ms - self._now_ms()) // 1000
        if ahead_s >= _CLOCKS_APART_S:
            told = f"the log's time is {ahead_s} s ahead of this machine's clock"
            self._alarm("clock", f"{told}; compare it with the clock of {begun.origin}")

    def _alarm(self, code: str, message: str) -> None:
        _log.warning("%s: %s", code, message)
        self.alarms.append(Alarm(code, message))

    def _delivered(self) -> None:
        """After the last of several batches."""
        self.indexer.advance(self._committed)
        self._proposals.trim(self.indexer.seq)

    # --- leading

    def _begin(self, epoch: Epoch | None) -> None:
        """Take up the end of the log, and place the no-op of this reign."""
        assert epoch is not None
        self._proposals.give_up("a new reign began")
        voter = self.core.voter
        if self.core.leading is not None and voter.epoch == epoch:  # else it is over already
            self._proposals.begin(epoch, voter.log, self._committed, inc=voter.me.inc)

    def _hand_to_core(self, entry: Entry) -> Refused | None:
        """Hand an entry to the core; what it then wants is asked at the end of this turn."""
        refused = self.core.propose(entry)
        self._turns.wake()
        return refused

    def _take_back(self, first: int) -> None:
        refused = Refused("disk-full", "there is no room for the log")
        self._proposals.take_back(first, self._explained(refused))

    def _set_leadership(self, leadership: Leadership | None) -> None:
        assert leadership is not None
        before, self._leadership = self._leadership, leadership
        reigns = leadership.here and leadership.epoch == self._proposals.reign
        if self._proposals.taken and not reigns:
            self._proposals.give_up("this voter stopped leading before it was committed")
        if leadership != before:
            for hear in self._hear_leadership:
                hear(leadership)

    def _answer_read(self, read: ReadReady) -> None:
        self._reads.pop(read.request)(read.seq)

    # --- the end

    def _storage_failed(self, error: EventStoreError) -> None:
        """On the writer's thread: end the process, or at least never say "committed" again."""
        self._on_fatal(error)
        self._post(self._resign)

    def _resign(self) -> None:
        """Stop for good. What is still open may or may not be on the disk."""
        self._closed = True
        self._turns.stop()
        self._proposals.give_up("this voter stopped before it was committed")
        epoch = self._leadership.epoch
        if self._leadership.here:
            self._set_leadership(Leadership(epoch, None, here=False, ready=False))
        reads, self._reads = self._reads, {}
        for done in reads.values():
            self._post(lambda done=done: done(None))  # type: ignore[misc]  # a default

    def _not_leader(self) -> Refused:
        leader = self.core.voter.leader
        hint = leader if leader and leader != self._voter else ""
        return Refused("not-leader", "this voter does not lead", hint=hint)

    def _explained(self, refused: Refused) -> Refused:
        """Return the core's refusal with what can be done about it."""
        if refused.code == "not-leader":
            return self._not_leader()
        if refused.code != "disk-full":
            return refused
        ballast = self._storage.layout.ballast
        more = f"; {ballast} may be removed" if ballast.exists() else ""
        return Refused("disk-full", refused.message, hint=f"free some space{more}")

    def _batch_at(self, seq: int) -> tuple[Stored, ...]:
        """Return the committed batch that holds record `seq`."""
        entry = self._entries.entry_at(seq)
        assert entry is not None, "what is committed is there"
        return entry.records

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
`on_leadership`, `done`) waits in one queue, so that it is told in the order in which the core said
it; if a callback raises, the rest is told in the next turn.

The end of the log, stream by stream, is kept as of what is *delivered* (committed and told). A
leader adds what is appended beyond that, its own and what it found from earlier reigns, and takes
it back, last first, when it stops leading: by then another leader may have cut it off.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.appended import Appended, Placed
from eventstore.checkpoint import Checkpoint, sign
from eventstore.checkpoint_policy import CheckpointPolicy
from eventstore.clock import HybridClock
from eventstore.codec import decode_event
from eventstore.creation import make_ballast
from eventstore.errors import CorruptLog, DiskFull, EventStoreError
from eventstore.events import (
    STREAM,
    CheckpointSigned,
    EpochStarted,
    LogCreated,
    TakeoverForced,
    VoterPlaced,
    VotersChanged,
)
from eventstore.faults import Fault, from_environment
from eventstore.idempotency import KEPT_MS, IdempotencyKeys, Known
from eventstore.index_reader import IndexReader
from eventstore.index_table import IndexTable
from eventstore.indexer import Indexer
from eventstore.layout import Layout
from eventstore.metrics import StorageMetrics
from eventstore.persister import Persister
from eventstore.places import KINDS as PLACE_KINDS
from eventstore.places import Places
from eventstore.raft.core import Core, Restart
from eventstore.raft.effects import Alarm, ReadReady, Ready
from eventstore.raft.entry import Entry, from_placed
from eventstore.raft.generations import TrustTakeover, trust_none
from eventstore.raft.membership import Config, config_in
from eventstore.raft.messages import Message
from eventstore.raft.state import Identity, Timing
from eventstore.record import Batch, Draft, Epoch, Stored
from eventstore.replica import Committed, Leadership, Outcome, Refused, Unknown
from eventstore.voter_storage import StoredEntries, VoterStorage, open_voter

Post = Callable[[Callable[[], None]], None]
Done = Callable[[Outcome], None]

# The writer's thread wants the interpreter back after each sync; at Python's 5 ms a reactor under
# load would add more to a commit than the disk does.
SWITCH_INTERVAL_S = 0.001
EXIT_STORAGE = 74  # EX_IOERR of sysexits.h
_CONFIG_KINDS = (VotersChanged.KIND, TakeoverForced.KIND)
# Whoever is far behind gets entries like everybody else: segments are not carried yet.
_NO_SEGMENTS = 1 << 62
_ALARMS = 20  # kept for whoever asks
_log = logging.getLogger(__name__)


class Timer(Protocol):
    """A call in the future."""

    def cancel(self) -> None:
        """Do not call."""


CallAt = Callable[[float, Callable[[], None]], Timer]
Send = Callable[[str, Message], None]


@dataclass(slots=True)
class _Open:
    """A batch that is appended and not yet delivered."""

    records: tuple[Stored, ...]
    undo: Mapping[str, int]  # the versions that its streams were at
    done: Done | None = None
    repeats: list[Done] = field(default_factory=list)  # the same request, asked again meanwhile
    placed: Placed | None = None  # None: found at the beginning of the reign

    @property
    def first(self) -> int:
        return self.records[0].record.seq

    @property
    def last(self) -> int:
        return self.records[-1].record.seq


class QuorumVoter:
    """`Replica` for a voter of a cluster. Made by `open_quorum`; all calls on one thread."""

    def __init__(
        self,
        storage: VoterStorage,
        indexer: Indexer,
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
        seeds: Sequence[VoterPlaced],
        trusts: TrustTakeover,
    ) -> None:
        self.metrics = StorageMetrics()
        self.indexer = indexer
        self.alarms: deque[Alarm] = deque(maxlen=_ALARMS)
        self.places = Places(seeds)
        self._storage, self._voter, self._post = storage, voter, post
        self._call_at, self._boot_s, self._now_ms = call_at, boot_s, now_ms
        self._on_fatal = fatal
        self._send: Send = lambda _to, _message: None
        self._index = IndexReader(storage.layout.index)
        self._entries = StoredEntries(storage.reader)
        configs = list(self._look_through())
        if storage.head and configs[-1].alone(voter):
            storage.check_alone()
            indexer.catch_up(storage.head)  # nobody else can hold anything else
        self._committed = self._whole(self._index.seq)
        self._keys = IdempotencyKeys(self._index.keyed)
        self._versions = self._index.stream_versions()
        self._origin = ""  # of the log: not known before its first record
        self._appended: Appended | None = None  # while this voter leads
        self._reign = Epoch(0, 0)  # of `_appended`
        self._open: deque[_Open] = deque()
        self._sign_key = Ed25519PrivateKey.from_private_bytes(sign_seed) if sign_seed else None
        self._checkpoints = CheckpointPolicy(covered=self._committed, news=self._committed)
        self._signing = False  # a checkpoint is appended and not yet committed
        self._told: deque[Callable[[], None]] = deque()  # what is still to be told, in order
        self._pumping = self._waking = self._closed = False
        self._timer: Timer | None = None
        self._timer_ms = 0
        self._reads: dict[int, Callable[[int | None], None]] = {}
        self._requests = 0
        self._hear_committed: list[Callable[[Sequence[Stored]], None]] = []
        self._hear_leadership: list[Callable[[Leadership], None]] = []
        self.core = Core(
            Restart(
                cluster_id=storage.log.meta.cluster_id,
                me=Identity(voter, storage.log.meta.inc),
                hard=storage.hard,
                mark=storage.mark.mark,
                last=storage.head,
                committed=self._committed,
                configs=configs,
            ),
            self._entries,
            rng=random.Random(os.urandom(16)),
            now_ms=self._boot_ms(),
            timing=replace(timing, segment_lag=_NO_SEGMENTS),
            trusts=trusts,
        )
        self._leadership = Leadership(self.core.voter.epoch, None, here=False, ready=False)
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

    def start(self, send: Send | None = None) -> None:
        """Begin to take part. `send` carries a message to a voter, or loses it; never blocks."""
        if send is not None:
            self._send = send
        self.indexer.start()
        self._writer.start()
        self._tick()

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
        return self._versions.get(stream, 0)

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
        if self._appended is None:
            self._answer(done, self._not_leader())
        elif known := self._known(batch):
            self._repeat(known, done)
        elif clash := self._appended.clash(batch):
            self._answer(done, clash)
        else:
            self._append(self._appended, batch, done)

    # --- what only a voter of many has

    @property
    def config(self) -> Config:
        """Who votes and who learns, as of what is appended here."""
        return self.core.voter.config

    def receive(self, message: Message) -> None:
        """Take up a message whose link is who it says it is. Raises DecodeError: drop the link."""
        self._step(lambda: self.core.step(message, self._boot_ms()))
        self._wake()

    def hand_over(self, to: str | None = None) -> Refused | None:
        """Begin to hand over leadership, to a voter or to the best one. Refused: it cannot be."""
        refused = self.core.hand_over(to)
        self._wake()
        return refused

    def confirm(self, done: Callable[[int | None], None]) -> None:
        """Ask the other voters whether this one still leads (R11).

        `done` gets the seq up to which a read of now must reach, or None: ask the leader.
        """
        self._requests += 1
        self._reads[self._requests] = done
        self.core.read(self._requests)
        self._wake()

    def tick(self, now_s: float) -> None:
        """Do what time calls for above the core: append a checkpoint when one is due.

        Call it a few times a second from the loop; `now_s` is monotonic. The checkpoint covers what
        is indexed, which is committed and was read back from the disk.
        """
        if not (self._sign_key and self._leadership.ready) or self._signing:
            return
        size, root = self.indexer.root
        if size <= self._checkpoints.covered or not self._checkpoints.due(now_s):
            return
        note = sign(Checkpoint(self._log_origin(), size, root), self._sign_key)
        event = CheckpointSigned(size=size, note=note)
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self._voter}")
        self._signing = True
        self.propose(Batch(drafts=(draft,)), lambda outcome: self._signed(size, outcome))

    def close(self) -> None:
        """Write what was proposed, then close the files. Open callbacks are posted, not called."""
        self._pump()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()
        self._resign()
        self._index.close()  # first: the last to close moves the WAL into the file, if it may write
        self.indexer.close()
        self._storage.close()

    # --- at the start

    def _whole(self, seq: int) -> int:
        """Return the end of the last whole batch up to `seq`: the index may end within one."""
        entry = self._entries.entry_at(seq) if seq else None
        return seq if entry is None or entry.last == seq else entry.first - 1

    def _look_through(self) -> Iterator[Config]:
        """Yield the configurations of the log, and note the places in it, in order."""
        head, indexed = self._storage.head, self._index.seq
        if head == 0:
            return
        first = self._entries.entry_at(1)
        begun = config_in(first) if first else None
        if first and begun:
            self.places.apply(first.records)
            yield begun
        kinds = (*_CONFIG_KINDS, *PLACE_KINDS)
        marks = ", ".join("?" * len(kinds))
        found = self._index.seqs(f"stream = ? AND kind IN ({marks})", (STREAM, *kinds))
        seqs = [seq for seq in found if seq <= indexed]
        after = self._storage.reader.stored(indexed + 1, head)
        seqs += [s.record.seq for s in after if s.record.stream == STREAM]
        done = first.last if first else 0
        for seq in seqs:
            if seq > done and (entry := self._entries.entry_at(seq)) is not None:
                done = entry.last
                self.places.apply(entry.records)
                if config := config_in(entry):
                    yield config

    # --- in and out of the core

    def _boot_ms(self) -> int:
        return int(self._boot_s() * 1000)

    def _tick(self) -> None:
        """The core's time has come."""
        self._timer = None
        self._step(lambda: None)
        self._pump()

    def _durable(self, ticket: int, took_ms: float) -> None:
        self._step(lambda: self.core.advance(ticket, self._boot_ms(), took_ms))
        self._pump()

    def _no_room(self, error: DiskFull) -> None:
        _log.warning("no room for the log: %s", error)
        self._step(lambda: self.core.no_room(self._boot_ms()))
        self._pump()

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

    def _wake(self) -> None:
        """Ask the core at the end of this turn what it wants."""
        if not self._waking:
            self._waking = True
            self._post(self._pump)

    def _pump(self) -> None:
        """Carry out what the core wants until it wants nothing; tell what is to be told."""
        self._waking = False
        if self._pumping:
            return  # what a callback led to comes out of the loop below
        self._pumping = True
        try:
            while self._told or self._take():
                if self._told:
                    self._told.popleft()()
        except BaseException:
            self._post(self._pump)  # one that raises does not swallow the next
            raise
        finally:
            self._pumping = False
        self._set_timer()

    def _take(self) -> bool:
        """Carry out one Ready; say whether there was one."""
        if self._closed:
            return False
        out = self.core.ready()
        if not out:
            return False
        if out.persist:
            for entry in out.persist.entries:
                self.places.apply(entry.records)
            self._writer.submit(out.persist)
        for to, message in out.messages:
            self._send(to, message)
        self._tell_later(out)
        return True

    def _tell_later(self, out: Ready) -> None:
        told = self._told
        for entry in out.committed:
            told.append(lambda entry=entry: self._deliver(entry))  # type: ignore[misc]  # a default
        if out.committed:
            told.append(self._delivered)
        if out.leadership:
            told.append(lambda: self._set_leadership(out.leadership))
        for read in out.reads:
            told.append(lambda read=read: self._answer_read(read))  # type: ignore[misc]  # a default
        for alarm in out.alarms:
            _log.warning("%s: %s", alarm.code, alarm.message)
            self.alarms.append(alarm)
        if out.dropped_from:
            told.append(lambda: self._take_back(out.dropped_from))
        if out.begin:
            told.append(lambda: self._begin(out.begin))

    def _set_timer(self) -> None:
        if self._closed:
            return
        due_ms = self.core.deadline_ms
        if self._timer is not None and self._timer_ms <= due_ms:
            return  # it fires no later; the core then says anew
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = self._call_at((due_ms + 0.5) / 1000, self._tick)

    # --- committed

    def _deliver(self, entry: Entry) -> None:
        """Tell of a committed batch."""
        opened: _Open | None = None
        if self._open:
            opened = self._open.popleft()
            assert opened.last == entry.last, "what this leader appended is committed in order"
        else:
            for stored in entry.records:
                self._keys.add(stored)
                self._versions[stored.record.stream] = stored.record.version
        self._committed = entry.last
        self._checkpoints.on_committed(entry.records)
        if opened:
            self._told.appendleft(lambda: self._tell_done(opened, entry.records))
        for hear in self._hear_committed:
            hear(entry.records)

    def _tell_done(self, opened: _Open, records: tuple[Stored, ...]) -> None:
        if opened.done:
            opened.done(Committed(records))
        for done in opened.repeats:
            done(Committed(records, repeated=True))

    def _delivered(self) -> None:
        """After the last of several batches."""
        self.indexer.advance(self._committed)
        self._keys.trim(self.indexer.seq)

    # --- leading

    def _begin(self, epoch: Epoch | None) -> None:
        """Take up the end of the log, and place the no-op of this reign."""
        assert epoch is not None
        self._give_up("a new reign began")
        if self.core.leading is None or self.core.voter.epoch != epoch:
            return  # it is over already
        last = self.core.voter.log.last
        clock = HybridClock()
        if tail := self.core.voter.log.entry_at(last.seq):
            clock = HybridClock(tail.records[-1].record.time)
        for entry in self._undelivered():
            undo = {s.record.stream: self.version(s.record.stream) for s in entry.records}
            for stored in entry.records:
                self._keys.add(stored)
                self._versions[stored.record.stream] = stored.record.version
            self._open.append(_Open(entry.records, undo))
        self._reign = epoch
        self._appended = Appended(
            seq=last.seq,
            last_hash=last.hash,
            versions=self._versions,
            clock=clock,
            origin=self._voter,
            draw_bytes=os.urandom,
        )
        event = EpochStarted(voter=self._voter, inc=self.core.voter.me.inc.hex())
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self._voter}")
        self._append(self._appended, Batch(drafts=(draft,)), None)

    def _undelivered(self) -> Iterator[Entry]:
        """Yield the entries of the log that were not told yet."""
        log, first = self.core.voter.log, self._committed + 1
        while found := log.entries(first, 1 << 20):
            yield from found
            first = found[-1].last + 1

    def _append(self, appended: Appended, batch: Batch, done: Done | None) -> None:
        placed = appended.place(batch, self._reign, self._now_ms())
        if isinstance(placed, Refused):
            self._answer(done, placed)
            return
        if refused := self.core.propose(from_placed(placed)):
            appended.take_back(placed)
            not_leader = refused.code == "not-leader"
            self._answer(done, self._not_leader() if not_leader else self._with_hint(refused))
            self._wake()
            return
        for stored in placed.records:
            self._keys.add(stored)
        self._open.append(_Open(placed.records, placed.undo, done, placed=placed))
        self._wake()

    def _take_back(self, first: int) -> None:
        """Refuse what had no room on the disk, last first."""
        refused = self._with_hint(Refused("disk-full", "there is no room for the log"))
        failed: list[_Open] = []
        while self._open and self._open[-1].first >= first:
            failed.append(self._undo_last())
        for opened in reversed(failed):
            for done in (opened.done, *opened.repeats):
                self._answer(done, refused)

    def _give_up(self, why: str) -> None:
        """Stop appending. What is open may or may not become committed (R8)."""
        self._signing = False
        opened = list(self._open)
        while self._open:
            self._undo_last()
        self._appended = None
        for each in opened:
            for done in (each.done, *each.repeats):
                self._answer(done, Unknown(why))

    def _undo_last(self) -> _Open:
        last = self._open.pop()
        if last.placed and self._appended:
            self._appended.take_back(last.placed)
        else:
            for stream, version in last.undo.items():
                if version:
                    self._versions[stream] = version
                else:
                    self._versions.pop(stream, None)
        for stored in last.records:
            self._keys.take_back(stored)
        return last

    def _set_leadership(self, leadership: Leadership | None) -> None:
        assert leadership is not None
        before, self._leadership = self._leadership, leadership
        if self._appended and not (leadership.here and leadership.epoch == self._reign):
            self._give_up("this voter stopped leading before it was committed")
        if leadership != before:
            for hear in self._hear_leadership:
                hear(leadership)

    def _signed(self, size: int, outcome: Outcome) -> None:
        self._signing = False
        if isinstance(outcome, Committed):
            self._checkpoints.made(size)

    def _log_origin(self) -> str:
        if not self._origin:
            record = self.read(1, 1)[0].record
            self._origin = decode_event(LogCreated, record.data).origin
        return self._origin

    # --- requests that come again

    def _known(self, batch: Batch) -> Known | None:
        for draft in batch.drafts:
            if draft.key is not None and (known := self._keys.find(draft.actor, draft.key)):
                return known
        return None

    def _repeat(self, known: Known, done: Done) -> None:
        """Answer a request that was made before with what it did then."""
        if known.seq > self._committed:
            first = next(o for o in self._open if o.first <= known.seq <= o.last)
            first.repeats.append(done)
        elif known.time_ms + KEPT_MS < self._now_ms():
            hint = "look for what it did; if it is to be done again, use a new key"
            self._answer(done, Refused("key-expired", "this key is over 7 days old", hint=hint))
        else:
            record = self.read(known.seq, known.seq)[0].record
            begun = known.seq - record.index
            records = self.read(begun, begun + record.count - 1)
            self._answer(done, Committed(tuple(records), repeated=True))

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
        self._told.clear()
        self._give_up("this voter stopped before it was committed")
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

    def _with_hint(self, refused: Refused) -> Refused:
        ballast = self._storage.layout.ballast
        if refused.code != "disk-full":
            return refused
        more = f"; {ballast} may be removed" if ballast.exists() else ""
        return Refused("disk-full", refused.message, hint=f"free some space{more}")

    def _answer(self, done: Done | None, outcome: Outcome) -> None:
        if done is not None:
            self._post(lambda: done(outcome))


def end_process(error: EventStoreError) -> None:
    """Say why and leave at once: no cleanup that could write to a disk that failed."""
    print(f"cairn: the log's storage failed, leaving: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_STORAGE)


def wall_clock_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def boottime_s() -> float:
    """Return seconds on CLOCK_BOOTTIME: never goes back, and time in suspend counts (R15)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_quorum(
    directory: Path,
    *,
    voter: str,
    post: Post,
    call_at: CallAt,
    cluster_id: str | None = None,
    tables: Sequence[IndexTable] = (),
    now_ms: Callable[[], int] = wall_clock_ms,
    boot_s: Callable[[], float] = boottime_s,
    fatal: Callable[[EventStoreError], None] = end_process,
    verify_whole: bool = False,
    sync_delay_s: float = 0.0,
    sign_seed: bytes | None = None,
    ballast_bytes: int = 0,
    vfs: str = "",
    timing: Timing = Timing(),  # noqa: B008  # frozen
    seeds: Sequence[VoterPlaced] = (),
    trusts: TrustTakeover = trust_none,
) -> QuorumVoter:
    """Open the storage in `directory`; `start` then makes it take part.

    `post` runs a callable on the reactor's thread, from any thread; `call_at` runs one at a time on
    CLOCK_BOOTTIME. `tables` are added to the index. `sync_delay_s` is added to each sync, for
    measurements on a disk slower than this one. `sign_seed` is the Ed25519 seed with which
    checkpoints are signed; without it there are none. `seeds`: where other voters are, for one
    whose log does not say so yet. `trusts` says whether a takeover's record is good.

    Raises LogInUse, NotOurLog, CorruptLog (names the first bad seq), DiskFull, StorageFailed.
    """
    layout = Layout(directory)
    fault = from_environment()
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
    storage = open_voter(layout, cluster_id=cluster_id, whole=verify_whole, vfs=vfs)
    try:
        make_ballast(layout, ballast_bytes)
        indexer = Indexer(layout, tables, fatal=fatal)
        return QuorumVoter(
            storage,
            indexer,
            voter=voter,
            post=post,
            call_at=call_at,
            boot_s=boot_s,
            now_ms=now_ms,
            fatal=fatal,
            fault=fault,
            sync_delay_s=sync_delay_s,
            sign_seed=sign_seed,
            timing=timing,
            seeds=seeds,
            trusts=trusts,
        )
    except BaseException:
        storage.close()
        raise

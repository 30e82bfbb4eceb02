"""The log of one voter: the same path as with many, and a majority of one (edge).

    propose   checks versions against what is appended, encodes, chains  (reactor's thread)
    Writer    makes it durable: log, then ack mark                       (its own thread)
    posted    back to the reactor's thread
    Commitment says that a majority has it; callbacks, then `done`       (reactor's thread)

At start this voter begins a new term with EpochStarted, which commits like any record; what was in
the log before is committed already, since no other voter can hold anything else. A proposal that
waits when the storage fails ends as Unknown: it may or may not be found on the disk. A proposal
that finds no room ends as Refused, with all that were appended after it, and the next one tries
again; reading goes on meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.appended import Appended, Placed
from eventstore.checkpoint import Checkpoint, sign
from eventstore.checkpoint_policy import CheckpointPolicy
from eventstore.clock import HybridClock
from eventstore.codec import decode_event
from eventstore.commitment import Commitment
from eventstore.creation import make_ballast
from eventstore.errors import DiskFull, EventStoreError
from eventstore.events import STREAM, CheckpointSigned, EpochStarted, LogCreated
from eventstore.faults import Fault, from_environment
from eventstore.idempotency import KEPT_MS, IdempotencyKeys, Known
from eventstore.index_reader import IndexReader
from eventstore.index_table import IndexTable
from eventstore.indexer import Indexer
from eventstore.layout import Layout
from eventstore.log_file import MetaValue, epoch_values
from eventstore.metrics import StorageMetrics
from eventstore.opening import Opened, open_checked
from eventstore.record import Batch, Draft, Epoch, Stored
from eventstore.replica import Committed, Leadership, Outcome, Refused, Unknown
from eventstore.writer import Append, Writer

Post = Callable[[Callable[[], None]], None]
Done = Callable[[Outcome], None]

# The writer's thread wants the interpreter back after each sync; at Python's 5 ms a reactor under
# load would add more to a commit than the disk does.
SWITCH_INTERVAL_S = 0.001
EXIT_STORAGE = 74  # EX_IOERR of sysexits.h


@dataclass(slots=True)
class _Open:
    """A batch that is appended and not yet committed."""

    placed: Placed
    done: Done | None
    repeats: list[Done] = field(default_factory=list)  # the same request, asked again meanwhile


class SingleVoter:
    """`Replica` for a cluster of one voter. Made by `open_single`; all calls on one thread."""

    def __init__(
        self,
        opened: Opened,
        indexer: Indexer,
        *,
        voter: str,
        post: Post,
        now_ms: Callable[[], int],
        fatal: Callable[[EventStoreError], None],
        fault: Fault | None,
        sync_delay_s: float,
        sign_seed: bytes | None,
    ) -> None:
        self.metrics = StorageMetrics()
        self.indexer = indexer
        self._opened, self._voter, self._post, self._now_ms = opened, voter, post, now_ms
        self._on_fatal = fatal
        self._index = IndexReader(opened.layout.index)
        self._origin = decode_event(LogCreated, opened.first.record.data).origin
        self._keys = IdempotencyKeys(self._index.keyed)
        versions = self._index.stream_versions()
        for stored in opened.reader.stored(self._index.seq + 1, opened.head):
            versions[stored.record.stream] = stored.record.version  # no room for the index, say
            self._keys.add(stored)
        self._appended = Appended(
            seq=opened.head,
            last_hash=opened.last.hash,
            versions=versions,
            clock=HybridClock(opened.last.record.time),
            origin=voter,
            draw_bytes=os.urandom,
        )
        self._open: deque[_Open] = deque()
        self._sign_key = Ed25519PrivateKey.from_private_bytes(sign_seed) if sign_seed else None
        self._checkpoints = CheckpointPolicy(covered=opened.head, news=opened.head)
        self._signing = False  # a checkpoint is appended and not yet committed
        gen, term = opened.log.meta.epoch
        self._leadership = Leadership(Epoch(gen, term + 1), voter, here=True, ready=False)
        self._commitment = Commitment(frozenset({voter}), opened.head + 1, committed=opened.head)
        self._committed = opened.head
        self._hear_committed: list[Callable[[Sequence[Stored]], None]] = []
        self._hear_leadership: list[Callable[[Leadership], None]] = []
        self._writer = Writer(
            opened.log,
            opened.mark,
            on_durable=lambda seq: post(lambda: self._durable(seq)),
            on_refused=lambda seq, error: post(lambda: self._no_room(seq, error)),
            fatal=self._storage_failed,
            metrics=self.metrics,
            fault=fault,
            sync_delay_s=sync_delay_s,
        )
        indexer.start()
        self._writer.start()
        self._begin_reign()

    @property
    def cluster_id(self) -> str:
        """The id that the hash chain starts from."""
        return self._opened.log.meta.cluster_id

    @property
    def committed(self) -> int:
        """Seq of the last committed record."""
        return self._committed

    @property
    def leadership(self) -> Leadership:
        """Who leads now: this voter, until its storage fails or it is closed."""
        return self._leadership

    def version(self, stream: str) -> int:
        """Return the version of a stream as appended so far, 0 if it does not exist."""
        return self._appended.version(stream)

    def on_committed(self, callback: Callable[[Sequence[Stored]], None]) -> None:
        """Call `callback` with each batch that becomes committed from now on."""
        self._hear_committed.append(callback)

    def on_leadership(self, callback: Callable[[Leadership], None]) -> None:
        """Call `callback` at every change of leadership."""
        self._hear_leadership.append(callback)

    def read(self, first: int, last: int) -> Sequence[Stored]:
        """Return the committed records first..last, as far as there are any."""
        return list(self._opened.reader.stored(max(1, first), min(last, self._committed)))

    def propose(self, batch: Batch, done: Done) -> None:
        """Append `batch`, or say why not. `done` is called later, never from within this call.

        Raises ValueError for a batch without drafts or with names that no stream may have.
        """
        if not batch.drafts:
            raise ValueError("a batch has at least one draft")
        if not self._leadership.here:
            self._answer(done, Refused("not-leader", "this voter does not lead"))
        elif known := self._known(batch):
            self._repeat(known, done)
        elif clash := self._appended.clash(batch):
            self._answer(done, clash)
        else:
            if not self._leadership.ready and not self._open:
                self._begin_reign()  # there was no room for it before
            self._append(batch, done)

    def tick(self, now_s: float) -> None:
        """Do what time calls for: append a checkpoint when one is due. `now_s` is monotonic.

        Call it a few times a second from the loop. The checkpoint covers what is indexed, which is
        committed and was read back from the disk.
        """
        if not (self._sign_key and self._leadership.ready) or self._signing:
            return
        size, root = self.indexer.root
        if size <= self._checkpoints.covered or not self._checkpoints.due(now_s):
            return
        note = sign(Checkpoint(self._origin, size, root), self._sign_key)
        event = CheckpointSigned(size=size, note=note)
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self._voter}")
        self._signing = True
        self.propose(Batch(drafts=(draft,)), lambda outcome: self._signed(size, outcome))

    def close(self) -> None:
        """Finish what was proposed, then close the files. Open callbacks are posted, not called."""
        self._writer.close()
        self._resign()
        self._index.close()  # first: the last to close moves the WAL into the file, if it may write
        self.indexer.close()
        self._opened.close()

    def _begin_reign(self) -> None:
        """Append this term's no-op, with the term itself in the same transaction."""
        meta = self._opened.log.meta
        event = EpochStarted(voter=self._voter, inc=meta.inc.hex())
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self._voter}")
        values = epoch_values(meta._replace(epoch=self._leadership.epoch))
        self._append(Batch(drafts=(draft,)), None, values)

    def _signed(self, size: int, outcome: Outcome) -> None:
        self._signing = False
        if isinstance(outcome, Committed):
            self._checkpoints.made(size)

    def _append(
        self, batch: Batch, done: Done | None, values: Mapping[str, MetaValue] | None = None
    ) -> None:
        placed = self._appended.place(batch, self._leadership.epoch, self._now_ms())
        if isinstance(placed, Refused):
            if done:
                self._answer(done, placed)
            return
        for stored in placed.records:
            self._keys.add(stored)
        self._open.append(_Open(placed, done))
        self._writer.submit(Append(placed, values or {}))

    def _known(self, batch: Batch) -> Known | None:
        for draft in batch.drafts:
            if draft.key is not None and (known := self._keys.find(draft.actor, draft.key)):
                return known
        return None

    def _repeat(self, known: Known, done: Done) -> None:
        """Answer a request that was made before with what it did then."""
        if known.seq > self._committed:
            first = next(o for o in self._open if o.placed.first <= known.seq <= o.placed.last)
            first.repeats.append(done)
        elif known.time_ms + KEPT_MS < self._now_ms():
            hint = "look for what it did; if it is to be done again, use a new key"
            self._answer(done, Refused("key-expired", "this key is over 7 days old", hint=hint))
        else:
            record = self.read(known.seq, known.seq)[0].record
            begun = known.seq - record.index
            records = self.read(begun, begun + record.count - 1)
            self._answer(done, Committed(tuple(records), repeated=True))

    def _durable(self, seq: int) -> None:
        for announce in self._commitment.on_durable(self._voter, seq):
            self._deliver(announce.committed)

    def _deliver(self, committed: int) -> None:
        """Tell of every batch up to `committed`; one that raises does not swallow the next."""
        while self._open and self._open[0].placed.last <= committed:
            batch = self._open.popleft()
            self._committed = batch.placed.last
            try:
                self._tell(batch)
            except BaseException:
                self._post(lambda: self._deliver(committed))
                raise
        self.indexer.advance(self._committed)
        self._keys.trim(self.indexer.seq)

    def _tell(self, batch: _Open) -> None:
        records = batch.placed.records
        self._checkpoints.on_committed(records)
        for hear in self._hear_committed:
            hear(records)
        if not self._leadership.ready and self._leadership.here:
            self._set_leadership(here=True)
        if batch.done:
            batch.done(Committed(records))
        for done in batch.repeats:
            done(Committed(records, repeated=True))

    def _no_room(self, seq: int, error: DiskFull) -> None:
        """Take back and refuse what was appended from `seq` on, last first."""
        ballast = self._opened.layout.ballast
        hint = (
            f"free some space; {ballast} may be removed" if ballast.exists() else "free some space"
        )
        refused = Refused("disk-full", str(error), hint=hint)
        failed: list[_Open] = []
        while self._open and self._open[-1].placed.first >= seq:
            last = self._open.pop()
            self._appended.take_back(last.placed)
            for stored in last.placed.records:
                self._keys.take_back(stored)
            failed.append(last)
        for batch in reversed(failed):
            for done in (batch.done, *batch.repeats):
                if done:
                    self._answer(done, refused)

    def _storage_failed(self, error: EventStoreError) -> None:
        """On the writer's thread: end the process, or at least never say "committed" again."""
        self._on_fatal(error)
        self._post(self._resign)

    def _resign(self) -> None:
        """Stop leading. What is still open may or may not be on the disk."""
        if self._leadership.here:
            self._set_leadership(here=False)
        while self._open:
            batch = self._open.popleft()
            for done in (batch.done, *batch.repeats):
                if done:
                    self._answer(done, Unknown("this voter stopped before it was committed"))

    def _set_leadership(self, *, here: bool) -> None:
        leader = self._voter if here else None
        self._leadership = Leadership(self._leadership.epoch, leader, here=here, ready=here)
        for hear in self._hear_leadership:
            hear(self._leadership)

    def _answer(self, done: Done, outcome: Outcome) -> None:
        self._post(lambda: done(outcome))


def end_process(error: EventStoreError) -> None:
    """Say why and leave at once: no cleanup that could write to a disk that failed."""
    print(f"cairn: the log's storage failed, leaving: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_STORAGE)


def wall_clock_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def open_single(
    directory: Path,
    *,
    voter: str,
    post: Post,
    cluster_id: str | None = None,
    tables: Sequence[IndexTable] = (),
    now_ms: Callable[[], int] = wall_clock_ms,
    fatal: Callable[[EventStoreError], None] = end_process,
    verify_whole: bool = False,
    sync_delay_s: float = 0.0,
    sign_seed: bytes | None = None,
    ballast_bytes: int = 0,
    vfs: str = "",
) -> SingleVoter:
    """Open the log in `directory` and begin to lead it.

    `post` runs a callable on the reactor's thread, from any thread. `tables` are added to the
    index. On return the log is checked and indexed; the first batch that `on_committed` hears is
    this reign's EpochStarted, and then leadership is ready. `sync_delay_s` is added to each sync,
    for measurements on a disk slower than this one. `sign_seed` is the Ed25519 seed with which
    checkpoints are signed; without it there are none.

    Raises LogInUse, NotOurLog, CorruptLog (names the first bad seq), DiskFull, StorageFailed.
    """
    layout = Layout(directory)
    fault = from_environment()
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
    opened = open_checked(layout, cluster_id=cluster_id, whole=verify_whole, vfs=vfs)
    try:
        make_ballast(layout, ballast_bytes)
        indexer = Indexer(layout, tables, fatal=fatal)
        indexer.catch_up(opened.head)
    except BaseException:
        opened.close()
        raise
    return SingleVoter(
        opened,
        indexer,
        voter=voter,
        post=post,
        now_ms=now_ms,
        fatal=fatal,
        fault=fault,
        sync_delay_s=sync_delay_s,
        sign_seed=sign_seed,
    )

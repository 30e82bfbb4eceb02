"""The leader's end of the log: what was proposed, and what becomes of it (pure but for its ports).

    propose -> clash? known key? -> placed (encoded, chained) -> the core -> open
    open    -> committed (told), taken back (no room), or given up (Unknown: this reign is over)

The end of the log, stream by stream, is kept as of what is *delivered* (committed and told). A
leader adds what is appended beyond that, its own and what it found from earlier reigns, and takes
it back, last first, when it stops leading: by then another leader may have cut it off.

Whoever asked is answered in a later turn, by `post`; that a batch is committed is told by the
caller, in its place among all else that is told.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from eventstore.clock import HybridClock
from eventstore.events import STREAM, EpochStarted
from eventstore.raft.entry import Entry
from eventstore.raft.entry_log import EntryLog
from eventstore.record import MAX_BATCH_BYTES, Batch, Draft, Epoch, Stored
from eventstore.replica import Committed, Outcome, Refused, Unknown
from eventstore.voter.appended import Appended, Placed
from eventstore.voter.idempotency import KEPT_MS, IdempotencyKeys, Known
from eventstore.voter.turns import Post

Done = Callable[[Outcome], None]


@dataclass(slots=True)
class Open:
    """A batch that is appended and not yet delivered."""

    entry: Entry
    undo: Mapping[str, int]  # the versions that its streams were at
    done: Done | None = None
    repeats: list[Done] = field(default_factory=list)  # the same request, asked again meanwhile
    placed: Placed | None = None  # None: found at the beginning of the reign

    def tell(self) -> None:
        """Tell whoever asked that it is committed."""
        if self.done:
            self.done(Committed(self.entry.records))
        for done in self.repeats:
            done(Committed(self.entry.records, repeated=True))


class Proposals:
    """What one voter has been asked to append. Idle unless `begin` was called: it does not lead.

    `append` hands an entry to the core, which may refuse it; `read` gives the records of the batch
    that holds a committed seq; `explain` adds to a refusal what an operator can do about it.
    """

    def __init__(
        self,
        *,
        voter: str,
        versions: dict[str, int],
        keys: IdempotencyKeys,
        append: Callable[[Entry], Refused | None],
        read: Callable[[int], tuple[Stored, ...]],
        explain: Callable[[Refused], Refused],
        post: Post,
        now_ms: Callable[[], int],
    ) -> None:
        """`versions` of all streams and `keys`, as of what is delivered."""
        self.reign = Epoch(0, 0)  # of what is appended
        self._voter, self._versions, self._keys = voter, versions, keys
        self._hand_to_core, self._read, self._explain = append, read, explain
        self._post, self._now_ms = post, now_ms
        self._appended: Appended | None = None  # while this voter leads
        self._open: deque[Open] = deque()

    @property
    def taken(self) -> bool:
        """This voter takes proposals: its reign has begun."""
        return self._appended is not None

    def version(self, stream: str) -> int:
        """Return the version of a stream as appended so far, 0 if it does not exist."""
        return self._versions.get(stream, 0)

    def propose(self, batch: Batch, done: Done) -> None:
        """Append `batch`, or say why not. Only while proposals are `taken`.

        Raises ValueError for names that no stream may have.
        """
        assert self._appended is not None, "only a leader appends"
        if known := self._known(batch):
            self._repeat(known, done)
        elif clash := self._appended.clash(batch):
            self._answer(done, clash)
        else:
            self.append(batch, done)

    def append(self, batch: Batch, done: Done | None) -> None:
        """Append `batch` without asking whether it was asked before."""
        assert self._appended is not None, "only a leader appends"
        placed = self._appended.place(batch, self.reign, self._now_ms())
        if isinstance(placed, Refused):
            self._answer(done, placed)
            return
        if refused := self._hand_to_core(placed.entry):
            self._appended.take_back(placed)
            self._answer(done, self._explain(refused))
            return
        if placed.keyed:
            for stored in placed.entry.records:
                self._keys.add(stored)
        self._open.append(Open(placed.entry, placed.undo, done, placed=placed))

    # --- reigns

    def begin(self, epoch: Epoch, log: EntryLog, delivered: int, *, inc: bytes) -> None:
        """Begin to append behind the end of `log`, with the no-op of this reign (R4).

        What it holds behind `delivered` is open from now on. `inc` is this voter's.
        """
        assert not self._open, "what was open was given up"
        for entry in _entries_behind(delivered, log):
            undo = {s.record.stream: self.version(s.record.stream) for s in entry.records}
            self._note(entry.records)
            self._open.append(Open(entry, undo))
        last, tail = log.last, log.entry_at(log.last.seq)
        self.reign = epoch
        self._appended = Appended(
            seq=last.seq,
            last_hash=last.hash,
            versions=self._versions,
            clock=HybridClock(tail.records[-1].record.time if tail else 0),
            origin=self._voter,
            draw_bytes=os.urandom,
        )
        event = EpochStarted(voter=self._voter, inc=inc.hex())
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self._voter}")
        self.append(Batch(drafts=(draft,)), None)

    def give_up(self, why: str) -> None:
        """Stop appending. What is open may or may not become committed (R8)."""
        opened = list(self._open)
        while self._open:
            self._undo_last()
        self._appended = None
        for each in opened:
            for done in (each.done, *each.repeats):
                self._answer(done, Unknown(why))

    # --- what becomes of what was appended

    def on_committed(self, entry: Entry) -> Open | None:
        """Note that an entry is delivered; return what was open of it, to be told."""
        if not self._open:
            self._note(entry.records)
            return None
        opened = self._open.popleft()
        assert opened.entry.last == entry.last, "what this leader appended is committed in order"
        return opened

    def trim(self, indexed: int) -> None:
        """Let go of what the index holds; it is at seq `indexed`."""
        self._keys.trim(indexed)

    def take_back(self, first: int, refused: Refused) -> None:
        """Refuse what had no room on the disk, from record `first` on; last first."""
        failed: list[Open] = []
        while self._open and self._open[-1].entry.first >= first:
            failed.append(self._undo_last())
        for opened in reversed(failed):
            for done in (opened.done, *opened.repeats):
                self._answer(done, refused)

    def _note(self, records: Iterable[Stored]) -> None:
        for stored in records:
            self._keys.add(stored)
            self._versions[stored.record.stream] = stored.record.version

    def _undo_last(self) -> Open:
        last = self._open.pop()
        if last.placed and self._appended:
            self._appended.take_back(last.placed)
        else:
            for stream, version in last.undo.items():
                if version:
                    self._versions[stream] = version
                else:
                    self._versions.pop(stream, None)
        for stored in last.entry.records:
            self._keys.take_back(stored)
        return last

    # --- requests that come again

    def _known(self, batch: Batch) -> Known | None:
        for draft in batch.drafts:
            if draft.key is not None and (known := self._keys.find(draft.actor, draft.key)):
                return known
        return None

    def _repeat(self, known: Known, done: Done) -> None:
        """Answer a request that was made before with what it did then."""
        if self._open and known.seq >= self._open[0].entry.first:
            first = next(o for o in self._open if o.entry.first <= known.seq <= o.entry.last)
            first.repeats.append(done)
        elif known.time_ms + KEPT_MS < self._now_ms():
            hint = "look for what it did; if it is to be done again, use a new key"
            self._answer(done, Refused("key-expired", "this key is over 7 days old", hint=hint))
        else:
            self._answer(done, Committed(self._read(known.seq), repeated=True))

    def _answer(self, done: Done | None, outcome: Outcome) -> None:
        if done is not None:
            self._post(lambda: done(outcome))


def _entries_behind(seq: int, log: EntryLog) -> Iterator[Entry]:
    while found := log.entries(seq + 1, MAX_BATCH_BYTES):
        yield from found
        seq = found[-1].last

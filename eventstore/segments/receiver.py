"""A follower's side of segments: fetch chunk by chunk, check, append, tell the core (edge).

    core: ReceiveSegment  ->  what is here of it already?  ->  SegmentReply WANTED offset
    SegmentChunk          ->  into the part                ->  WANTED, until it is whole
    whole                 ->  check (thread)               ->  append (the writer's thread)
                          ->  core.installed, or install_failed

What can go wrong:

- a chunk is lost: it is asked for again after AGAIN_S;
- the leader is gone, or silent for SILENT_S: given up, so that this voter may vote; what was
  fetched stays in the part, and the next leader's offer goes on with it;
- what was fetched is not sound: it is thrown away, said to the operator, and fetched anew, TRIES
  times in all; then the leader sends entries, which it can read itself;
- no room: given up, and the part removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from eventstore.errors import DecodeError, DiskFull, EventStoreError, StorageFailed
from eventstore.raft.core import Core
from eventstore.raft.messages import SegmentChunk, SegmentOffer
from eventstore.record import Stored
from eventstore.segments import check as segment_check
from eventstore.segments.part import SegmentPart
from eventstore.segments.source import records
from eventstore.storage.layout import Layout
from eventstore.voter.persister import Installation

AGAIN_S = 1.0
SILENT_S = 15.0
INDEX_S = 30.0  # for the index to follow what is committed
TRIES = 3
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Fetch:
    """A segment on its way."""

    offer: SegmentOffer
    part: SegmentPart
    heard_s: float
    tries: int = 1
    whole: bool = False  # it is being checked or appended: nothing more is asked for


class SegmentReceiver:
    """Takes in one segment at a time. All calls on the reactor's thread.

    `indexed_to(seq, timeout_s)` waits for the index; `changed` is called after the core was told
    something; `alarm(code, message)` is for people.
    """

    def __init__(
        self,
        layout: Layout,
        core: Core,
        *,
        post: Callable[[Callable[[], None]], None],
        call_at: Callable[[float, Callable[[], None]], object],
        boot_s: Callable[[], float],
        install: Callable[[Installation], None],
        indexed_to: Callable[[int, float], bool],
        on_places: Callable[[Iterable[Stored]], None],
        changed: Callable[[], None],
        alarm: Callable[[str, str], None],
        fatal: Callable[[EventStoreError], None],
    ) -> None:
        self.installed = 0  # segments, since the process started
        self.refused = 0  # that were fetched and not sound
        self._layout, self._core = layout, core
        self._post, self._call_at, self._boot_s = post, call_at, boot_s
        self._install, self._indexed_to, self._on_places = install, indexed_to, on_places
        self._changed, self._alarm, self._fatal = changed, alarm, fatal
        self._fetch: _Fetch | None = None
        self._watching = self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="segments-in")

    def receive(self, offer: SegmentOffer) -> None:
        """Begin to fetch what the core has accepted, or go on with it."""
        if self._fetch is not None and self._fetch.offer == offer:
            self._ask(self._fetch)
            return
        try:
            part = SegmentPart(self._layout.incoming, offer.first)
            part.cut(offer.size)
        except (DiskFull, StorageFailed) as error:
            self._give_up(offer, str(error))
            return
        self._fetch = _Fetch(offer, part, self._boot_s())
        self._go_on(self._fetch)
        self._watch()

    def take(self, chunk: SegmentChunk) -> None:
        """Take up a chunk; one that was not asked for is dropped."""
        fetch = self._fetch
        if fetch is None or fetch.whole:
            return
        offer = fetch.offer
        if (chunk.sender, chunk.last, chunk.offset) != (offer.sender, offer.last, fetch.part.size):
            return
        try:
            fetch.part.append(chunk.data[: offer.size - fetch.part.size])
        except (DiskFull, StorageFailed) as error:
            self._drop(fetch, str(error))
            return
        fetch.heard_s = self._boot_s()
        self._go_on(fetch)

    def _watch(self) -> None:
        """Look again in a while, as long as something is under way."""
        if not self._watching:
            self._watching = True
            self._call_at(self._boot_s() + AGAIN_S, self._look)

    def _look(self) -> None:
        """Ask again for what did not come, or give up."""
        self._watching = False
        fetch = self._fetch
        if fetch is None or self._closed:
            return
        self._watch()
        if fetch.whole:
            return
        offer, silent_s = fetch.offer, self._boot_s() - fetch.heard_s
        if self._core.voter.leader != offer.sender or silent_s > SILENT_S:
            self._leave(fetch, f"{offer.sender} sends no more of it")
        elif silent_s > AGAIN_S / 2:
            self._ask(fetch)

    def close(self) -> None:
        """Stop; what was fetched stays."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        if self._fetch is not None:
            self._fetch.part.close()

    def _go_on(self, fetch: _Fetch) -> None:
        if fetch.part.size < fetch.offer.size:
            self._ask(fetch)
        else:
            fetch.whole = True
            self._thread.submit(self._check, fetch)

    def _ask(self, fetch: _Fetch) -> None:
        if not fetch.whole:
            self._core.want(fetch.offer, fetch.part.size)
            self._changed()

    def _check(self, fetch: _Fetch) -> None:
        """On the thread: believe it or not."""
        offer = fetch.offer
        if not self._index_follows(offer.first - 1):
            self._post(lambda: self._leave(fetch, "the index does not follow"))
            return
        try:
            found = segment_check.check(fetch.part, offer, self._layout)
        except DecodeError as error:
            told = str(error)
            self._post(lambda: self._not_sound(fetch, told))
        except EventStoreError as error:
            self._fatal(error)
        else:
            self._post(lambda: self._append(fetch, found))

    def _index_follows(self, seq: int) -> bool:
        """On the thread: wait until the index holds what is held here."""
        until_s = self._boot_s() + INDEX_S
        while not self._indexed_to(seq, AGAIN_S):
            if self._closed or self._boot_s() > until_s:
                return False
        return True

    def _not_sound(self, fetch: _Fetch, why: str) -> None:
        self.refused += 1
        offer = fetch.offer
        told = f"records {offer.first} to {offer.last} of {offer.sender} are refused: {why}"
        self._alarm("bad-segment", told)
        fetch.part.cut(0)
        if fetch.tries == TRIES:
            self._drop(fetch, why)
            return
        fetch.tries, fetch.whole, fetch.heard_s = fetch.tries + 1, False, self._boot_s()
        self._ask(fetch)

    def _append(self, fetch: _Fetch, found: segment_check.Found) -> None:
        def done(error: EventStoreError | None) -> None:
            self._post(lambda: self._appended(fetch, found, error))

        before = segment_check.before_of(fetch.offer)
        entries = segment_check.entries(records(fetch.part.pieces()), before)
        self._install(Installation(entries, done))

    def _appended(
        self, fetch: _Fetch, found: segment_check.Found, error: EventStoreError | None
    ) -> None:
        if error is not None:
            self._drop(fetch, str(error))
            return
        offer = fetch.offer
        _log.info("records %s to %s of %s came in bulk", offer.first, offer.last, offer.sender)
        fetch.part.discard()
        self._fetch = None
        self.installed += 1
        self._on_places(found.places)
        self._core.installed(offer, found.configs, int(self._boot_s() * 1000))
        self._changed()

    def _leave(self, fetch: _Fetch, why: str) -> None:
        """Give up, and keep what was fetched."""
        fetch.part.close()
        self._fetch = None
        self._give_up(fetch.offer, why)

    def _drop(self, fetch: _Fetch, why: str) -> None:
        """Give up, and remove what was fetched."""
        fetch.part.discard()
        self._fetch = None
        self._give_up(fetch.offer, why)

    def _give_up(self, offer: SegmentOffer, why: str) -> None:
        self._alarm("no-segment", f"records {offer.first} to {offer.last} do not come: {why}")
        self._core.install_failed(offer)
        self._changed()

"""The leader's side of segments: measure, offer, and send what is asked for, no faster (edge).

    core: ShipSegment  ->  measure (thread)  ->  SegmentOffer, by the link of all other messages
    SegmentReply WANTED offset               ->  read (thread)  ->  SegmentChunk, by the bulk link

The follower asks for each chunk, so one is under way to each, nothing queues up, and what is lost
is asked for again. All followers together get RATE_BYTES_S: reading goes past the writer's disk and
sending past the heartbeats' network. Reading and hashing happen on a thread of their own, on a
connection of their own.

What can go wrong: leadership ends in the meantime. Then nothing more is offered, since an offer in
the new epoch of somebody else would pose as its leader; the follower turns to the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from eventstore.errors import EventStoreError
from eventstore.raft.core import Core
from eventstore.raft.effects import ShipSegment
from eventstore.raft.messages import Message, SegmentChunk, SegmentReply
from eventstore.record import Epoch
from eventstore.segments.source import Measured, SegmentSource
from eventstore.storage.layout import Layout
from eventstore.storage.log_reader import LogReader

CHUNK_BYTES = 256 << 10
RATE_BYTES_S = 16 << 20
_KEPT = 4  # sources

T = TypeVar("T")
Send = Callable[[str, Message], None]


@dataclass(frozen=True, slots=True)
class _Offered:
    """What a follower was offered, and by which reign."""

    epoch: Epoch
    source: SegmentSource


class SegmentSender:
    """Sends segments while this voter leads. All calls on the reactor's thread."""

    def __init__(
        self,
        layout: Layout,
        core: Core,
        *,
        post: Callable[[Callable[[], None]], None],
        call_at: Callable[[float, Callable[[], None]], object],
        boot_s: Callable[[], float],
        send: Send,
        send_bulk: Send,
        fatal: Callable[[EventStoreError], None],
    ) -> None:
        self.sent_bytes = 0
        self._fatal = fatal
        self._core, self._post, self._call_at, self._boot_s = core, post, call_at, boot_s
        self._send, self._send_bulk = send, send_bulk
        self._log = LogReader(layout.log)  # used by the thread alone
        self._sources: dict[tuple[int, int], tuple[SegmentSource, Measured]] = {}
        self._offered: dict[str, _Offered] = {}
        self._free_s = 0.0  # when the next chunk may go
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="segments-out")

    def ship(self, ship: ShipSegment) -> None:
        """Offer these records to a follower."""
        epoch = self._core.voter.epoch
        wanted = (ship.first, ship.last)
        if known := self._sources.get(wanted):
            self._offer(ship, epoch, *known)
            return

        def measure() -> tuple[SegmentSource, Measured]:
            source = SegmentSource(self._log, *wanted)
            return source, source.measure()

        def measured(made: tuple[SegmentSource, Measured]) -> None:
            self._sources[wanted] = made
            while len(self._sources) > _KEPT:
                self._sources.pop(next(iter(self._sources)))
            self._offer(ship, epoch, *made)

        self._do(measure, measured)

    def wanted(self, reply: SegmentReply) -> None:
        """Send a follower the chunk that it asks for, when its turn has come."""
        offered = self._offered.get(reply.sender)
        if offered is None or not self._reigns(offered.epoch):
            return
        source = offered.source
        if reply.last != source.last or reply.offset >= source.size:
            return
        due_s = self._free_s = max(self._free_s, self._boot_s())
        self._free_s += CHUNK_BYTES / RATE_BYTES_S
        to, offset = reply.sender, reply.offset

        def read() -> bytes:
            return source.read(offset, CHUNK_BYTES)

        def have(data: bytes) -> None:
            self._call_at(due_s, lambda: self._send_chunk(to, offered, offset, data))

        self._do(read, have)

    def close(self) -> None:
        """Stop; what was offered is given up."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        self._log.close()

    def _offer(
        self, ship: ShipSegment, epoch: Epoch, source: SegmentSource, measured: Measured
    ) -> None:
        if not self._reigns(epoch):
            return
        shorter = ship._replace(last=measured.last)
        offer = self._core.offer(shorter, size=measured.size, sha256=measured.sha256)
        self._offered[ship.to] = _Offered(epoch, source)
        self._send(ship.to, offer)

    def _send_chunk(self, to: str, offered: _Offered, offset: int, data: bytes) -> None:
        if self._reigns(offered.epoch):
            header = self._core.voter.header
            self._send_bulk(to, SegmentChunk(*header, offered.source.last, offset, data))
            self.sent_bytes += len(data)

    def _reigns(self, epoch: Epoch) -> bool:
        return not self._closed and (
            self._core.leading is not None and self._core.voter.epoch == epoch
        )

    def _do(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do the work on the thread, and go on with what it returned on the reactor's."""
        if self._closed:
            return

        def run() -> None:
            try:
                made = work()
            except EventStoreError as error:  # the log itself cannot be read
                self._fatal(error)
            else:
                self._post(lambda: then(made))

        self._thread.submit(run)

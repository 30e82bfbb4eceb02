"""Segments in and out of one voter: what the core asks for in bulk, wired to disk and links (edge).

See raft/segments.py for who does what, sender.py and receiver.py for the two sides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from eventstore.errors import EventStoreError
from eventstore.raft.core import Core
from eventstore.raft.effects import ReceiveSegment, ShipSegment
from eventstore.raft.messages import WANTED, Message, SegmentChunk, SegmentReply
from eventstore.record import Stored
from eventstore.segments.receiver import SegmentReceiver
from eventstore.segments.sender import SegmentSender, Send
from eventstore.storage.indexer import Indexer
from eventstore.storage.layout import Layout
from eventstore.voter.persister import Persister

_log = logging.getLogger(__name__)


class CallAt(Protocol):
    """Run a callable at a time on CLOCK_BOOTTIME."""

    def __call__(self, due_s: float, call: Callable[[], None], /) -> object: ...


class Bulk:
    """Both sides of the segments of a voter. All calls on the reactor's thread."""

    def __init__(
        self,
        layout: Layout,
        core: Core,
        *,
        indexer: Indexer,
        writer: Persister,
        post: Callable[[Callable[[], None]], None],
        call_at: CallAt,
        boot_s: Callable[[], float],
        send: Send,
        send_bulk: Send,
        on_places: Callable[[Iterable[Stored]], None],
        changed: Callable[[], None],
        alarm: Callable[[str, str], None],
        fatal: Callable[[EventStoreError], None],
    ) -> None:
        self.sender = SegmentSender(
            layout,
            core,
            post=post,
            call_at=call_at,
            boot_s=boot_s,
            send=send,
            send_bulk=send_bulk,
            fatal=fatal,
        )
        self.receiver = SegmentReceiver(
            layout,
            core,
            post=post,
            call_at=call_at,
            boot_s=boot_s,
            install=writer.install,
            indexed_to=indexer.wait_for,
            on_places=on_places,
            changed=changed,
            alarm=alarm,
            fatal=fatal,
        )

    def carry_out(self, segment: ShipSegment | ReceiveSegment) -> None:
        """Do what the core asks for."""
        if isinstance(segment, ShipSegment):
            _log.info("records %s to %s go to %s in bulk", segment.first, segment.last, segment.to)
            self.sender.ship(segment)
        else:
            self.receiver.receive(segment.offer)

    def hear(self, message: Message) -> None:
        """Take up what concerns the content of a segment; the core has dealt with the rest."""
        if isinstance(message, SegmentChunk):
            self.receiver.take(message)
        elif isinstance(message, SegmentReply) and message.state == WANTED:
            self.sender.wanted(message)

    def close(self) -> None:
        """Stop both sides."""
        self.sender.close()
        self.receiver.close()

"""The requests that every voter answers about its log: `head` and `range` (edge).

Any voter serves them from what it knows as committed; each reply says as of which seq and in which
epoch. They are how a subscriber gets what a publication lost, and all that an auditor needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventstore.access.keyring import READERS
from eventstore.errors import DecodeError
from eventstore.record import Stored, genesis_hash
from eventstore.replica import Replica
from eventstore.serving.server import ReplyTo, Request, RequestServer
from eventstore.storage.stream_reader import StreamReader
from eventstore.wire.messages import HeadReply, RangeReply, RangeRequest, Stamp

_AT_ONCE = 128  # records read from disk before the byte limit is looked at
_MOST_BYTES = 4 << 20  # of one reply, whatever the client asks for


def stamp_of(replica: Replica) -> Stamp:
    """Return what replies and publications of this voter say about it now."""
    leadership = replica.leadership
    return Stamp(leadership.epoch, leadership.level, replica.committed)


def head_hash(replica: Replica) -> bytes:
    """Return the chain hash of the last committed record; of no record, the genesis hash."""
    last = replica.read(replica.committed, replica.committed) if replica.committed else ()
    return last[-1].hash if last else genesis_hash(replica.cluster_id)


class LogService:
    """Answers `head` and `range` of one replica."""

    def __init__(self, replica: Replica, streams: StreamReader, *, voter: str) -> None:
        self._replica = replica
        self._streams = streams
        self._voter = voter

    def register(self, server: RequestServer) -> None:
        """Serve whoever is more than invited. Secrets in the log are sealed."""
        server.register("head", READERS, self._head)
        server.register("range", READERS, self._range)

    def _head(self, _request: Request, reply: ReplyTo) -> None:
        replica = self._replica
        leader = replica.leadership.leader or ""
        reply.done(
            HeadReply(
                replica.cluster_id, replica.committed, head_hash(replica), leader, self._voter
            )
        )

    def _range(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(RangeRequest)
        if wanted.first < 1:
            raise DecodeError("the first record is 1", hint="ask from 1 on")
        records = self._of_stream(wanted) if wanted.stream else self._of_log(wanted)
        reply.done(_fill(records, min(wanted.max_bytes, _MOST_BYTES)))

    def _of_log(self, wanted: RangeRequest) -> Iterator[Stored]:
        head = self._replica.committed
        last = min(wanted.last or head, head)
        for first in range(wanted.first, last + 1, _AT_ONCE):
            yield from self._replica.read(first, min(first + _AT_ONCE - 1, last))

    def _of_stream(self, wanted: RangeRequest) -> Iterator[Stored]:
        first = wanted.first
        while True:
            found = self._streams.read_stream(wanted.stream, first, _AT_ONCE)
            for stored in found:
                if wanted.last and stored.record.version > wanted.last:
                    return
                yield stored
            if len(found) < _AT_ONCE:
                return
            first = found[-1].record.version + 1


def _fill(records: Iterator[Stored], max_bytes: int) -> RangeReply:
    """Take records up to `max_bytes`, but at least one."""
    taken: list[tuple[bytes, bytes]] = []
    size = 0
    for stored in records:
        size += len(stored.encoded) + len(stored.hash)
        if taken and size > max_bytes:
            return RangeReply(taken, more=True)
        taken.append((stored.encoded, stored.hash))
    return RangeReply(taken, more=False)

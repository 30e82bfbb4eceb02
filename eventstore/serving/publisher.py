"""Committed records to whoever subscribes (edge). One XPUB on every voter; the leader's matters.
A thread of its own hands on to each subscriber what is sent here once (fan.py).

Topics are the names of streams ended by a NUL, and two more (wire/messages.py): the whole log, and
heartbeats. What a reactor turn commits goes out together, at most `_MOST_BYTES` in a message:

- on the whole-log topic every record, in order; `prev_hash` ties each message to the one before;
- on a stream's topic the records of that stream; its subscriber counts their versions.

A batch over several streams is therefore one message for auditors and one for each of its streams;
a large batch is several messages, and a record's index and count tell whether it is whole.

PUB drops what a slow subscriber does not take (high-water mark), and what comes before a new one's
subscription. That is no loss: subscribers count, and fetch. Nothing is encoded for a topic without
subscribers: XPUB tells of the first subscription to a topic and of the end of the last one.
(XPUB_VERBOSER would tell of each; who is there is known from requests, not from here.)

A key that is revoked must not go on listening, and ZeroMQ cannot drop one peer: the socket is
closed and bound anew. Everyone reconnects within a second, and what they missed they fetch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import zmq

from eventstore.access.keyring import READERS, Keyring, Keys
from eventstore.access.keys import CurveKeys
from eventstore.reactor import Reactor
from eventstore.record import Stored
from eventstore.replica import Leadership, Replica
from eventstore.serving.fan import Fan
from eventstore.serving.log_service import head_hash, stamp_of
from eventstore.wire import frames, messages, sockets
from eventstore.wire.messages import HEARTBEAT_TOPIC, WHOLE_LOG_TOPIC, Heartbeat, Publication
from eventstore.wire.zap import ZapHandler

HEARTBEAT_S = 1.0
_MOST_BYTES = 64_000
_REBIND_S = 0.01  # until the old listener has gone
_TURN = 1000  # subscriptions taken in one turn of the loop


class Topics:
    """What is subscribed to. ZeroMQ subscribes by prefix; ours are whole names, ended by a NUL."""

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._prefixes: set[bytes] = set()  # somebody's own idea: honoured, but looked through

    def take(self, message: bytes) -> None:
        """Note a message of the XPUB: 1 and a prefix to subscribe, 0 and a prefix to leave."""
        prefix = message[1:]
        known = self._names if prefix.endswith(b"\0") else self._prefixes
        if message[:1] == b"\1":
            known.add(prefix)
        elif message[:1] == b"\0":
            known.discard(prefix)

    def wants(self, topic: bytes) -> bool:
        """Say whether anybody would get a message on `topic`."""
        return topic in self._names or any(map(topic.startswith, self._prefixes))

    def wants_streams(self) -> bool:
        """Say whether anybody subscribes to more than the whole log and heartbeats."""
        return bool(self._prefixes or self._names - {WHOLE_LOG_TOPIC, HEARTBEAT_TOPIC})


class Publisher:
    """The XPUB of a voter. It listens to `replica` by itself. Raises CannotListen."""

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        *,
        keys: CurveKeys,
        keyring: Keyring,
        zap: ZapHandler,
        replica: Replica,
        voter: str,
        domain: str = "cairn.publish",
    ) -> None:
        self._reactor = reactor
        self._keys = keys
        self._replica = replica
        self._voter = voter
        self._domain = domain
        self._topics = Topics()
        self._waiting: list[Stored] = []
        self._hash = head_hash(replica)
        zap.serve(domain, lambda key: _may_read(keyring, key))
        self._fan = Fan(reactor.context, keys, domain)
        try:
            self.endpoint = self._fan.listen(endpoint)
        except zmq.ZMQError as failed:
            self._fan.close()
            raise sockets.cannot_listen(endpoint, failed) from None
        self._fan.start()
        reactor.watch(self._fan.inner, self._on_subscription)
        self._stop_beating = reactor.call_every(HEARTBEAT_S, self._beat)
        replica.on_committed(self._on_committed)
        replica.on_leadership(self._on_leadership)
        keyring.on_revoked(self._on_revoked)
        reactor.on_close(self.close)

    def close(self) -> None:
        """Stop publishing."""
        if not self._fan.closed:
            self._stop_beating()
            self._reactor.unwatch(self._fan.inner)
            self._fan.close()

    def _on_committed(self, batch: Sequence[Stored]) -> None:
        if not self._waiting:
            self._reactor.call_soon(self._flush)
        self._waiting.extend(batch)

    def _flush(self) -> None:
        records, self._waiting = self._waiting, []
        if not records or self._fan.closed:
            return
        if self._topics.wants(WHOLE_LOG_TOPIC):
            previous = self._hash
            for chunk in _chunks(records):
                self._publish(WHOLE_LOG_TOPIC, chunk, previous)
                previous = chunk[-1].hash
        self._hash = records[-1].hash
        if self._topics.wants_streams():
            for stream, of_stream in _by_stream(records).items():
                topic = messages.topic_of(stream)
                if self._topics.wants(topic):
                    for chunk in _chunks(of_stream):
                        self._publish(topic, chunk, b"")

    def _publish(self, topic: bytes, records: list[Stored], previous: bytes) -> None:
        stamp = stamp_of(self._replica)
        header = Publication(
            messages.VERSION,
            stamp.epoch.gen,
            stamp.epoch.term,
            stamp.leads,
            records[0].record.seq,
            records[-1].record.seq,
            previous,
            stamp.as_of,
        )
        body = messages.pack_records(records)
        self._fan.inner.send_multipart([topic, frames.encode(header), body], zmq.NOBLOCK)

    def _on_leadership(self, _leadership: Leadership) -> None:
        self._beat()  # subscribers hear of a new reign at once, not within a second

    def _beat(self) -> None:
        if self._fan.closed or not self._topics.wants(HEARTBEAT_TOPIC):
            return
        self._flush()  # what a heartbeat says is committed has been published before it
        stamp = stamp_of(self._replica)
        beat = Heartbeat(
            messages.VERSION,
            stamp.epoch.gen,
            stamp.epoch.term,
            stamp.leads,
            self._voter,
            self._replica.leadership.leader or "",
            stamp.as_of,
            self._replica.cluster_id,
        )
        self._fan.inner.send_multipart([HEARTBEAT_TOPIC, frames.encode(beat)], zmq.NOBLOCK)

    def _on_subscription(self) -> None:
        for _ in range(_TURN):
            try:
                message = self._fan.inner.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._topics.take(message[0])

    def _on_revoked(self, keys: Keys) -> None:
        listened = any(who.role in READERS for who in keys.values())  # a used ticket never did
        if self._fan.closed or not listened:
            return
        self._reactor.unwatch(self._fan.inner)
        self._fan.close()
        self._topics = Topics()
        self._fan = Fan(self._reactor.context, self._keys, self._domain)
        self._reactor.watch(self._fan.inner, self._on_subscription)
        self._bind_again(self._fan)

    def _bind_again(self, fan: Fan) -> None:
        if fan.closed:
            return  # another key was revoked meanwhile, or this ends
        try:
            fan.listen(self.endpoint)
        except zmq.ZMQError as failed:
            if failed.errno != zmq.EADDRINUSE:
                raise
            self._reactor.call_later(_REBIND_S, lambda: self._bind_again(fan))
        else:
            fan.start()


def _may_read(keyring: Keyring, key: str) -> bool:
    identity = keyring.get(key)
    return identity is not None and identity.role in READERS


def _by_stream(records: list[Stored]) -> dict[str, list[Stored]]:
    streams: dict[str, list[Stored]] = {}
    for stored in records:
        streams.setdefault(stored.record.stream, []).append(stored)
    return streams


def _chunks(records: list[Stored]) -> Iterator[list[Stored]]:
    """Cut into messages of at most _MOST_BYTES, or of one record that is larger."""
    chunk: list[Stored] = []
    size = 0
    for stored in records:
        if chunk and size + len(stored.encoded) > _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(stored)
        size += len(stored.encoded)
    yield chunk

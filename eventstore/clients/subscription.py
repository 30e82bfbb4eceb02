"""Every record exactly once and in order, whatever publishing drops (edge).

A subscription listens to one voter and fetches from the cluster what it finds it lacks (the rules
are in following.py). It fetches

- at the start, up to the head;
- when a record or a heartbeat shows a gap: at once, since a voter publishes before it beats;
- when it follows streams: every `_CHECK_S` if the head has moved on, as it cannot see whether
  what was committed was its own;
- after a silence of `_SILENCE_S`, in case only publications are cut off;

and it listens to another voter when a heartbeat says that another one leads, or when there was no
heartbeat for `_SILENCE_S`. When every voter was tried in vain it is more patient, up to 8 times: a
thousand that knock anew each 3.5 s at a voter that has no time are why it has none (when a peer
goes, an XPUB walks through the subscriptions of all: milliseconds, with a thousand streams). Each
delivery bears the epoch of the voter that sent it and whether that voter led: an agent acts on
nothing that comes from a reign below the one it promised.

A refused key, or records that contradict the chain, end the subscription with an error. Everything
else it sits out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import zmq

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import Answer, AsyncClient
from eventstore.clients.following import Follower
from eventstore.clients.link import Voter
from eventstore.errors import AccessDenied, CorruptLog, DecodeError, EventStoreError
from eventstore.reactor import Reactor
from eventstore.record import Epoch, Stored
from eventstore.wire import frames, messages, sockets
from eventstore.wire.messages import HEARTBEAT_TOPIC, Heartbeat, Publication, RangeReply

_SILENCE_S = 3.5  # three heartbeats and some
_MOST_PATIENT = 8
_SPREAD = 0.3  # of the silence: those who stopped hearing together do not knock together
_CHECK_S = 2.0
_AGAIN_S = 0.25  # before the next fetch when one brought nothing, or failed
_FETCH_TIMEOUT_S = 10.0
_TURN = 256


class Delivery(msgspec.Struct, frozen=True):
    """Records that are next, and who sent them."""

    records: tuple[Stored, ...]
    epoch: Epoch  # in which they were sent, not in which they were appended
    leads: bool  # their sender led in that epoch


class Reign(msgspec.Struct, frozen=True):
    """What a voter said about leadership."""

    epoch: Epoch
    leader: str  # its name, empty if unknown
    leads: bool  # the voter that says so leads itself


class Subscription:
    """Follows the log or some streams on a reactor.

    `on_delivery` gets each record once, in order; `on_reign` hears when the epoch or the leader
    changes (a change of `epoch.gen` is a forced takeover: an alarm); `on_error` hears once, at the
    end, if the key is refused or the history contradicts itself. `drop` is for tests: it is asked
    for each published message whether to lose it.
    """

    def __init__(
        self,
        reactor: Reactor,
        client: AsyncClient,
        keys: CurveKeys,
        follower: Follower,
        *,
        on_delivery: Callable[[Delivery], None],
        on_error: Callable[[EventStoreError], None],
        on_reign: Callable[[Reign], None] | None = None,
        drop: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._keys = keys
        self._follower = follower
        self._on_delivery = on_delivery
        self._on_error = on_error
        self._on_reign = on_reign
        self._drop = drop
        self._reign: Reign | None = None
        self._fetching = False
        self._closed = False
        self._heard = self._checked = reactor.now()
        self._moves = 0  # since the last heartbeat
        self._patience_s = _SILENCE_S
        self._voter = self._named(client.preferred)
        self._socket = self._listen()
        self._stop_watching = reactor.call_every(_SILENCE_S / 4, self._on_time)
        reactor.on_close(self.close)
        reactor.call_soon(self._fetch)

    @property
    def reign(self) -> Reign | None:
        """What was heard last about leadership, None if nothing yet."""
        return self._reign

    def close(self) -> None:
        """Hear nothing more."""
        if not self._closed:
            self._closed = True
            self._stop_watching()
            self._reactor.unwatch(self._socket)
            self._socket.close(0)

    def check(self) -> None:
        """Ask at once for what may be missing (after a rewind, say)."""
        self._reactor.call_soon(self._fetch)

    def _listen(self) -> sockets.Socket:
        context = self._reactor.context
        socket = sockets.subscriber(context, self._keys, self._voter.curve_key)
        for topic in (*self._follower.topics(), HEARTBEAT_TOPIC):
            socket.subscribe(topic)
        socket.connect(self._voter.publish_endpoint)
        self._reactor.watch(socket, self._on_readable)
        self._heard = self._reactor.now()
        return socket

    def _move_to(self, voter: Voter) -> None:
        self._reactor.unwatch(self._socket)
        self._socket.close(0)
        self._voter = voter
        self._socket = self._listen()

    def _named(self, name: str) -> Voter:
        voters = self._client.voters
        return next((voter for voter in voters if voter.name == name), voters[0])

    def _on_time(self) -> None:
        if self._reactor.now() - self._heard > self._patience_s:
            voters = self._client.voters
            self._moves += 1
            times = min(2 ** (self._moves // len(voters)), _MOST_PATIENT)
            self._patience_s = _SILENCE_S * times * random.uniform(1.0, 1.0 + _SPREAD)
            at = next((i for i, voter in enumerate(voters) if voter == self._voter), -1)
            following = voters[(at + 1) % len(voters)]
            if following != self._voter:  # ZeroMQ itself connects again to the only one there is
                self._move_to(following)
            self._heard = self._reactor.now()
            self._ask_for_head()

    def _ask_for_head(self) -> None:
        """Where publications do not come through, requests may.

        A key that was revoked in mid-stream, which a SUB is never told, is refused there.
        """
        if not self._fetching:
            self._fetching = True
            self._client.call(
                "head",
                timeout_s=_FETCH_TIMEOUT_S,
                on_answer=self._on_head,
                on_error=self._on_fetch_failed,
            )

    def _on_head(self, answer: Answer) -> None:
        self._fetching = False
        if not self._closed:
            self._follower.hear(answer.as_of, gen=answer.epoch.gen)
            self._follower.check()
            self._fetch()

    def _on_readable(self) -> None:
        listening = self._socket
        for _ in range(_TURN):
            if self._closed or self._socket is not listening:
                return
            try:
                message = listening.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if self._drop is None or not self._drop(message[0]):
                self._take(message)

    def _take(self, message: list[bytes]) -> None:
        try:
            match message:
                case [topic, beat] if topic == HEARTBEAT_TOPIC:
                    self._on_heartbeat(frames.decode(beat, Heartbeat))
                case [_, header, body]:
                    self._on_publication(frames.decode(header, Publication), body)
        except DecodeError:
            return  # as good as lost: what it held will be missed and fetched
        except CorruptLog as broken:
            self._end(broken)

    def _on_publication(self, header: Publication, body: bytes) -> None:
        records = messages.unpack_records(body)
        epoch = Epoch(header.gen, header.term)
        ready = self._follower.take(records, checked_to=header.last_seq)
        self._deliver(ready, epoch, leads=header.leads)
        if self._follower.gap:
            self._fetch()

    def _on_heartbeat(self, beat: Heartbeat) -> None:
        now = self._reactor.now()
        self._heard = now
        self._moves, self._patience_s = 0, _SILENCE_S
        epoch = Epoch(beat.gen, beat.term)
        self._note(Reign(epoch, beat.leader, beat.leads))
        self._follower.hear(beat.head_seq, gen=beat.gen)
        if now - self._checked >= _CHECK_S:
            self._checked = now
            self._follower.check()
            self._fetch()
        elif self._follower.gap:
            self._fetch()
        if beat.leader and not beat.leads and beat.leader != self._voter.name:
            leader = self._named(beat.leader)
            if leader.name == beat.leader:
                self._move_to(leader)

    def _note(self, reign: Reign) -> None:
        before = self._reign
        if before is not None and reign.epoch < before.epoch:
            return  # a voter that lags; what it sends bears its own epoch
        if reign != before:
            self._reign = reign
            if self._on_reign is not None:
                self._on_reign(reign)

    def _fetch(self) -> None:
        if self._fetching or self._closed:
            return
        wanted = self._follower.wanted()
        if wanted is None:
            return
        self._fetching = True
        self._client.call(
            "range",
            wanted,
            timeout_s=_FETCH_TIMEOUT_S,
            on_answer=lambda answer: self._on_fetched(wanted, answer),
            on_error=self._on_fetch_failed,
        )

    def _on_fetched(self, wanted: messages.RangeRequest, answer: Answer) -> None:
        self._fetching = False
        if self._closed:
            return
        try:
            reply = answer.decode(RangeReply)
            records = messages.to_stored(reply.records)
            self._follower.hear(answer.as_of, gen=answer.epoch.gen)
            ready = self._follower.fetched(
                wanted, records, more=reply.more, as_of=answer.as_of, leads=answer.leads
            )
        except DecodeError:
            self._reactor.call_later(_AGAIN_S, self._fetch)
            return
        except CorruptLog as broken:
            self._end(broken)
            return
        self._deliver(ready, answer.epoch, leads=answer.leads)
        if not records and self._follower.gap:
            # This voter does not have yet what another one published.
            self._reactor.call_later(_AGAIN_S, self._fetch)
        elif reply.more or wanted.stream or self._follower.gap:
            self._fetch()  # the rest, or the next stream, if there is any

    def _on_fetch_failed(self, error: EventStoreError) -> None:
        self._fetching = False
        if isinstance(error, AccessDenied):
            self._end(error)
        else:
            self._reactor.call_later(_AGAIN_S, self._fetch)

    def _deliver(self, ready: Sequence[Stored], epoch: Epoch, *, leads: bool) -> None:
        if ready and not self._closed:
            self._on_delivery(Delivery(tuple(ready), epoch, leads))

    def _end(self, error: EventStoreError) -> None:
        if not self._closed:
            self.close()
            self._on_error(error)

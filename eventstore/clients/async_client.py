"""Requests to a cluster of voters, on a reactor (edge).

A call is made to one voter at a time and moves on when that one is no use:

    nobody listens, or no connection within `_CONNECT_S` -> the next voter
    connection lost before the answer      -> the next voter
    no answer within `patience_s`          -> the next voter, if there is another
    not-leader                             -> the voter that it names, or the next after a moment
    key refused by the voter               -> the next voter; AccessDenied if no other answers
    any other error                        -> the caller's

until its time is over: then Unreachable. A call that changes something bears an idempotency key and
is repeated with it; a call without one must be a read. So a repeat is always harmless, and after
Unreachable the caller may ask again with the same key and learn what became of it. A call that has
had a part of a streamed answer is not repeated: the caller knows how far it got.

Nothing is queued in ZeroMQ for a voter without a connection (IMMEDIATE); calls wait here instead,
so that none is delivered to another reign minutes later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from eventstore.access.keys import CurveKeys
from eventstore.clients.link import Link, Voter
from eventstore.errors import (
    AccessDenied,
    DecodeError,
    EventStoreError,
    NotLeader,
    Unreachable,
)
from eventstore.reactor import Reactor, Timer
from eventstore.record import Epoch
from eventstore.wire import faults, frames, messages

T = TypeVar("T")

_CONNECT_S = 1.0  # without a handshake for so long, another voter is tried
PATIENCE_S = 10.0
_AGAIN_S = 0.1  # before the next try when a voter says that it does not lead and knows no better
_HOPS = 2  # hints that are followed at once; voters that point at each other are asked slowly


class Answer(msgspec.Struct, frozen=True):
    """What a voter answered, and as of when."""

    body: msgspec.Raw
    epoch: Epoch
    leads: bool  # the voter led in that epoch when it answered
    as_of: int  # seq of the last record that it knew as committed
    voter: str

    def decode(self, kind: type[T]) -> T:
        """Return the body as a `kind`. Raises DecodeError."""
        return frames.decode(self.body, kind)


OnAnswer = Callable[[Answer], None]
OnError = Callable[[EventStoreError], None]


class Call:
    """A request under way."""

    __slots__ = (
        "_client",
        "body",
        "deadline",
        "denied_by",
        "hops",
        "id",
        "key",
        "kind",
        "link",
        "on_answer",
        "on_error",
        "on_part",
        "parts",
        "patience_s",
        "pinned",
        "sent",
        "sent_here",
        "timer",
    )

    def __init__(
        self,
        client: AsyncClient,
        call_id: int,
        kind: str,
        body: Any,
        *,
        key: str | None,
        deadline: float,
        patience_s: float | None,
        pinned: bool,
        on_answer: OnAnswer,
        on_error: OnError,
        on_part: OnAnswer | None,
    ) -> None:
        self._client = client
        self.id = call_id
        self.kind = kind
        self.body = body
        self.key = key
        self.deadline = deadline
        self.patience_s = patience_s
        self.pinned = pinned
        self.on_answer = on_answer
        self.on_error = on_error
        self.on_part = on_part
        self.link: Link
        self.timer: Timer | None = None
        self.denied_by: set[str] = set()
        self.hops = 0
        self.sent = False  # to some voter at some time
        self.sent_here = False  # to the present voter, who has not answered
        self.parts = 0

    def cancel(self) -> None:
        """Hear nothing more of it. A voter may still carry it out."""
        self._client.forget(self)


class AsyncClient:
    """Calls to the voters of one cluster, on a reactor; callbacks run on it.

    `prefer` names the voter to begin with; later it is the one that answered last.
    """

    def __init__(
        self, reactor: Reactor, voters: Sequence[Voter], keys: CurveKeys, *, prefer: str = ""
    ) -> None:
        assert voters, "a client without a voter to ask"
        self._reactor = reactor
        self._keys = keys
        self._links: dict[str, Link] = {}
        self._calls: dict[int, Call] = {}
        self._ids = itertools.count(1)
        self._set_voters(voters)
        self.preferred = prefer if prefer in self._links else voters[0].name
        reactor.on_close(self.close)

    @property
    def voters(self) -> tuple[Voter, ...]:
        """The voters that are asked, in turn."""
        return tuple(link.voter for link in self._links.values())

    def set_voters(self, voters: Sequence[Voter]) -> None:
        """Know these voters from now on; calls to one that is gone go to the next."""
        gone = self._set_voters(voters)
        if self.preferred not in self._links:
            self.preferred = voters[0].name
        for link in gone:
            link.close()
            for call in self._calls_on(link):
                if call.pinned:
                    self._fail(call, Unreachable(f"{link.name} is no voter any more"))
                else:
                    self._assign(call, self._links[self.preferred])

    def call(
        self,
        kind: str,
        body: Any = None,
        *,
        timeout_s: float,
        on_answer: OnAnswer,
        on_error: OnError,
        key: str | None = None,
        on_part: OnAnswer | None = None,
        patience_s: float | None = PATIENCE_S,
        voter: str = "",
    ) -> Call:
        """Ask; exactly one of `on_answer` and `on_error` is called later, unless cancelled.

        A call that changes something must bear a `key`. `patience_s` None: never ask another voter
        only because this one is slow (a long wait, a stream). `voter` names the only one to ask,
        who must be among `voters`. Raises TooLarge at once.
        """
        deadline = self._reactor.now() + timeout_s
        call = Call(
            self,
            next(self._ids),
            kind,
            body,
            key=key,
            deadline=deadline,
            patience_s=patience_s,
            pinned=bool(voter),
            on_answer=on_answer,
            on_error=on_error,
            on_part=on_part,
        )
        frames.check_size(self._frame(call), frames.MAX_REQUEST_BYTES, f"the request {kind}")
        self._calls[call.id] = call
        self._assign(call, self._links[voter or self.preferred])
        return call

    def forget(self, call: Call) -> None:
        """See `Call.cancel`."""
        if call.timer is not None:
            call.timer.cancel()
        self._calls.pop(call.id, None)

    def close(self) -> None:
        """Drop all calls, without a callback, and all connections."""
        for call in list(self._calls.values()):
            self.forget(call)
        for link in self._links.values():
            link.close()

    # What a link tells.

    def on_frame(self, link: Link, frame: bytes) -> None:
        """A reply came. One that cannot be read ends nothing: its call ends by its deadline."""
        try:
            reply = frames.decode(frame, messages.Reply)
        except DecodeError:
            return
        call = self._calls.get(reply.id)
        if call is None or reply.v != messages.VERSION:
            return  # cancelled, or answered before by another voter
        if reply.status == messages.FAILED:
            self._on_fault(call, link, reply)
            return
        epoch = Epoch(reply.gen, reply.term)
        answer = Answer(reply.body, epoch, reply.leads, reply.as_of, link.name)
        if not call.pinned:
            self.preferred = link.name
        if reply.status == messages.PART:
            call.parts += 1
            if call.on_part is not None:
                call.on_part(answer)
            return
        self.forget(call)
        call.on_answer(answer)

    def on_up(self, link: Link) -> None:
        """Send what waited for the connection."""
        for call in self._calls_on(link):
            self._transmit(call)

    def on_lost(self, link: Link) -> None:
        """Ask elsewhere; what was sent may have been done, hence the idempotency keys."""
        for call in self._calls_on(link):
            if call.parts:
                lost = Unreachable(f"the connection to {link.name} was lost in mid-answer")
                self._fail(call, lost)
            else:
                self._assign(call, self._next(call))

    def on_refused(self, link: Link) -> None:
        """Ask elsewhere, without waiting for the time in which it might come up."""
        if len(self._links) > 1:
            for call in self._calls_on(link):
                if call.denied_by:
                    self._fail(call, self._denied(call))
                elif not call.pinned:
                    self._assign(call, self._next(call))

    def on_denied(self, link: Link) -> None:
        """Ask elsewhere: a voter that lags may not know of a new key yet."""
        for call in self._calls_on(link):
            call.denied_by.add(link.name)
            if call.pinned or call.denied_by >= self._links.keys():
                self._fail(call, self._denied(call))
            else:
                self._assign(call, self._next(call))

    # The way of a call.

    def _assign(self, call: Call, link: Link) -> None:
        call.link = link
        call.sent_here = False
        if link.up:
            self._transmit(call)
        else:
            self._check_again(call, _CONNECT_S)
            link.open()

    def _transmit(self, call: Call) -> None:
        if call.link.send(self._frame(call)):
            call.sent = call.sent_here = True
            self._check_again(call, call.patience_s)
        else:
            self._check_again(call, _AGAIN_S)

    def _frame(self, call: Call) -> bytes:
        wait_ms = max(int((call.deadline - self._reactor.now()) * 1000), 0)
        # An array of Request's fields; a tuple spares encoding the body twice.
        return frames.encode((messages.VERSION, call.id, call.kind, wait_ms, call.key, call.body))

    def _check_again(self, call: Call, delay_s: float | None) -> None:
        due = call.deadline
        if delay_s is not None:
            due = min(due, self._reactor.now() + delay_s)
        if call.timer is not None:
            call.timer.cancel()
        call.timer = self._reactor.call_at(due, lambda: self._on_timer(call))

    def _on_timer(self, call: Call) -> None:
        if self._reactor.now() >= call.deadline:
            self._fail(call, self._denied(call) if call.denied_by else self._unreachable(call))
        elif call.denied_by and not call.link.up:
            self._fail(call, self._denied(call))
        elif call.parts or (call.sent_here and (call.pinned or len(self._links) == 1)):
            self._check_again(call, None)
        else:
            self._assign(call, self._next(call))

    def _next(self, call: Call) -> Link:
        """The voter after the call's present one that has not refused our key."""
        if call.pinned:
            return call.link
        names = list(self._links)
        at = names.index(call.link.name) if call.link.name in self._links else -1
        ring = names[at + 1 :] + names[: at + 1]
        return self._links[next((name for name in ring if name not in call.denied_by), ring[0])]

    def _on_fault(self, call: Call, link: Link, reply: messages.Reply) -> None:
        try:
            error = faults.to_error(frames.decode(reply.body, messages.Fault))
        except DecodeError as unreadable:
            error = unreadable
        if call.link is not link:
            return  # it was moved to another voter meanwhile, which will answer
        if call.pinned or not isinstance(error, NotLeader):
            self.forget(call)
            call.on_error(error)
            return
        leader = self._links.get(error.leader)
        call.hops += 1
        if leader is not None and leader is not link and call.hops <= _HOPS:
            self.preferred = leader.name
            self._assign(call, leader)
        else:
            call.sent_here = False
            self._check_again(call, _AGAIN_S)

    def _fail(self, call: Call, error: EventStoreError) -> None:
        self.forget(call)
        call.on_error(error)

    def _denied(self, call: Call) -> AccessDenied:
        names = ", ".join(sorted(call.denied_by))
        return AccessDenied(
            f"{names} does not admit the key {self._keys.public}",
            hint="use a key that the cluster has admitted, or have this one admitted",
        )

    def _unreachable(self, call: Call) -> Unreachable:
        names = ", ".join(f"{name} ({_state(link)})" for name, link in self._links.items())
        hint = "is the master daemon running there?"
        if call.sent:
            hint = "the outcome is unknown" + ("; ask again with the same key" * bool(call.key))
        return Unreachable(f"no answer to {call.kind} in time from {names}", hint=hint)

    def _calls_on(self, link: Link) -> list[Call]:
        return [call for call in self._calls.values() if call.link is link]

    def _set_voters(self, voters: Sequence[Voter]) -> list[Link]:
        before = self._links
        self._links = {}
        for voter in voters:
            link = before.get(voter.name)
            if link is None or link.voter != voter:
                link = Link(self._reactor, self._keys, voter, self)
            self._links[voter.name] = link
        return [link for link in before.values() if self._links.get(link.name) is not link]


def _state(link: Link) -> str:
    if link.up:
        return "connected"
    return "not the voter that its key says" if link.garbled else "not connected"

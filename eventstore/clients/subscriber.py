"""A subscription to wait for: for command lines and auditors (edge).

What it promises is in subscription.py; only the waiting is here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import AsyncClient
from eventstore.clients.following import Follower
from eventstore.clients.link import Voter
from eventstore.clients.subscription import Delivery, Reign, Subscription
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor

__all__ = ["Delivery", "Reign", "Subscriber", "Subscription"]


@dataclass(slots=True)
class _Inbox:
    """What a waiting subscriber's callbacks leave for it."""

    deliveries: deque[Delivery] = field(default_factory=deque)
    error: EventStoreError | None = None


class Subscriber:
    """A subscription to wait for: `for delivery in Subscriber(...)`. Not for use in a callback.

    While it waits it turns `reactor`, its own unless one is given; only its own it also closes.
    Raises AccessDenied if the key is refused, CorruptLog if the history contradicts itself;
    otherwise it goes on for ever, through restarts of voters and changes of the leader.
    """

    def __init__(
        self,
        voters: Sequence[Voter],
        keys: CurveKeys,
        follower: Follower,
        *,
        on_reign: Callable[[Reign], None] | None = None,
        drop: Callable[[bytes], bool] | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self._reactor = reactor if reactor is not None else Reactor()
        self._owns_reactor = reactor is None
        self._inbox = _Inbox()
        self._client = AsyncClient(self._reactor, voters, keys)
        self._subscription = Subscription(
            self._reactor,
            self._client,
            keys,
            follower,
            on_delivery=self._inbox.deliveries.append,
            on_error=self._on_error,
            on_reign=on_reign,
            drop=drop,
        )

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Delivery]:
        while (delivery := self.next()) is not None:
            yield delivery

    def next(self, *, timeout_s: float | None = None) -> Delivery | None:
        """Return the next delivery; None only if none came within `timeout_s`."""
        inbox = self._inbox
        self._reactor.run_until(lambda: bool(inbox.deliveries or inbox.error), timeout_s=timeout_s)
        if inbox.deliveries:
            return inbox.deliveries.popleft()
        if inbox.error is not None:
            raise inbox.error
        return None

    def close(self) -> None:
        """Disconnect."""
        self._subscription.close()
        self._client.close()
        if self._owns_reactor:
            self._reactor.close()

    def _on_error(self, error: EventStoreError) -> None:
        self._inbox.error = error

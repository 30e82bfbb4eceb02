"""Requests that wait for their answer: for command lines (edge).

The rules are those of async_client.py; only the waiting is here. Importing this module is cheap:
ZeroMQ, msgspec, nothing else that is heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import PATIENCE_S, Answer, AsyncClient, Call
from eventstore.clients.link import Voter
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor

__all__ = ["Answer", "AsyncClient", "Call", "Client", "Voter"]


_BESIDE_S = 60.0


class Client:
    """Calls that wait for their answer: for command lines. Not for use inside a reactor's callback.

    While it waits it turns `reactor`, its own unless one is given; only its own it also closes.
    """

    def __init__(
        self,
        voters: Sequence[Voter],
        keys: CurveKeys,
        *,
        prefer: str = "",
        reactor: Reactor | None = None,
    ) -> None:
        self._reactor = reactor if reactor is not None else Reactor()
        self._owns_reactor = reactor is None
        self._client = AsyncClient(self._reactor, voters, keys, prefer=prefer)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
        if self._owns_reactor:
            self._reactor.close()

    def call(
        self,
        kind: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        key: str | None = None,
        patience_s: float | None = PATIENCE_S,
        voter: str = "",
    ) -> Answer:
        """Ask and wait. Raises what the voter answered with, AccessDenied, or Unreachable.

        After Unreachable the outcome is unknown: ask again with the same `key`. `voter` names the
        only one to ask.
        """
        answers: list[Answer] = []
        errors: list[EventStoreError] = []
        self._client.call(
            kind,
            body,
            timeout_s=timeout_s,
            key=key,
            patience_s=patience_s,
            voter=voter,
            on_answer=answers.append,
            on_error=errors.append,
        )
        self._reactor.run_until(lambda: bool(answers or errors))
        if errors:
            raise errors[0]
        return answers[0]

    def ask_beside(self, kind: str, on_answer: Callable[[Answer], None]) -> None:
        """Ask without waiting: the answer comes while this client waits for another, or never."""
        self._client.call(
            kind, timeout_s=_BESIDE_S, on_answer=on_answer, on_error=lambda error: None
        )

    @property
    def voters(self) -> tuple[Voter, ...]:
        """The voters that it knows."""
        return self._client.voters

    def set_voters(self, voters: Sequence[Voter]) -> None:
        """Speak to these voters from now on."""
        self._client.set_voters(voters)

    def stream(self, kind: str, body: Any = None, *, timeout_s: float = 3600.0) -> Iterator[Answer]:
        """Ask and yield each part of the answer, the last one too. Raises as `call` does."""
        parts: list[Answer] = []
        errors: list[EventStoreError] = []
        last: list[Answer] = []
        call = self._client.call(
            kind,
            body,
            timeout_s=timeout_s,
            patience_s=None,
            on_part=parts.append,
            on_answer=last.append,
            on_error=errors.append,
        )
        try:
            while not last:
                self._reactor.run_until(lambda: bool(parts or errors or last))
                while parts:
                    yield parts.pop(0)
                if errors:
                    raise errors[0]
            yield last[0]
        finally:
            call.cancel()

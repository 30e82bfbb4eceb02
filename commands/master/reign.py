"""The engine of the present reign, and how its effects are carried out (edge).

While this voter leads there is one engine, made when the no-op of the reign is committed; when the
leadership goes it is dropped with all it had in hand, and its open requests end as unknown: whoever
asked asks again, and the next engine goes on from the log.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from commands.engine.effects import Answer, Effect, Propose, WakeAt
from commands.engine.engine import Engine
from commands.master.answers import not_leader
from eventstore.reactor import Reactor, Timer
from eventstore.record import Record
from eventstore.replica import Leadership, Outcome, Replica, Unknown
from projections.state import State

# Called with what became of a request, and its body if it was committed
Answered = Callable[[Outcome, Any], None]  # Any: the body is what that kind of request returns
_log = logging.getLogger(__name__)


class Reign:
    """Owns the engine while this voter leads."""

    def __init__(
        self,
        reactor: Reactor,
        replica: Replica,
        *,
        make_engine: Callable[[], Engine],
        stands_back: Callable[[], bool],
    ) -> None:
        """`stands_back`: this voter, if it leads, only hands over, and carries no job on."""
        self._reactor = reactor
        self._replica = replica
        self._make_engine = make_engine
        self._stands_back = stands_back
        self._engine: Engine | None = None
        self._waiting: dict[int, Answered] = {}
        self._tickets = itertools.count(1)
        self._timer: Timer | None = None

    @property
    def engine(self) -> Engine:
        """The engine. Raises NotLeader where there is none."""
        if self._engine is None:
            raise not_leader(self._replica.leadership)
        return self._engine

    @property
    def leadership(self) -> Leadership:
        """Who leads, as far as this voter knows."""
        return self._replica.leadership

    @property
    def leads(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    def on_leadership(self, leadership: Leadership) -> None:
        """Begin or end a reign."""
        leads = leadership.level and not self._stands_back()
        if leads and self._engine is None:
            _log.info("leading in epoch %d.%d", *leadership.epoch)
            self._engine = self._make_engine()
            self.carry_out(self._engine.begin())
        elif not leads and self._engine is not None:
            _log.warning("no longer leading")
            self._engine = None
            waiting, self._waiting = self._waiting, {}
            for answered in waiting.values():
                answered(Unknown("this voter stopped leading"), None)

    def on_committed(self, state: State, records: Iterable[Record]) -> None:
        """Tell the engine that the projections have moved on."""
        if self._engine is not None:
            self.carry_out(self._engine.on_committed(state, records))

    def ticket(self, answered: Answered) -> int:
        """Return a ticket for a request to the engine; `answered` hears what became of it."""
        ticket = next(self._tickets)
        self._waiting[ticket] = answered
        return ticket

    def forget(self, ticket: int) -> None:
        """The engine refused the request at once: no answer will come."""
        self._waiting.pop(ticket, None)

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Do what the engine asks for, in order."""
        for effect in effects:
            match effect:
                case Propose():
                    self._propose(effect)
                case WakeAt(boot_s=boot_s):
                    self._wake_at(boot_s)
                case Answer():
                    answered = self._waiting.pop(effect.ticket, None)
                    if answered is not None:
                        answered(effect.outcome, effect.body)
                case _:
                    assert_never(effect)

    def _propose(self, effect: Propose) -> None:
        engine = self._engine

        def done(outcome: Outcome) -> None:
            if engine is self._engine and engine is not None:
                self.carry_out(engine.on_outcome(effect.token, outcome))

        self._replica.propose(effect.batch, done)

    def _wake_at(self, boot_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.call_at(boot_s, self._tick)

    def _tick(self) -> None:
        if self._engine is not None:
            self.carry_out(self._engine.on_tick())

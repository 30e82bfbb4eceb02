"""What the leader has to hear: sent until it surely has (edge).

A result is sent until its end is seen in the node's stream, an observation until the leader says
that it is recorded, feedback and status once. Every message may arrive twice; idempotency keys and
serials make that harmless. A result that the leader took `_ENOUGH` times, though its end never
comes, belongs to an opcode that ended without it: nobody wants it any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import Answer, AsyncClient
from eventstore.clients.link import Voter
from eventstore.errors import AccessDenied, EventStoreError
from eventstore.reactor import Reactor, Timer
from nodeagent.calls import (
    Feedback,
    NodeStatus,
    Observation,
    Observed,
    Promised,
    PromiseReply,
    StatusReply,
    TaskResult,
)

_TIMEOUT_S = 15.0
_AGAIN_S = 1.0  # after a failure
_UNSEEN_S = 5.0  # after an answer, if the end of the task is not seen in the stream
_ENOUGH = 4
_STATUS_TIMEOUT_S = 4.0
_MOST_OBSERVATIONS = 100  # in one message
_log = logging.getLogger(__name__)


class Outbox:
    """Messages of one member to its leader, and its status to every voter.

    `on_word` hears each answer (it bears the leader's epoch), `on_told` what the leader says of the
    cluster in its answer to a status.
    """

    def __init__(
        self,
        reactor: Reactor,
        node: str,
        voters: Sequence[Voter],
        keys: CurveKeys,
        *,
        on_word: Callable[[Answer], None],
        on_unwanted: Callable[[str], None],
        on_told: Callable[[StatusReply], None],
    ) -> None:
        self._reactor, self._node, self._keys = reactor, node, keys
        self._on_word, self._on_unwanted = on_word, on_unwanted
        self._on_told = on_told
        self._answers: dict[str, int] = {}  # how often the leader took an unsettled result
        self.client = AsyncClient(reactor, voters, keys)
        self._each = self._one_each(voters)
        self._results: dict[str, TaskResult] = {}
        self._timers: dict[str, Timer] = {}
        self._observations: dict[int, Observation] = {}
        self._observing = False
        self._lines = 0
        self._boot = reactor.now()  # part of the keys of what is not repeated after a restart
        self._closed = False

    def close(self) -> None:
        """Say nothing more, whatever answers and timers are still to come."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        for client in (self.client, *self._each):
            client.close()

    def set_voters(self, voters: Sequence[Voter]) -> None:
        """Speak to these voters from now on."""
        if tuple(voters) != self.client.voters:
            self.client.set_voters(voters)
            for client in self._each:
                if client is not self.client:
                    client.close()
            self._each = self._one_each(voters)

    def send_promise(
        self,
        promised: Promised,
        on_reply: Callable[[PromiseReply, Answer], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Tell the leader what is promised; exactly one of the callbacks is called."""

        def answered(answer: Answer) -> None:
            self._on_word(answer)
            on_reply(answer.decode(PromiseReply), answer)

        def failed(error: EventStoreError) -> None:
            _log.info("the promise of %s.%s: %s", promised.gen, promised.term, error)
            self._reactor.call_later(_AGAIN_S, on_lost)

        key = f"promise/{self._node}/{promised.gen}.{promised.term}/{self._boot}"
        self._ask("promise", promised, key, answered, failed)

    def _ask(
        self,
        kind: str,
        body: msgspec.Struct,
        key: str,
        on_answer: Callable[[Answer], None],
        on_error: Callable[[EventStoreError], None],
    ) -> None:
        if not self._closed:
            self.client.call(
                kind, body, key=key, timeout_s=_TIMEOUT_S, on_answer=on_answer, on_error=on_error
            )

    def _one_each(self, voters: Sequence[Voter]) -> list[AsyncClient]:
        if len(voters) == 1:
            return [self.client]
        return [AsyncClient(self._reactor, (voter,), self._keys) for voter in voters]

    # --- results ------------------------------------------------------------------------------

    def send_result(
        self,
        result: TaskResult,
        on_heard: Callable[[], None] = lambda: None,
        on_denied: Callable[[EventStoreError], None] = lambda error: None,
    ) -> None:
        """Send until `settled`; `on_heard` is called when the leader has it for the first time,
        `on_denied` whenever no voter admits the key.

        The answer "it runs" is sent until it is heard.
        """
        if result.running:
            self._transmit(result, "runs", on_heard, on_denied)
        elif self._results.get(result.task) != result:
            self._results[result.task] = result
            self._transmit(result, "end", on_heard, on_denied)

    def settled(self, task: str) -> None:
        """The end of the task is in the log."""
        self._results.pop(task, None)
        self._answers.pop(task, None)
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()

    def _transmit(
        self,
        result: TaskResult,
        what: str,
        on_heard: Callable[[], None],
        on_denied: Callable[[EventStoreError], None],
    ) -> None:
        again = not result.running

        def answered(answer: Answer) -> None:
            self._on_word(answer)
            on_heard()
            if again and result.task in self._results:
                self._answers[result.task] = self._answers.get(result.task, 0) + 1
                if self._answers[result.task] >= _ENOUGH:
                    self._on_unwanted(result.task)
                else:
                    self._later(result, _UNSEEN_S, on_denied=on_denied)

        def failed(error: EventStoreError) -> None:
            _log.warning("the result of %s: %s (%s)", result.task, error, error.hint)
            denied = isinstance(error, AccessDenied)
            if again:
                self._later(result, _AGAIN_S, on_heard, on_denied)
            elif not denied:
                self._reactor.call_later(
                    _AGAIN_S, lambda: self._transmit(result, what, on_heard, on_denied)
                )
            if denied:
                on_denied(error)

        self._ask("task-result", result, f"{what}/{result.task}", answered, failed)

    def _later(
        self,
        result: TaskResult,
        delay_s: float,
        on_heard: Callable[[], None] = lambda: None,
        on_denied: Callable[[EventStoreError], None] = lambda error: None,
    ) -> None:
        def again() -> None:
            if self._results.get(result.task) == result:
                self._transmit(result, "end", on_heard, on_denied)

        if self._results.get(result.task) == result:
            self._timers[result.task] = self._reactor.call_later(delay_s, again)

    # --- the rest -----------------------------------------------------------------------------

    def send_observations(
        self, observations: Sequence[Observation], on_recorded: Callable[[int], None]
    ) -> None:
        """Send until recorded; `on_recorded` gets the serial up to which they are."""
        for observation in observations:
            self._observations[observation.serial] = observation
        self._observe(on_recorded)

    def _observe(self, on_recorded: Callable[[int], None]) -> None:
        if self._observing or not self._observations:
            return
        self._observing = True
        serials = sorted(self._observations)[:_MOST_OBSERVATIONS]

        def answered(_answer: Answer) -> None:
            self._observing = False
            for serial in serials:
                del self._observations[serial]
            on_recorded(serials[-1])
            self._observe(on_recorded)

        def failed(error: EventStoreError) -> None:
            self._observing = False
            _log.warning("observations %d to %d: %s", serials[0], serials[-1], error)
            self._reactor.call_later(_AGAIN_S, lambda: self._observe(on_recorded))

        body = Observed(observations=tuple(self._observations[serial] for serial in serials))
        key = f"observed/{self._node}/{serials[0]}-{serials[-1]}"
        self._ask("observed", body, key, answered, failed)

    def send_feedback(self, line: Feedback) -> None:
        """Say it once; a line that is lost is no harm."""
        self._lines += 1
        key = f"feedback/{line.task}/{self._boot}/{self._lines}"

        def failed(error: EventStoreError) -> None:
            _log.info("feedback of %s: %s", line.task, error)

        self._ask("feedback", line, key, self._on_word, failed)

    def send_status(self, status: NodeStatus) -> None:
        """Tell every voter, each by its own connection: a dead one must not delay the others."""
        body = msgspec.Raw(msgspec.msgpack.encode(status))
        for client in self._each:
            client.call(
                "status",
                body,
                timeout_s=_STATUS_TIMEOUT_S,
                patience_s=None,
                on_answer=self._on_status_heard,
                on_error=lambda error: _log.info("status: %s", error),
            )

    def _on_status_heard(self, answer: Answer) -> None:
        self._on_word(answer)
        heard = answer.decode(StatusReply | None)  # type: ignore[arg-type]  # msgspec takes unions
        if heard is not None and answer.leads and not self._closed:
            self._on_told(heard)

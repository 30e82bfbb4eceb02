"""What an agent does with what it hears: the rules of tasks, as a state machine (pure).

Tell it what happened; carry out what it returns, in order: first whatever is an entry of the
journal, all in one commit, then the rest. No socket, no clock, no thread, no disk.

    waiting ---- vouched for, its resource free ----> running       Accepted, Start
    running ---- the worker is through ------------> ended          Ended, Send
    ended   ---- its end is seen in the stream ----> forgotten      Settled
    waiting ---- withdrawn ------------------------> ended          Ended(withdrawn), Send
    running ---- withdrawn ------------------------> running        Stop, Send(running)

**Vouching.** The leader whose epoch was promised answers the promise with the version at which the
stream stands. Nothing starts before that answer, nor before the stream is read up to that version;
then what starts is what that version covers, or what was delivered in that epoch. Hence:

- a delivery of a deposed leader starts nothing; its records are committed all the same, are kept,
  and start when the new leader covers them;
- nor does one of a voter that only follows: the leader is asked to cover it, by another promise;
- a task whose end is in the log is never run again, however much of the journal was lost or left
  unwritten, because its end is read before anything starts.

**Accepted without a result** (the agent died): the task may have had any part of its effect. It is
simply made again, as calls state wanted results; if it is withdrawn before that, it has *failed*,
which makes the leader undo it. "Never ran" is said only of a task that was not accepted.

**A forced takeover** may cut the stream, and a version then names another record. What was accepted
before it is *adrift* (version 0, in the journal too) until its request is read again in the new
stream. What is still adrift when that is read up to the leader's answer is forgotten: nobody
wants it any more. One that runs meanwhile is left to end, and the leader says that it is unwanted.

One task of a resource runs at a time, in the order of the stream; resources run side by side, at
most `limit` in all. A task that does not end when it is told to is given up: it has failed for the
leader, but keeps its resource until its thread comes back, so that its undo cannot run beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from eventstore.record import Epoch, Record
from nodeagent.calls import (
    DUTY_REQUESTED,
    TASK_ENDS,
    TASK_REQUESTED,
    TASK_WITHDRAW_REQUESTED,
    Failure,
    Promised,
    TaskNamed,
    TaskOrder,
    TaskResult,
)
from nodeagent.journal import Accepted, Ended, Entry, PromisedEpoch, Remembered, Settled

_NOTHING = Epoch(0, 0)
_ADRIFT = 0  # instead of the version of a request that the stream may no longer have


class Start(NamedTuple):
    """Run the task on a worker; tell `on_finished`."""

    order: TaskOrder


class Stop(NamedTuple):
    """Ask the running task to end early."""

    task: str


class Send(NamedTuple):
    """Tell the leader what came of a task."""

    result: TaskResult


class SendPromise(NamedTuple):
    """Tell the leader what is promised; its answer goes to `on_promise_reply`."""

    promised: Promised


class Reread(NamedTuple):
    """Follow the stream anew from its beginning: a forced takeover may have cut it."""


Action = Start | Stop | Send | SendPromise | Reread
Effect = Entry | Action


class Core:
    """One node's tasks."""

    def __init__(self, node: str, remembered: Remembered, *, limit: int) -> None:
        self.node = node
        self.promised = remembered.promised
        self.seen = remembered.position
        self.results = {ended.result.task: ended.result for ended in remembered.ended}
        self._limit = limit
        self._vouched = 0  # the stream up to here is known good in the promised epoch
        self._stands_at = 0  # the version in the leader's answer
        self._answered = False  # the promise of this epoch, to this process
        self._asking = False  # a promise is on its way
        self._again = {found.order.task: found for found in remembered.accepted}
        self._waiting: dict[str, Accepted] = {}  # in the order of the stream
        self._withdrawals: dict[str, int] = {}  # task -> version of the request
        self._running: dict[str, Accepted] = {}
        self._given_up: set[str] = set()  # of those that run
        self._busy: dict[str, str] = {}  # resource -> task

    @property
    def position(self) -> int:
        """The stream up to here need not be read again after a restart."""
        kept = [found.version for found in self._waiting.values()]
        kept += self._withdrawals.values()
        return min(kept) - 1 if kept else self.seen

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Tasks that were accepted and have no result."""
        return (*self._again, *(task for task in self._running if task not in self._given_up))

    @property
    def idle(self) -> bool:
        """Whether nothing runs and no result is open."""
        return not (self._running or self.results or self._waiting or self._again)

    # --- what happened ------------------------------------------------------------------------

    def on_epoch(self, epoch: Epoch) -> list[Effect]:
        """A voter says that it leads in `epoch`."""
        if epoch < self.promised:
            return []
        if epoch == self.promised:
            settled = self._answered and not self._unvouched
            return [] if settled or self._asking else self._ask()
        effects: list[Effect] = []
        if epoch > self.promised:
            if epoch.gen > self.promised.gen > 0:
                self._waiting.clear()
                self._withdrawals.clear()
                self.seen = 0
                effects.append(Reread())
                effects += self._cast_adrift()
            self.promised, self._answered, self._vouched = epoch, False, 0
            effects.append(PromisedEpoch(epoch))
        return effects + self._ask()

    def _cast_adrift(self) -> list[Effect]:
        """Trust no version of the stream that is over."""
        effects: list[Effect] = []
        for queue in (self._again, self._running):
            for task, accepted in queue.items():
                queue[task] = accepted._replace(version=_ADRIFT)
                effects.append(queue[task])
        return effects

    def _ask(self) -> list[Effect]:
        self._asking = True
        return [SendPromise(self._promise())]

    @property
    def _unvouched(self) -> bool:
        """Whether something waits only because no leader has vouched for it."""
        versions = (found.version for found in self._waiting.values())
        return any(v > self._vouched for v in (*versions, *self._withdrawals.values()))

    def on_promise_lost(self, epoch: Epoch) -> None:
        """No answer came to the promise; the next word of a leader lets it be sent again."""
        if epoch == self.promised:
            self._asking = False

    def _promise(self) -> Promised:
        return Promised(
            node=self.node,
            gen=self.promised.gen,
            term=self.promised.term,
            unfinished=self.unfinished,
            finished=tuple(self.results),
        )

    def on_promise_reply(self, epoch: Epoch, version: int) -> list[Effect]:
        """The leader of `epoch` has heard the promise; the stream stands at `version`."""
        if epoch != self.promised:
            return []  # an answer of an earlier time
        self._answered, self._asking = True, False
        self._stands_at = version
        self._vouched = max(self._vouched, version)
        resent: list[Effect] = [Send(result) for result in self.results.values()]
        return resent + self._go_on()

    def on_record(self, record: Record, epoch: Epoch, *, leads: bool) -> list[Effect]:
        """The next record of the node's stream, sent by a voter in `epoch`."""
        effects = self.on_epoch(epoch) if leads else []
        self.seen = max(self.seen, record.version)
        if leads and epoch == self.promised:
            self._vouched = max(self._vouched, record.version)
        effects += self._take(record)
        if self._answered and self._unvouched and not self._asking:
            effects += self._ask()  # it came from a voter that does not lead
        return effects + self._go_on()

    def on_finished(self, result: TaskResult) -> list[Effect]:
        """The worker is through with a task."""
        accepted = self._running.pop(result.task)
        del self._busy[_resource(accepted.order)]
        effects: list[Effect] = []
        if result.task in self._given_up:  # that it failed was said
            self._given_up.discard(result.task)
        else:
            effects += self._end(accepted.version, result)
        return effects + self._go_on()

    def on_given_up(self, task: str, failure: Failure) -> list[Effect]:
        """A running task did not end when it was told to."""
        if task not in self._running or task in self._given_up:
            return []
        self._given_up.add(task)
        version = self._running[task].version
        return self._end(version, TaskResult(task=task, failed=failure))

    def on_unwanted(self, task: str) -> list[Effect]:
        """The leader has heard the result more than once, and its end does not come: the opcode
        ended without it (a person resolved it)."""
        return [Settled(task)] if self.results.pop(task, None) is not None else []

    # --- rules --------------------------------------------------------------------------------

    def _take(self, record: Record) -> list[Effect]:
        if record.kind in (TASK_REQUESTED, DUTY_REQUESTED):
            try:
                order = msgspec.msgpack.decode(record.data, type=TaskOrder)
            except msgspec.ValidationError as wrong:
                return self._refuse(record, wrong)
            if order.task in self.results:
                return [Send(self.results[order.task])]
            return self._request(Accepted(record.version, order))
        if record.kind == TASK_WITHDRAW_REQUESTED:
            task = msgspec.msgpack.decode(record.data, type=TaskNamed).task
            self._withdrawals[task] = record.version
        elif record.kind in TASK_ENDS:
            return self._settle(msgspec.msgpack.decode(record.data, type=TaskNamed).task)
        return []

    def _request(self, accepted: Accepted) -> list[Effect]:
        task = accepted.order.task
        for queue in (self._again, self._running):
            if task in queue:
                if queue[task].version != _ADRIFT:
                    return []
                del queue[task]  # to the end: the order is that of the stream
                queue[task] = accepted
                return [accepted]
        self._waiting[task] = accepted
        return []

    def _refuse(self, record: Record, wrong: msgspec.ValidationError) -> list[Effect]:
        """A task that this version cannot read still gets an answer, if it can be named."""
        task = msgspec.msgpack.decode(record.data, type=TaskNamed).task
        failure = Failure(code="wrong_input", message=f"not a task: {wrong}", hint="upgrade")
        return self._end(record.version, TaskResult(task=task, failed=failure))

    def _settle(self, task: str) -> list[Effect]:
        self._waiting.pop(task, None)
        self._withdrawals.pop(task, None)
        known = self.results.pop(task, None) is not None
        known = self._again.pop(task, None) is not None or known
        return [Settled(task)] if known else []

    def _go_on(self) -> list[Effect]:
        effects: list[Effect] = []
        if not self._answered or self.seen < self._stands_at:
            return effects
        for task in [task for task, found in self._again.items() if found.version == _ADRIFT]:
            del self._again[task]
            effects.append(Settled(task))
        for task, version in list(self._withdrawals.items()):
            if version <= self._vouched:
                del self._withdrawals[task]
                effects += self._withdraw(task, version)
        return effects + self._start()

    def _withdraw(self, task: str, version: int) -> list[Effect]:
        if task in self.results:
            return [Send(self.results[task])]
        if task in self._running:
            return [Stop(task), Send(TaskResult(task=task, running=True))]
        if task in self._again:
            died = Failure(
                code="stopped",
                message="the agent died while the task ran; how far it came is not known",
                hint="undoing it cleans up whatever it did",
            )
            return self._end(self._again.pop(task).version, TaskResult(task=task, failed=died))
        self._waiting.pop(task, None)
        return self._end(version, TaskResult(task=task, withdrawn=True))

    def _end(self, version: int, result: TaskResult) -> list[Effect]:
        self.results[result.task] = result
        return [Ended(version, result), Send(result)]

    def _start(self) -> list[Effect]:
        effects: list[Effect] = []
        blocked: set[str] = set(self._busy)
        for queue in (self._again, self._waiting):
            for task, accepted in list(queue.items()):
                resource = _resource(accepted.order)
                if len(self._running) >= self._limit:
                    return effects
                if accepted.version > self._vouched:
                    break
                if resource in blocked:
                    continue
                del queue[task]
                self._running[task] = accepted
                self._busy[resource] = task
                blocked.add(resource)
                effects += [accepted, Start(accepted.order)]
        return effects


def _resource(order: TaskOrder) -> str:
    return order.resource or order.task

"""A member at work: hears its stream, runs its tasks, says what it sees (edge).

This module owns the wiring; the rules are in core.py (tasks) and observer.py (what becomes a fact).

One turn of the loop may bring several things (results of workers, records, the answer to a
promise). Their effects are gathered and carried out together at the start of the next turn: first
everything that has to be durable, in one commit of the journal, then the actions, in order. So no
worker starts before its task is journaled and no result is sent before it is, whatever the number
of syncs saved.

The journal is written on the loop's thread. A disk that takes 100 ms to sync makes the agent answer
100 ms later; a thread for it would add two handovers to each task and save nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from eventstore.access.keys import CurveKeys
from eventstore.clients.async_client import Answer
from eventstore.clients.following import Streams
from eventstore.clients.subscription import Delivery, Reign, Subscription
from eventstore.errors import AccessDenied, EventStoreError
from eventstore.reactor import Reactor, Timer
from eventstore.record import Epoch
from nodeagent.calls import (
    Call,
    Failure,
    LeaveCluster,
    NodeStatus,
    PromiseReply,
    StatusReply,
    TaskOrder,
    TaskResult,
    Voter,
)
from nodeagent.core import Core, Effect, Reread, Send, SendPromise, Start, Stop
from nodeagent.errors import NodeAgentError
from nodeagent.executor import Drivers, Executor, decode_call, disks_named
from nodeagent.feedback import FeedbackGate
from nodeagent.identity import AgentConfig, Identity, addresses
from nodeagent.journal import (
    Acknowledged,
    Entry,
    Journal,
    Leaving,
    Noticed,
    Position,
    Settled,
)
from nodeagent.observer import Observer
from nodeagent.outbox import Outbox
from nodeagent.status import StatusReader
from nodeagent.task_scope import Progress, TaskScope
from nodeagent.voter_host import VoterHost
from nodeagent.workers import Workers

_GRACE_S = 10.0  # between telling a call to stop and giving it up
_RESULT_BYTES = 60_000  # of a result; a record's limit is 64 KiB
_CHECK_TIMEOUT_S = 10.0
_SOON_S = 0.02  # to look once more after a task: what it started (a sync) is to be seen
_log = logging.getLogger(__name__)


class Agent:
    """One node's membership, from `start` to `close`.

    `on_identity` hears what the leader has said that is to be remembered: where the voters are, the
    cluster's volume group; `on_left` when the node has left the cluster, `on_refused` when no voter
    admits its key any more. A node that has agreed to leave is refused because it has left: the
    record that makes it a stranger is often committed before it hears that its yes was heard.
    """

    def __init__(
        self,
        reactor: Reactor,
        identity: Identity,
        keys: CurveKeys,
        journal: Journal,
        drivers: Drivers,
        config: AgentConfig,
        voter: VoterHost,
        *,
        on_identity: Callable[[Identity], None],
        on_left: Callable[[], None],
        on_refused: Callable[[EventStoreError], None],
    ) -> None:
        remembered = journal.read()
        self._reactor, self._identity, self._keys = reactor, identity, keys
        self._journal, self._drivers, self._config = journal, drivers, config
        self._on_identity, self._on_left, self._on_refused = on_identity, on_left, on_refused
        self.core = Core(identity.node, remembered, limit=config.workers)
        self.observer = Observer(remembered.known, remembered.serial, settle_s=config.settle_s)
        self._unheard = remembered.observed
        self._stream = f"node/{identity.node}"
        self._follower = Streams({self._stream: remembered.position})
        voters = addresses(identity.voters)
        self._outbox = Outbox(
            reactor, identity.node, voters, keys,
            on_word=self._on_word, on_unwanted=self._on_unwanted, on_told=self._on_told,
        )  # fmt: skip
        self._status = StatusReader(identity.node, drivers)
        self._executor = Executor(drivers, self._status.read, voter)
        self._workers = Workers(config.workers)
        self._voter = voter
        voter.voters = identity.voters
        drivers.use_volume_group(identity.volume_group)
        self._gate = FeedbackGate()
        self._scopes: dict[str, TaskScope] = {}
        self._timers: dict[str, Timer] = {}  # of the tasks that run
        self._effects: list[Effect] = []
        self._flushing = self._closed = False
        self._leaving = remembered.leaving
        self._last_task = ""  # the one that makes the node leave
        self._told: NodeStatus | None = None
        self._subscription: Subscription | None = None
        self._looking: Timer | None = None
        self._feeding: Timer | None = None
        self._stop_status: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Begin to follow the stream and to report."""
        self._subscription = Subscription(
            self._reactor,
            self._outbox.client,
            self._keys,
            self._follower,
            on_delivery=self._on_delivery,
            on_error=self._on_denied,
            on_reign=self._on_reign,
        )
        for hypervisor in self._drivers.hypervisors:
            hypervisor.on_news(lambda: self._from_worker(self.look_soon))
        self._outbox.send_observations(self._unheard, self._on_recorded)
        self._stop_status = self._reactor.call_every(self._config.status_s, self._tell_status)
        self._look()
        self._tell_status()

    def check(self) -> None:
        """Ask whether the key is still admitted; if it is not, `on_refused` or `on_left` hears."""
        self._outbox.client.call(
            "head",
            timeout_s=_CHECK_TIMEOUT_S,
            on_answer=self._on_word,
            on_error=lambda error: (
                self._on_denied(error) if isinstance(error, AccessDenied) else None
            ),
        )

    def close(self) -> None:
        """Stop reporting and following; calls that run are told to end, their tasks are made again
        after the next start."""
        self._closed = True
        if self._subscription is not None:
            self._subscription.close()
        self._stop_status()
        for timer in (self._looking, self._feeding, *self._timers.values()):
            if timer is not None:
                timer.cancel()
        self._outbox.close()
        for scope in self._scopes.values():
            scope.stop("stopped", "the agent ends")

    @property
    def busy(self) -> bool:
        """Whether a worker is at a call; after `close` that is one which has not ended yet."""
        return bool(self._scopes)

    # --- what comes in ------------------------------------------------------------------------

    def _on_reign(self, reign: Reign) -> None:
        if reign.leads:
            self._gather(self.core.on_epoch(reign.epoch))

    def _on_word(self, answer: Answer) -> None:
        if answer.leads:
            self._gather(self.core.on_epoch(answer.epoch))

    def _on_delivery(self, delivery: Delivery) -> None:
        for stored in delivery.records:
            self._gather(self.core.on_record(stored.record, delivery.epoch, leads=delivery.leads))
        self._passed("seen")

    def _on_promise_reply(self, reply: PromiseReply, epoch: Epoch) -> None:
        self._take_voters(reply.voters)
        self._gather(self.core.on_promise_reply(epoch, reply.version))
        if self.core.seen < reply.version and self._subscription is not None:
            self._subscription.check()

    def _on_told(self, reply: StatusReply) -> None:
        self._take_voters(reply.voters)
        group = reply.volume_group
        if group is not None and group != self._identity.volume_group:
            _log.info("the volume group: %s", group or "none")
            self._identity = msgspec.structs.replace(self._identity, volume_group=group)
            self._on_identity(self._identity)
            self._drivers.use_volume_group(group)
            self._tell_status()  # the room there, which is not to be waited for

    def _take_voters(self, voters: tuple[Voter, ...]) -> None:
        """The leader says where the voters are: remembered, and spoken to from now on."""
        if voters and voters != self._identity.voters:
            _log.info("the voters: %s", ", ".join(voter.name for voter in voters))
            self._identity = msgspec.structs.replace(self._identity, voters=voters)
            self._voter.voters = voters
            self._on_identity(self._identity)
            self._outbox.set_voters(addresses(voters))

    def _on_promise_lost(self, epoch: Epoch) -> None:
        self.core.on_promise_lost(epoch)
        reign = self._subscription.reign if self._subscription is not None else None
        if reign is not None:
            self._on_reign(reign)

    def _on_unwanted(self, task: str) -> None:
        _log.warning("nobody wants the result of task %s any more", task)
        self._gather(self.core.on_unwanted(task))

    def _on_recorded(self, serial: int) -> None:
        self._journal.write([Acknowledged(serial)])

    # --- effects ------------------------------------------------------------------------------

    def _gather(self, effects: list[Effect]) -> None:
        self._effects += effects
        if self._effects and not self._flushing:
            self._flushing = True
            self._reactor.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return  # the journal may belong to the next membership by now
        effects, self._effects = self._effects, []
        entries: list[Entry] = []
        actions: list[Start | Stop | Send | SendPromise | Reread] = []
        for effect in effects:
            if isinstance(effect, Start | Stop | Send | SendPromise | Reread):
                actions.append(effect)
            else:
                entries.append(effect)
        self._journal.write([*entries, Position(self.core.position)])
        for entry in entries:
            if isinstance(entry, Settled):
                self._outbox.settled(entry.task)
                self._passed("settled")
        for action in actions:
            self._act(action)
        if self.core.idle:
            self._journal.tidy()

    def _act(self, action: Start | Stop | Send | SendPromise | Reread) -> None:
        match action:
            case Start(order):
                self._passed("accepted")
                self._run(order)
            case Stop(task):
                self._stop(task, "stopped", "the leader withdrew the task")
            case Send(result):
                if not result.running:
                    self._passed("journaled")
                self._outbox.send_result(
                    result, lambda: self._on_result_heard(result.task), self._on_result_denied
                )
                self._passed("sent")
            case SendPromise(promised):
                epoch = Epoch(promised.gen, promised.term)
                self._outbox.send_promise(
                    promised,
                    lambda reply, _: self._on_promise_reply(reply, epoch),
                    lambda: self._on_promise_lost(epoch),
                )
            case Reread():
                self._follower.rewind(self._stream, 0)
                if self._subscription is not None:
                    self._subscription.check()
            case _:
                assert_never(action)

    def _on_result_heard(self, task: str) -> None:
        if task == self._last_task:
            self._on_left()

    def _on_result_denied(self, error: EventStoreError) -> None:
        if self._leaving:
            self._on_left()

    def _on_denied(self, error: EventStoreError) -> None:
        if self._leaving:
            self._on_left()
        else:
            self._on_refused(error)

    # --- tasks --------------------------------------------------------------------------------

    def _run(self, order: TaskOrder) -> None:
        task = order.task
        scope = TaskScope(lambda line: self._from_worker(lambda: self._say(task, line)))
        self._scopes[task] = scope
        late = f"{order.call.name} was not done in {order.timeout_s:.0f} s"
        self._timers[task] = self._reactor.call_later(
            order.timeout_s, lambda: self._stop(task, "timeout", late)
        )
        _log.info("task %s: %s", task, order.call.name)
        self._workers.run(lambda: self._work(order, scope))

    def _work(self, order: TaskOrder, scope: TaskScope) -> None:
        """On a worker's thread."""
        began = time.monotonic()
        disks: tuple[tuple[str, str], ...] = ()
        try:
            call = decode_call(order.call)
            disks = disks_named(call)
            self._passed("acting")
            result = self._perform(order.task, call, scope)
            self._passed("acted")
        except NodeAgentError as failed:
            result = TaskResult(task=order.task, failed=failed.failure())
        except Exception as bug:
            _log.exception("task %s: %s broke the agent's code", order.task, order.call.name)
            failure = Failure(code="environment_error", message=f"internal error: {bug!r}")
            result = TaskResult(task=order.task, failed=failure)
        took_ms = int((time.monotonic() - began) * 1000)
        result = msgspec.structs.replace(result, duration_ms=took_ms)
        self._from_worker(lambda: self._on_finished(order, result, disks))

    def _perform(self, task: str, call: Call, scope: TaskScope) -> TaskResult:
        value = self._executor.perform(call, scope)
        encoded = msgspec.Raw(msgspec.msgpack.encode(value))
        if len(encoded) > _RESULT_BYTES:
            raise NodeAgentError(
                f"the result of {call.NAME} has {len(encoded)} bytes",
                hint=f"at most {_RESULT_BYTES} fit into a record",
            )
        return TaskResult(task=task, done=encoded)

    def _on_finished(
        self, order: TaskOrder, result: TaskResult, disks: tuple[tuple[str, str], ...]
    ) -> None:
        task = order.task
        self._scopes.pop(task).stop("stopped", "it has ended")
        self._timers.pop(task).cancel()
        self._gate.ended(task)
        name, took_ms = order.call.name, result.duration_ms
        if result.failed is None:
            _log.info("task %s: %s is done after %d ms", task, name, took_ms)
        else:
            why = f"{result.failed.code}: {result.failed.message}"
            _log.warning("task %s: %s failed after %d ms: %s", task, name, took_ms, why)
        if name == LeaveCluster.NAME and result.failed is None:
            self._leaving, self._last_task = True, task
            self._gather([Leaving()])
        for disk, instance in disks:
            self._gather(list(self.observer.belongs(disk, instance)))
        self._gather(self.core.on_finished(result))
        self._look_in(_SOON_S)

    def _stop(self, task: str, code: str, message: str) -> None:
        scope = self._scopes.get(task)
        if scope is None:
            return
        scope.stop(code, message)
        self._timers[task].cancel()
        self._timers[task] = self._reactor.call_later(
            _GRACE_S, lambda: self._give_up(task, code, message)
        )

    def _give_up(self, task: str, code: str, message: str) -> None:
        failure = Failure(
            code=code,
            message=f"{message}; it could not be stopped and may still be at work",
            hint="look at the node: a call that cannot be stopped usually hangs on its storage",
        )
        self._gather(self.core.on_given_up(task, failure))

    def _from_worker(self, callback: Callable[[], None]) -> None:
        self._reactor.call_soon_threadsafe(callback)

    def _passed(self, point: str) -> None:
        if self._drivers.interference is not None:
            self._drivers.interference.passed(point)

    # --- what it says -------------------------------------------------------------------------

    def _say(self, task: str, line: Progress) -> None:
        if task in self._scopes:
            self._gate.say(self._reactor.now(), task, line)
            self._feed()

    def _feed(self) -> None:
        for line in self._gate.due(self._reactor.now()):
            self._outbox.send_feedback(line)
        if self._feeding is not None:
            self._feeding.cancel()
        due = self._gate.next_at()
        self._feeding = self._reactor.call_at(due, self._feed) if due is not None else None

    def look_soon(self) -> None:
        """Something was done to the node from outside: do not wait for the next look."""
        self._look_in(0.0)

    def _look_in(self, delay_s: float) -> None:
        if self._closed:
            return
        due = self._reactor.now() + delay_s
        if self._looking is None or due < self._looking.due:
            if self._looking is not None:
                self._looking.cancel()
            self._looking = self._reactor.call_at(due, self._look)

    def _look(self) -> None:
        """Look at the node; report what matters, and tell the leader at once what has changed."""
        self._looking = None
        status = self._status.read()
        self._journal_news(self.observer.look(self._reactor.now(), status.disks, status.instances))
        if _states(status) != _states(self._told):
            self._send_status(status)
        etas = [disk.sync_eta_s for disk in status.disks if disk.sync_eta_s is not None]
        self._look_in(max(min([self._config.look_s, *etas]), _SOON_S))

    def _journal_news(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._journal.write(entries)
            news = [entry.observation for entry in entries if isinstance(entry, Noticed)]
            self._outbox.send_observations(news, self._on_recorded)

    def _tell_status(self) -> None:
        self._send_status(self._status.read())

    def _send_status(self, status: NodeStatus) -> None:
        self._told = status
        self._outbox.send_status(status)


def _states(status: NodeStatus | None) -> tuple[tuple[str, ...], ...]:
    """What of a status is worth telling at once."""
    if status is None:
        return ()
    disks = ((disk.uuid, disk.state, disk.role) for disk in status.disks)
    guests = ((guest.uuid, guest.state) for guest in status.instances)
    return (*disks, *guests)

"""A node's agent: the real machine of the agent, a journal, and a stream that comes from any voter.

It asks voters in turn for the next records of its stream. An answer says in which epoch its voter
is and whether it leads; it may come late, when that is long over. What the agent promises, accepts
and ends is in its journal before it acts; a crash leaves that. Results go to whoever said last that
it leads, with a key, so that the end of a task stands in the log once.

Invariants (REPLICATION 3.6), judged by what was promised in any life of the agent:

- A task starts only by the word of a leader whose epoch is not below one that was promised: it
  delivered the record, or answered the promise at a version that covers it.
- A task does not start twice in one life, nor after its end was told, nor when its end is in the
  stream up to where the leader vouched; except that a forced takeover may undo an end.

Allowed, since calls state wanted results: a task whose end was read and forgotten runs once more if
the agent dies then and a deposed leader, which does not know that the end is committed, still
vouches in the promised epoch (seed 11847 showed it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from eventstore.record import Epoch, Record
from nodeagent.calls import TASK_ENDS, TASK_REQUESTED, TaskNamed, TaskOrder, TaskResult
from nodeagent.core import Core, Effect, Reread, Send, SendPromise, Start, Stop
from nodeagent.journal import Accepted, Ended, PromisedEpoch, Remembered, Settled
from tests.simulation.kernel import HEAL_MS, Kernel, Violation
from tests.simulation.node import TASKS, Node, TaskDone

NOTHING = Epoch(0, 0)
BATCH = 8  # records in an answer


class Agent:
    """The agent of one node, in all its lives."""

    def __init__(self, kernel: Kernel, nodes: Mapping[str, Node]) -> None:
        self._kernel, self._rng, self._nodes = kernel, kernel.rng, nodes
        self._promised = NOTHING  # the journal
        self._accepted: dict[str, Accepted] = {}
        self._ended: dict[str, Ended] = {}
        self._life = 0
        self._told: Node | None = None  # who said last that it leads
        self.runs = 0
        self.highest = NOTHING  # that it ever promised
        self._over: dict[str, int] = {}  # task -> generation in which its end was said
        self._started: set[str] = set()  # in this life
        self._begin_life()

    def begin(self) -> None:
        """Begin to ask for the stream, and plan the ends of its lives."""
        self._kernel.after(500, self._poll)
        for _ in range(self._rng.randrange(4)):
            self._kernel.at(self._rng.randrange(500, HEAL_MS), self.crash)

    def _begin_life(self) -> None:
        remembered = Remembered(
            promised=self._promised,
            accepted=tuple(self._accepted.values()),
            ended=tuple(self._ended.values()),
        )
        self._core = Core("n", remembered, limit=2)
        self._cursor = 0  # records of the stream that were taken up
        self._covered = 0  # up to this version the leader of the highest epoch has vouched
        self._ends: dict[str, int] = {}  # task -> version of its end, as read
        self._versions: dict[str, int] = {}  # task -> version of its request, as read
        self._started.clear()

    def turn_to(self, node: Node) -> None:
        """Ask this voter first from now on, until another says that it leads."""
        self._told = node

    def crash(self) -> None:
        """End this life; the next one begins with what the journal holds."""
        self._kernel.say("agent", "crashes")
        self._life += 1
        self._begin_life()

    # -- the stream

    def _poll(self) -> None:
        self._kernel.after(150 + self._rng.randrange(300), self._poll)
        node = self._rng.choice([*self._nodes.values()])
        if self._told and self._rng.random() < 0.5:
            node = self._told
        life, position = self._life, self._cursor
        self._later(node.when_up, lambda: self._serve(node, life, position))

    def _later(self, call: Callable[..., None], *args: object) -> None:
        """Call as a message arrives: mostly soon, sometimes late or never."""
        if self._rng.random() < 0.05:
            return
        most = 3000 if self._rng.random() < 0.15 else 5
        self._kernel.after(1 + self._rng.randrange(most), call, *args)

    def _serve(self, node: Node, life: int, position: int) -> None:
        """At the voter: answer with what is committed there."""
        assert node.core is not None
        epoch, records = node.core.voter.epoch, node.tasks[position : position + BATCH]
        self._later(self._hear, life, node, epoch, _leads(node), records)

    def _hear(
        self, life: int, node: Node, epoch: Epoch, leads: bool, records: list[Record]
    ) -> None:
        core = self._core
        if life != self._life or epoch.gen < core.promised.gen:
            return  # the subscription takes nothing from below its generation
        if leads and epoch >= core.promised:
            self._told = node
        if leads:
            self._do(core.on_epoch(epoch))
        elif epoch.gen > core.promised.gen > 0:
            return  # of a history that no leader has told of yet
        for record in records:
            if record.version != self._cursor + 1:
                continue
            self._cursor = record.version
            self._note(record)
            if leads and epoch == self.highest:
                self._covered = max(self._covered, record.version)
            self._do(core.on_record(record, epoch, leads=leads))

    def _note(self, record: Record) -> None:
        if record.kind == TASK_REQUESTED:
            task = msgspec.msgpack.decode(record.data, type=TaskOrder).task
            self._versions[task] = record.version
        elif record.kind in TASK_ENDS:
            task = msgspec.msgpack.decode(record.data, type=TaskNamed).task
            self._ends[task] = record.version

    # -- what its machine wants done

    def _do(self, effects: Iterable[Effect]) -> None:
        """The journal first, in one commit; then the rest."""
        actions: list[Start | Stop | Send | SendPromise | Reread] = []
        for effect in effects:
            match effect:
                case PromisedEpoch(epoch):
                    self._promised = epoch
                case Accepted():
                    self._accepted[effect.order.task] = effect
                case Ended():
                    self._accepted.pop(effect.result.task, None)
                    self._ended[effect.result.task] = effect
                case Settled(task):
                    self._accepted.pop(task, None)
                    self._ended.pop(task, None)
                    self._over.pop(task, None)
                case Start() | Stop() | Send() | SendPromise() | Reread():
                    actions.append(effect)
        for action in actions:
            self._act(action)

    def _act(self, action: Start | Stop | Send | SendPromise | Reread) -> None:
        match action:
            case Start(order):
                self._start(order.task)
            case Send(result):
                self._over[result.task] = self.highest.gen
                self._report(result.task)
            case SendPromise(promised):
                self._promise(Epoch(promised.gen, promised.term))
            case Reread():
                self._cursor, self._covered = 0, 0
                self._ends, self._versions = {}, {}
                self._started.clear()  # an end may be undone
            case Stop():
                raise AssertionError("nothing is withdrawn here")

    def _promise(self, epoch: Epoch) -> None:
        if epoch > self.highest:
            self.highest, self._covered = epoch, 0
        life, node = self._life, self._told
        self._kernel.after(2000, self._promise_lost, life, epoch)
        if node is not None:
            self._later(node.when_up, lambda: self._answer_promise(node, life, epoch))

    def _answer_promise(self, node: Node, life: int, epoch: Epoch) -> None:
        """At the leader: hear the promise."""
        assert node.core is not None
        if _leads(node) and node.core.voter.epoch == epoch:
            self._later(self._promise_heard, life, epoch, len(node.tasks))

    def _promise_heard(self, life: int, epoch: Epoch, version: int) -> None:
        if life != self._life:
            return
        if epoch == self.highest:
            self._covered = max(self._covered, version)
        self._do(self._core.on_promise_reply(epoch, version))

    def _promise_lost(self, life: int, epoch: Epoch) -> None:
        if life == self._life:
            self._core.on_promise_lost(epoch)

    def _start(self, task: str) -> None:
        self._judge(task)
        self.runs += 1
        self._started.add(task)
        self._kernel.say("agent", "runs %s", task)
        self._kernel.after(20 + self._rng.randrange(900), self._finished, self._life, task)

    def _judge(self, task: str) -> None:
        """The invariants of fencing, see above."""
        if self._versions.get(task, 1 << 60) > self._covered:
            raise Violation(f"{task} runs without the word of {tuple(self.highest)}, promised")
        if task in self._started:
            raise Violation(f"{task} runs twice in one life")
        if self._over.get(task) == self.highest.gen:
            raise Violation(f"{task} runs after its end was told")
        if self._ends.get(task, 1 << 60) <= self._covered:
            raise Violation(f"{task} runs, and its end is in the log")

    def _finished(self, life: int, task: str) -> None:
        if life == self._life:
            self._do(self._core.on_finished(TaskResult(task=task)))

    def _report(self, task: str) -> None:
        node = self._told
        if node is not None:
            told = TaskDone(task=task)
            self._later(
                node.when_up, lambda: node.propose(told, lambda _: None, TASKS, f"end/{task}")
            )


def _leads(node: Node) -> bool:
    return node.leads and node.leadership is not None and node.leadership.ready

"""The rules of tasks, with a journal on a real disk and a leader made of lists."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.packed import Packed
from eventstore.record import FORMAT, Epoch, Record
from nodeagent.calls import (
    DUTY_REQUESTED,
    TASK_REQUESTED,
    TASK_WITHDRAW_REQUESTED,
    Failure,
    TaskOrder,
    TaskResult,
)
from nodeagent.core import Core, Effect, Reread, Send, SendPromise, Start, Stop
from nodeagent.journal import Journal, Position, PromisedEpoch

ACTIONS = (Start, Stop, Send, SendPromise, Reread)


class Killed(Exception):
    """The agent's process was killed at this point."""


class Node:
    """An agent without sockets, the log of its node, and the world that its calls change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream: list[Record] = []
        self.epoch = Epoch(1, 1)
        self.ends: dict[str, TaskResult] = {}
        self.effects: dict[str, int] = {}  # task -> how often the world changed
        self.starts: list[str] = []
        self.started: list[TaskOrder] = []  # run by this process, not through
        self.promises: list[SendPromise] = []
        self.delivered = 0
        self.kill_at = ""  # "before", "after" the commit, "acting" between two actions
        self.deaf = False
        self.boot()

    def boot(self) -> None:
        """A new process reads the journal."""
        self.journal = Journal(self.path)
        remembered = self.journal.read()
        self.core = Core("n1", remembered, limit=3)
        self.delivered = remembered.position
        self.started, self.promises = [], []

    def reboot(self) -> None:
        """The process dies and a new one starts; what waited for a commit is lost."""
        self.journal._lazy.clear()
        self.journal.close()
        self.boot()

    # --- the leader ---------------------------------------------------------------------------

    def append(self, kind: str, **fields: object) -> None:
        """The leader records something in the node's stream."""
        version = len(self.stream) + 1
        data = msgspec.Raw(msgspec.msgpack.encode(fields))
        self.stream.append(
            Record(
                FORMAT, version, *self.epoch, 0, b"", kind, 1, "node/n1", version,
                "", "", None, None, None, data,
            )
        )  # fmt: skip

    def request(self, task: str, resource: str = "r", *, kind: str = TASK_REQUESTED) -> None:
        """The leader requests a task."""
        call = Packed("ensure-volume", 1, msgspec.Raw(b"\x80"))
        self.append(kind, task=task, call=call, resource=resource, timeout_s=1.0)

    def withdraw(self, task: str) -> None:
        """The leader gives a task up."""
        self.append(TASK_WITHDRAW_REQUESTED, task=task)

    def hear(self, result: TaskResult) -> None:
        """The leader gets a message of the agent."""
        if self.deaf or result.running or result.task in self.ends:
            return
        self.ends[result.task] = result
        self.append("task.withdrawn" if result.withdrawn else "task.done", task=result.task)

    def answer(self) -> None:
        """The leader answers the oldest open promise, if it is of its reign."""
        if self.promises:
            epoch = Epoch(self.promises[0].promised.gen, self.promises[0].promised.term)
            self.promises.pop(0)
            if epoch == self.epoch:
                self.carry_out(self.core.on_promise_reply(epoch, len(self.stream)))
            else:
                self.core.on_promise_lost(epoch)

    # --- the agent ----------------------------------------------------------------------------

    def word(self) -> None:
        """The agent hears who leads."""
        self.carry_out(self.core.on_epoch(self.epoch))

    def deliver(self, *, stale: bool = False) -> None:
        """The next record of the stream comes, by the leader or by a deposed one."""
        if self.delivered < len(self.stream):
            record = self.stream[self.delivered]
            self.delivered += 1
            epoch = Epoch(0, 0) if stale else self.epoch
            self.carry_out(self.core.on_record(record, epoch, leads=True))

    def act(self, index: int) -> None:
        """A worker makes the world as its task wants it: a second time changes nothing."""
        if self.started:
            order = self.started[index % len(self.started)]
            if not self.effects.get(order.task):
                self.effects[order.task] = 1

    def finish(self, index: int) -> None:
        """A worker is through."""
        if self.started:
            order = self.started.pop(index % len(self.started))
            self.effects[order.task] = max(self.effects.get(order.task, 0), 1)
            self.carry_out(self.core.on_finished(TaskResult(task=order.task)))

    def carry_out(self, effects: list[Effect]) -> None:
        """What the edge does with effects, with the points at which a process may die."""
        self._die("before")
        entries = [effect for effect in effects if not isinstance(effect, ACTIONS)]
        self.journal.write([*entries, Position(self.core.position)])
        self._die("after")
        for effect in effects:
            match effect:
                case Start(order):
                    assert order.task not in self.ends, "started though its end is in the log"
                    assert order.resource not in {o.resource for o in self.started}
                    self.starts.append(order.task)
                    self.started.append(order)
                case Send(result):
                    self.hear(result)
                case SendPromise():
                    self.promises.append(effect)
                case Reread():
                    self.delivered = 0
                case _:
                    continue
            self._die("acting")

    def _die(self, point: str) -> None:
        if self.kill_at == point:
            self.kill_at = ""
            raise Killed

    def settle(self) -> None:
        """Nothing goes wrong any more: everything that is open comes to its end."""
        self.deaf, self.kill_at = False, ""
        for _ in range(100):
            self.word()
            self.answer()
            while self.delivered < len(self.stream):
                self.deliver()
            for result in list(self.core.results.values()):
                self.hear(result)
            while self.started:
                self.finish(0)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path / "journal.db")
    yield found
    found.journal.close()


def promised(node: Node) -> Node:
    """Let the node promise and be answered."""
    node.word()
    node.answer()
    return node


def test_nothing_starts_before_the_leader_has_answered_the_promise(node: Node) -> None:
    """A task that was delivered waits for the answer, and then starts."""
    node.request("t1")
    node.deliver()
    assert node.starts == []
    promised(node)
    assert node.starts == ["t1"]


def test_a_task_that_came_before_the_answer_but_after_its_version_starts(node: Node) -> None:
    """A delivery in the promised epoch vouches for itself, whichever socket is faster."""
    node.word()
    asked = node.promises.pop()
    node.request("t1")
    node.deliver()
    epoch = Epoch(asked.promised.gen, asked.promised.term)
    node.carry_out(node.core.on_promise_reply(epoch, 0))
    assert node.starts == ["t1"]


def test_a_deposed_leader_starts_nothing(node: Node) -> None:
    """What comes in an epoch below the promised one waits until the new leader covers it."""
    promised(node)
    node.epoch = Epoch(1, 2)
    node.word()
    node.request("t1")
    node.deliver(stale=True)
    assert node.starts == []
    node.answer()
    assert node.starts == ["t1"]


def test_the_promise_is_durable_and_says_what_is_open(node: Node) -> None:
    """After a restart the old epoch is refused, and the new process asks again."""
    promised(node).request("t1")
    node.deliver()
    node.reboot()
    assert node.core.promised == Epoch(1, 1)
    assert node.core.on_epoch(Epoch(1, 0)) == []
    (effect,) = node.core.on_epoch(Epoch(1, 1))
    assert isinstance(effect, SendPromise)
    assert effect.promised.unfinished == ("t1",)


def test_one_task_of_a_resource_at_a_time_in_order(node: Node) -> None:
    """Tasks of one resource queue, those of others run beside them, up to the limit."""
    promised(node)
    for task, resource in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("d1", "d")):
        node.request(task, resource)
        node.deliver()
    assert node.starts == ["a1", "b1", "c1"]
    node.finish(0)
    assert node.starts == ["a1", "b1", "c1", "a2"]
    node.finish(0)
    assert node.starts[-1] == "d1"


def test_a_task_that_is_read_again_gives_the_stored_result(node: Node) -> None:
    """The same id delivered twice is not run twice; its result is sent again."""
    promised(node).deaf = True
    node.request("t1")
    node.request("t1")
    node.deliver()
    node.finish(0)
    node.deaf = False
    node.deliver()
    assert node.starts == ["t1"]
    assert "t1" in node.ends


def test_a_duty_that_is_requested_again_is_a_task(node: Node) -> None:
    """It waits its turn and starts as any other, though its job is over."""
    promised(node).request("t1")
    node.deliver()
    node.request("t2", kind=DUTY_REQUESTED)
    node.deliver()
    assert node.starts == ["t1"]
    node.finish(0)
    assert node.starts == ["t1", "t2"]


def test_a_withdrawn_task_that_waits_never_runs(node: Node) -> None:
    """The answer to the withdrawal of a queued task is `withdrawn`, also after a restart."""
    promised(node)
    for task in ("t1", "t2"):
        node.request(task)
        node.deliver()
    node.withdraw("t2")
    node.deliver()
    assert node.ends["t2"].withdrawn
    node.reboot()
    node.settle()
    assert node.starts == ["t1", "t1"]


def test_a_withdrawn_task_that_runs_is_told_to_stop_and_says_so(node: Node) -> None:
    """The answer is `running`, and its end follows."""
    promised(node).request("t1")
    node.deliver()
    node.withdraw("t1")
    effects = node.core.on_record(node.stream[-1], node.epoch, leads=True)
    assert effects == [Stop("t1"), Send(TaskResult(task="t1", running=True))]
    node.delivered += 1
    node.finish(0)
    assert not node.ends["t1"].withdrawn


def test_a_task_in_which_the_agent_died_is_not_called_never_ran(node: Node) -> None:
    """Withdrawn before it is made again, it has failed, so that the leader undoes it."""
    promised(node).request("t1")
    node.deliver()
    node.reboot()
    node.withdraw("t1")
    node.settle()
    failed = node.ends["t1"].failed
    assert failed is not None
    assert failed.code == "stopped"
    assert node.starts == ["t1"]


def test_a_task_that_cannot_be_stopped_keeps_its_resource(node: Node) -> None:
    """Given up, it has failed for the leader; the next one waits for its thread all the same."""
    promised(node).request("t1")
    node.request("t2")
    node.deliver()
    node.deliver()
    failure = Failure(code="timeout", message="hangs")
    node.carry_out(node.core.on_given_up("t1", failure))
    assert node.ends["t1"].failed == failure
    node.deliver()
    assert node.starts == ["t1"]
    node.finish(0)
    assert node.starts == ["t1", "t2"]
    assert "t1" not in node.core.results


def test_a_forced_takeover_reads_the_stream_anew(node: Node) -> None:
    """What a higher generation no longer has is not started."""
    promised(node).epoch = Epoch(1, 1)
    node.request("lost")
    record = node.stream[-1]
    node.core.on_record(record, Epoch(0, 5), leads=False)
    node.epoch = Epoch(2, 2)
    node.stream.clear()
    node.settle()
    node.request("t1")
    node.settle()
    assert node.starts == ["t1"]


def _taken_over(node: Node) -> None:
    """An operator makes another voter the leader, whose stream lacks what there was; it reboots."""
    node.reboot()
    node.epoch = Epoch(2, 2)
    node.stream.clear()
    node.delivered = 0


def test_what_was_accepted_before_a_forced_takeover_is_not_taken_for_another(node: Node) -> None:
    """A task whose request is gone does not run in place of the one that has its version now."""
    promised(node).request("lost")
    node.deliver()
    _taken_over(node)
    node.request("t1")
    node.settle()
    assert node.starts == ["lost", "t1"]  # the first one before, by the old leader's word
    assert node.journal.read().accepted == ()
    assert node.core.idle


def test_what_a_forced_takeover_kept_is_made_again_as_it_stands_there(node: Node) -> None:
    """A task whose request has another version now runs when that version is vouched for; an agent
    that dies before remembers the new version."""
    promised(node).request("t1")
    node.deliver()
    _taken_over(node)
    node.append("node.noted")
    node.request("t1")
    node.word()
    node.deliver()
    node.deliver()
    node.reboot()
    assert [accepted.version for accepted in node.journal.read().accepted] == [2]
    node.settle()
    assert node.starts == ["t1", "t1"]


def test_a_task_of_a_later_format_is_refused_by_name(node: Node) -> None:
    """A request that cannot be read ends as wrong_input instead of ending the agent."""
    promised(node).append(TASK_REQUESTED, task="t1", call="what?")
    node.deliver()
    failed = node.ends["t1"].failed
    assert failed is not None
    assert failed.code == "wrong_input"


STEPS: dict[str, Callable[[Node, int], None]] = {
    "word": lambda node, _: node.word(),
    "answer": lambda node, _: node.answer(),
    "deliver": lambda node, _: node.deliver(),
    "stale": lambda node, _: node.deliver(stale=True),
    "act": lambda node, n: node.act(n),
    "finish": lambda node, n: node.finish(n),
    "deaf": lambda node, n: setattr(node, "deaf", bool(n % 2)),
    "reign": lambda node, _: setattr(node, "epoch", Epoch(1, node.epoch.term + 1)),
    "kill": lambda node, _: node.reboot(),
    "kill-before": lambda node, _: setattr(node, "kill_at", "before"),
    "kill-after": lambda node, _: setattr(node, "kill_at", "after"),
    "kill-acting": lambda node, _: setattr(node, "kill_at", "acting"),
}


@pytest.mark.property
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tasks=st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5),
    withdrawn=st.sets(st.integers(0, 4), max_size=2),
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3)), max_size=40),
)
def test_each_task_ends_once_and_acts_as_its_end_says(
    tasks: list[str], withdrawn: set[int], steps: list[tuple[str, int]]
) -> None:
    """Whatever dies, and wherever: every task has one end; a done one acted once, a withdrawn one
    never; none runs after its end; no two of a resource run at once."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory) / "journal.db")
        for number, resource in enumerate(tasks):
            node.request(f"t{number}", resource)
        late = [f"t{number}" for number in withdrawn if number < len(tasks)]
        for name, argument in steps:
            try:
                if name == "answer" and late:
                    node.withdraw(late.pop())
                STEPS[name](node, argument)
            except Killed:
                node.reboot()
        node.settle()
        for number in range(len(tasks)):
            end = node.ends[f"t{number}"]
            acted = node.effects.get(f"t{number}", 0)
            assert acted == 0 if end.withdrawn else acted <= 1
            assert end.withdrawn or end.failed is not None or acted == 1
        assert node.core.results == {}
        assert node.core.idle
        node.journal.close()


@pytest.mark.property
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["word", "answer", "deliver", "finish", "lose"]), max_size=30))
def test_a_lost_journal_repeats_no_task_that_has_ended(steps: list[str]) -> None:
    """An agent whose journal is gone takes up what the log has open, and nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory) / "journal.db")
        for number in range(3):
            node.request(f"t{number}")
        for name in steps:
            if name == "lose":
                node.journal.forget_all()
                node.reboot()
            else:
                STEPS[name](node, 0)
        node.settle()
        assert set(node.ends) == {"t0", "t1", "t2"}  # Node.carry_out checks the rest
        node.journal.close()


def test_the_journal_remembers_promises(node: Node) -> None:
    """What was written is read again by the next process."""
    node.journal.write([PromisedEpoch(Epoch(2, 7)), Position(5)])
    node.reboot()
    assert node.core.promised == Epoch(2, 7)
    assert node.core.seen == 5


def test_a_deposed_leader_starts_nothing_after_the_promise_either(node: Node) -> None:
    """A record that only a deposed leader has shown waits for one shown by the present leader."""
    node.epoch = Epoch(1, 2)
    promised(node).request("t1")
    node.deliver(stale=True)
    assert node.starts == []
    node.request("t2", "other")
    node.deliver()
    assert node.starts == ["t1", "t2"]


def test_a_result_that_nobody_wants_is_forgotten(node: Node) -> None:
    """Its opcode ended without it; it is not sent for ever."""
    promised(node).request("t1")
    node.deliver()
    node.deaf = True
    node.finish(0)
    node.carry_out(node.core.on_unwanted("t1"))
    assert node.core.idle
    assert node.core.on_unwanted("t1") == []

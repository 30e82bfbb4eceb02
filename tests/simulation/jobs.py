"""Jobs in the simulated cluster: every voter folds its log for real, who leads runs the job engine.

    client --submit--> engine of whoever leads --batches--> the log --fold--> state of every voter
                          ^                                    |
                          +------ results ---- the agent <-----+ its stream

Everything is the real thing but the sockets and the disks: the core, the fold, the engine with a
handler that carries out the plans it is given (tests/commands/engine/world.py), the agent's rules.
A reign's engine is made when its no-op is committed, as by the daemon, and goes on with what it
finds; it ends with the reign. So a run is full of failovers in the middle of jobs.

When all has healed, and time enough has passed:

- every submission that was answered stands in the log once, under the job that was named;
- every job has ended, each opcode once; each task was asked for once, and has one end (what an
  agent tells again when nobody waits for it is recorded apart, once: engine/intake.py);
- the node has what the jobs that succeeded have made, and nothing of those that failed;
- every voter folds to the same state at the same record (by digest).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import msgspec

from commands.api import JobSpec, Submit, Submitted
from commands.engine.draws import SeededDraws
from commands.engine.effects import Answer, Effect, Propose, WakeAt
from commands.engine.engine import Engine
from commands.opcode import pack
from commands.registry import Registry
from eventstore.raft.effects import Ready
from eventstore.raft.entry import Entry
from eventstore.record import Batch, Draft, Event, Record
from eventstore.replica import Committed, Outcome
from nodeagent.calls import (
    TASK_ENDS,
    TASK_REQUESTED,
    Failure,
    NodeStatus,
    TaskNamed,
    TaskOrder,
    TaskResult,
)
from nodeagent.core import Reread, Send, SendPromise, Start, Stop
from projections.events import configuration as facts
from projections.events.jobs import JobSubmitted, Lock, OpFailed, OpSucceeded
from projections.objects import ClusterInfo, Group
from projections.objects import Node as NodeObject
from projections.plans import Call, Plan, Undo
from projections.state import Projector
from tests.commands.engine.world import CARRY, Carry, ensure, remove
from tests.simulation.agent import Agent
from tests.simulation.client import Client
from tests.simulation.invariants import Checker
from tests.simulation.kernel import Kernel, Violation
from tests.simulation.node import ACTOR, START_MS, Done, Node
from tests.simulation.scenario import CLUSTER, Run, Settings

NODE = "n"  # its uuid; tests/simulation/node.py keeps its stream
JOBS = 20
_LAST_SUBMIT_MS = 40_000
_TELL_EVERY_MS = 1500  # an agent repeats its results until it sees them in its stream
_PATIENCE_MS = 300_000  # for the last job to end
_WAIT_MS = 3000  # for the answer to a submission


def founding() -> tuple[Draft, ...]:
    """Draft a cluster of one node."""
    node = NodeObject(uuid=NODE, name="node1", group="g", primary_ip="192.0.2.1")
    made: tuple[tuple[str, Event], ...] = (
        ("cluster", facts.ClusterCreated(info=ClusterInfo(uuid=CLUSTER, name="c.example.net"))),
        ("group/g", facts.GroupAdded(group=Group(uuid="g", name="default"))),
        (f"node/{NODE}", facts.NodeInvited(node=node, ticket_key="t")),
        (f"node/{NODE}", facts.NodeJoined(node=NODE, curve_key="k")),
        (f"node/{NODE}", facts.NodeAdded(node=NODE)),
    )
    return tuple(Draft(stream=stream, event=event, actor=ACTOR) for stream, event in made)


class Master(Node):
    """A voter with its projections, and an engine while it leads."""

    engine: Engine | None = None
    projector = Projector()

    def start(self) -> None:
        """Start, and fold what is committed for certain."""
        self.projector, self.engine = Projector(), None
        self._answers: dict[int, Callable[[Answer], None]] = {}
        self._tickets = 0
        super().start()

    def submit(self, submit: Submit, key: str, heard: Callable[[Answer], None]) -> None:
        """Hand a submission to the engine, if there is one; `heard` may never be called."""
        if self.engine is not None:
            self._tickets += 1
            self._answers[self._tickets] = heard
            ticket = self._tickets
            self._do(self.engine.submit(ACTOR, "operator", submit, ticket=ticket, key=key))

    def told(self, result: TaskResult) -> None:
        """An agent's result has come."""
        if self.engine is not None:
            self._do(self.engine.on_result(NODE, result))

    def promised(self) -> None:
        """The agent's promise of this epoch has come."""
        if self.engine is not None:
            self._do(self.engine.on_promise(NODE))

    def propose(self, event: Event, done: Done, stream: str, key: str | None = None) -> None:
        """Ask for an event to be appended, alone in its batch: the fold reads it."""
        draft = Draft(stream=stream, event=event, actor=ACTOR, key=key)
        self._propose(self._life, (draft,), done)

    def _versions(self) -> dict[str, int]:
        assert self.core is not None
        log, first = self.core.voter.log, 1
        versions: dict[str, int] = {}
        while found := log.entries(first, 1 << 20):
            for entry in found:
                versions.update((s.record.stream, s.record.version) for s in entry.records)
            first = found[-1].last + 1
        return versions

    def _fold(self, entry: Entry) -> None:
        super()._fold(entry)
        self.projector.apply(entry.records)
        if self.engine is not None:
            records = [stored.record for stored in entry.records]
            self._soon(self.engine.on_committed(self.projector.state, records))

    def _carry_out(self, out: Ready) -> None:
        super()._carry_out(out)
        leads = self.leadership is not None and self.leadership.ready and self.leads
        if leads and self.engine is None:
            self._reign()

    def _reign(self) -> None:
        state = self.projector.state
        self.engine = Engine(
            cluster_id=CLUSTER,
            state=state,
            registry=Registry({}, handlers=(CARRY,)),
            draws=SeededDraws("test", lambda: START_MS + self._kernel.now_ms),
            look=_look,
            boot_s=lambda: self._kernel.now_ms / 1000,
            log_ms=state.unix_ms,
        )
        self._soon(self.engine.begin())

    def _give_up(self, why: str) -> None:
        super()._give_up(why)
        self.engine = None

    # -- what the engine wants done

    def _soon(self, effects: list[Effect]) -> None:
        """Carry it out when this step of the core is through."""
        if effects:
            self._kernel.after(0, self._later, self.engine, effects)

    def _later(self, engine: Engine, effects: list[Effect]) -> None:
        if engine is self.engine:
            self._do(effects)

    def _do(self, effects: Iterable[Effect]) -> None:
        engine = self.engine
        for effect in effects:
            if engine is not self.engine or self.core is None:
                return  # what was done before has ended the reign
            match effect:
                case Propose(token, batch):
                    self._append(batch, self._outcome_of(token))
                case WakeAt(boot_s):
                    self._kernel.at(int(boot_s * 1000) + 1, self._wake, engine)
                case Answer(ticket):
                    if heard := self._answers.pop(ticket, None):
                        heard(effect)

    def _outcome_of(self, token: int) -> Done:
        engine = self.engine

        def tell(outcome: Outcome) -> None:
            if engine is not None and engine is self.engine:
                self._soon(engine.on_outcome(token, outcome))

        return tell

    def _append(self, batch: Batch, done: Done) -> None:
        assert self._appended is not None
        key = batch.drafts[0].key
        if not (key and self._repeat(key, done, batch.drafts[0].actor)):
            self._place(batch, done)
            self._pump()

    def _wake(self, engine: Engine) -> None:
        if engine is self.engine and self._alive(self._life, self._wake, engine):
            self._do(engine.on_tick())


def _look(nodes: Iterable[str]) -> Mapping[str, NodeStatus]:
    return {}


class Worker(Agent):
    """The agent of the node, which has things, or not."""

    def __init__(self, kernel: Kernel, nodes: Mapping[str, Node]) -> None:
        self.things: set[str] = set()
        self._orders: dict[str, TaskOrder] = {}
        super().__init__(kernel, nodes)

    def begin(self) -> None:
        """Begin to follow the stream, and to repeat what is not recorded yet."""
        super().begin()
        self._repeat_results()

    def _repeat_results(self) -> None:
        self._kernel.after(_TELL_EVERY_MS, self._repeat_results)
        for result in self._core.results.values():
            self._tell(result)

    def _act(self, action: Start | Stop | Send | SendPromise | Reread) -> None:
        match action:
            case Start(order):
                self._orders[order.task] = order
                super()._act(action)
            case Send(result):
                self._over[result.task] = self.highest.gen
                self._tell(result)
            case Stop():
                pass  # it takes no notice, and ends soon
            case _:
                super()._act(action)

    def _tell(self, result: TaskResult) -> None:
        node = self._told
        if isinstance(node, Master):
            self._later(node.when_up, lambda: node.told(result))

    def _answer_promise(self, node: Node, life: int, epoch: object) -> None:
        assert isinstance(node, Master)
        if node.core is not None and node.core.voter.epoch == epoch:
            node.promised()
        super()._answer_promise(node, life, epoch)  # type: ignore[arg-type]  # an Epoch

    def _finished(self, life: int, task: str) -> None:
        if life != self._life:
            return
        call = self._orders[task].call
        thing, makes = msgspec.msgpack.decode(call.data), call.name == "test-ensure"
        fate = self._rng.random() if makes else 1.0  # what is undone does not fail here
        if not makes:
            self.things.discard(thing)
        elif fate > 0.05:  # else it fails before it acts
            self.things.add(thing)
        if fate < 0.1:
            failed = Failure(code="environment_error", message="told to fail", retry=True)
            self._do(self._core.on_finished(TaskResult(task=task, failed=failed)))
        else:
            done = msgspec.Raw(msgspec.msgpack.encode({"did": call.name}))
            self._do(self._core.on_finished(TaskResult(task=task, done=done)))


class Tagger(Client):
    """Writes what the fold knows; here only the last write is made, by which a run must live."""

    def _event(self, number: int) -> tuple[Event, str]:
        tagged = facts.TagsAdded(table="group", subject="g", tags=(f"write{number}",))
        return tagged, "group/g"

    def check(self, checker: Checker) -> None:
        """Nothing more: submissions are checked instead."""


class Submitter:
    """Somebody who submits jobs, each with its key, until it is known that they are recorded."""

    def __init__(self, kernel: Kernel, nodes: Mapping[str, Node]) -> None:
        self._kernel, self._rng, self._nodes = kernel, kernel.rng, nodes
        self.jobs: dict[int, int] = {}  # number of the submission -> job
        self.specs = {number: _spec(number, kernel.rng) for number in range(JOBS)}

    def begin(self) -> None:
        """Plan all submissions."""
        for number in range(JOBS):
            self._kernel.at(self._rng.randrange(500, _LAST_SUBMIT_MS), self._submit, number)

    def _submit(self, number: int) -> None:
        if number in self.jobs:
            return
        self._kernel.after(_WAIT_MS, self._submit, number)
        leaders = [node for node in self._nodes.values() if isinstance(node, Master)]
        leaders = [node for node in leaders if node.engine is not None]
        if leaders:
            node = self._rng.choice(leaders)
            spec = Submit(jobs=(JobSpec(ops=(pack(self.specs[number]),)),))
            node.when_up(
                lambda: node.submit(spec, f"job/{number}", lambda told: self._heard(number, told))
            )

    def _heard(self, number: int, told: Answer) -> None:
        if isinstance(told.outcome, Committed):
            assert isinstance(told.body, Submitted)
            (job,) = told.body.jobs
            if self.jobs.setdefault(number, job) != job:
                raise Violation(f"submission {number} is job {self.jobs[number]}, and job {job}")


def _spec(number: int, rng: random.Random) -> Carry:
    """Draw a job: one or two plans of calls, some behind others, and locks that may conflict."""
    plans = []
    for at in range(rng.randrange(1, 3)):
        steps: list[Call] = []
        for step in range(rng.randrange(1, 4)):
            thing = f"{number}.{at}.{step}"
            after = tuple(one.id for one in steps if rng.random() < 0.5)
            undo = Undo(call=remove(thing), timeout_s=30.0)
            call = Call(
                id=thing, node=NODE, call=ensure(thing), after=after, undo=undo,
                attempts=rng.choice((1, 2)), timeout_s=rng.choice((2.0, 30.0)),
            )  # fmt: skip
            steps.append(call)
        plans.append(Plan(steps=tuple(steps)))
    locks = tuple(Lock(name, shared=rng.random() < 0.5) for name in "xy" if rng.random() < 0.4)
    return Carry(plans=tuple(plans), locks=locks, refuse=rng.random() < 0.2)


def draw_settings(rng: random.Random) -> Settings:
    """Return settings of a run with jobs: disks keep what they said, no operator takes over."""
    drawn = Settings.draw(rng)
    return replace(
        drawn, voters=max(3, drawn.voters), witness=False, lies=False, wipes=False, flips=False,
        agent=True, takeovers=False, plot="",
    )  # fmt: skip


class JobRun(Run):
    """One seed with jobs."""

    NODE, AGENT, CLIENT = Master, Worker, Tagger
    WRITES = 0

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        settings = draw_settings(random.Random(seed))
        super().__init__(seed, settings=settings, verbose=verbose)

    def _founding(self) -> tuple[Draft, ...]:
        return founding()

    def _plan(self) -> None:
        super()._plan()
        self.submitter = Submitter(self.kernel, self.nodes)
        self.submitter.begin()

    def run(self) -> JobRun:
        """Let it all happen, then look at the jobs. Raises Violation."""
        super().run()
        records = [s.record for entry in self.checker.newest.entries for s in entry.records]
        self._check_submissions(records)
        self._check_tasks(records)
        self._check_things(records)
        self._check_folds()
        return self

    def _play(self) -> None:
        super()._play()
        while self.kernel.now_ms < _PATIENCE_MS and self._busy():
            self.kernel.run_until(self.kernel.now_ms + 1000)
        self.kernel.run_until(self.kernel.now_ms + 10_000)

    def _busy(self) -> bool:
        """Say whether a job is open, as far as any voter knows, or a submission unanswered."""
        masters = [node for node in self.nodes.values() if isinstance(node, Master) and node.core]
        is_open = any(len(node.projector.state.jobs.open) for node in masters)
        return is_open or len(self.submitter.jobs) < JOBS

    def _check_submissions(self, records: Iterable[Record]) -> None:
        found = [(r.key, r.job) for r in records if r.kind == JobSubmitted.KIND]
        for key, times in Counter(key for key, _ in found).items():
            if times != 1:
                raise Violation(f"{key} was submitted {times} times")
        for number, job in self.submitter.jobs.items():
            if (f"job/{number}", job) not in found:
                raise Violation(f"submission {number} was answered as job {job}, which it is not")

    def _check_tasks(self, records: Iterable[Record]) -> None:
        asked: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        late: Counter[str] = Counter()
        for record in records:
            if record.kind in (TASK_REQUESTED, *TASK_ENDS):
                task = msgspec.msgpack.decode(record.data, type=TaskNamed).task
                counter = asked if record.kind == TASK_REQUESTED else late if record.key else ended
                counter[task] += 1
        for task in asked | ended | late:
            if (asked[task], ended[task]) != (1, 1) or late[task] > 1:
                told = f"asked for {asked[task]} times, ended {ended[task]}, late {late[task]}"
                raise Violation(f"task {task} was {told}")

    def _check_things(self, records: Iterable[Record]) -> None:
        ends = Counter(r.job for r in records if r.kind in (OpSucceeded.KIND, OpFailed.KIND))
        good = {r.job for r in records if r.kind == OpSucceeded.KIND}
        things: set[str] = set()
        for record in records:
            if record.kind != JobSubmitted.KIND:
                continue
            if ends[record.job] != 1:
                raise Violation(f"job {record.job} has ended {ends[record.job]} times")
            if record.job in good:
                assert record.key is not None
                spec = self.submitter.specs[int(record.key.removeprefix("job/"))]
                things |= {step.id for plan in spec.plans for step in plan.steps}
        assert isinstance(self.agent, Worker)
        if self.agent.things != things:
            more, less = self.agent.things - things, things - self.agent.things
            raise Violation(f"the node has {sorted(more)} too much, and lacks {sorted(less)}")

    def _check_folds(self) -> None:
        digests: dict[int, object] = {}
        for node in self.nodes.values():
            assert isinstance(node, Master)
            if node.core is not None and node.projector.seq:
                mine = node.projector.digest()
                if digests.setdefault(node.projector.seq, mine) != mine:
                    raise Violation(f"{node.name} folds otherwise up to {node.projector.seq}")

"""A log, nodes and a leader in memory, for tests of the engine.

The log keeps the rules of eventstore/replica.py, the agents those of nodeagent/calls: they
follow their stream, journal before they act, do a task once, answer withdrawals, and repeat a
result until they see its end in their stream. Nothing happens by itself: a test (or chance) picks
what happens next. Time stands still until a test moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import msgspec

from commands.api import JobOrder, JobSpec, Submit
from commands.debug_ops import delay
from commands.engine.draws import SeededDraws
from commands.engine.effects import Answer, Effect, Propose, WakeAt
from commands.engine.engine import Engine
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode, pack
from commands.registry import Registry
from eventstore.packed import Packed
from eventstore.record import FORMAT, Batch, Draft, Event, Record, Stored, chain_hash, genesis_hash
from eventstore.replica import Committed, Unknown
from eventstore.replica import Refused as Clash
from nodeagent.calls import (
    DUTY_REQUESTED,
    TASK_REQUESTED,
    Failure,
    NodeStatus,
    TaskNamed,
    TaskOrder,
    TaskResult,
)
from projections.cluster import Cluster
from projections.events import configuration as facts
from projections.events.jobs import Lock, TaskRequested
from projections.jobs import Job
from projections.objects import ClusterInfo, Group, Node
from projections.plans import Plan
from projections.state import Projector, State

CLUSTER_ID = "c0ffee00-0000-4000-8000-000000000000"
GROUP = "9a000000-0000-4000-8000-000000000000"
NODES = tuple(f"{number:08d}-0000-4000-8000-00000000000{number}" for number in range(1, 4))
INFO = ClusterInfo(uuid=CLUSTER_ID, name="c1.example.net")
START_MS = 1_700_000_000_000


class Carry(Opcode, frozen=True, kw_only=True):
    """Carry out these plans, one after the other; then be done, or refuse."""

    NAME: ClassVar[str] = "OP_TEST_CARRY"
    plans: tuple[Plan, ...] = ()
    locks: tuple[Lock, ...] = ()
    refuse: bool = False  # after the last plan
    bug: bool = False


def _decide(op: Carry, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    if len(so_far) < len(op.plans):
        return op.plans[len(so_far)]
    if op.bug:
        raise RuntimeError("a bug in a handler")
    if op.refuse:
        raise Refused(WRONG_STATE, "it was told to refuse", hint="tell it otherwise")
    return Done(len(so_far))


CARRY = Handler(opcode=Carry, decide=_decide, locks=lambda op, cluster: op.locks)


def ensure(thing: str) -> Packed:
    """A call after which the node has `thing`."""
    return Packed("test-ensure", 1, msgspec.Raw(msgspec.msgpack.encode(thing)))


def remove(thing: str) -> Packed:
    """A call after which the node does not have `thing`."""
    return Packed("test-remove", 1, msgspec.Raw(msgspec.msgpack.encode(thing)))


class Log:
    """Appended and committed records. A proposal is decided when it is committed, in order."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self.projector = Projector()
        self.versions: dict[str, int] = {}
        self.pending: list[tuple[Batch, Callable[[Committed | Clash | Unknown], None]]] = []
        self.clock_ms = START_MS
        self.keys: dict[tuple[str, str], tuple[Stored, ...]] = {}
        self.commits = 0

    @property
    def state(self) -> State:
        return self.projector.state

    def commit(self, batch: Batch) -> Committed | Clash:
        """Append and commit a batch at once, or refuse it."""
        for draft in batch.drafts:
            if draft.key is not None and (draft.actor, draft.key) in self.keys:
                return Committed(self.keys[draft.actor, draft.key], repeated=True)
        for stream, expected in batch.expected.items():
            actual = self.versions.get(stream, 0)
            if actual != expected:
                return Clash("clash", stream, stream=stream, expected=expected, actual=actual)
        records = tuple(
            self._place(draft, at, len(batch.drafts)) for at, draft in enumerate(batch.drafts)
        )
        self.projector.apply(records)
        self.commits += 1
        for draft in batch.drafts:
            if draft.key is not None:
                self.keys[draft.actor, draft.key] = records
        return Committed(records)

    def _place(self, draft: Draft, index: int, count: int) -> Stored:
        version = self.versions.get(draft.stream, 0) + 1
        self.versions[draft.stream] = version
        record = Record(
            v=FORMAT,
            seq=len(self.stored) + 1,
            gen=1,
            term=1,
            time=self.clock_ms << 16,
            event_id=bytes(16),
            kind=draft.event.KIND,
            schema=draft.event.SCHEMA,
            stream=draft.stream,
            version=version,
            actor=draft.actor,
            origin="test",
            job=draft.job,
            cause=draft.cause,
            key=draft.key,
            data=msgspec.Raw(msgspec.msgpack.encode(draft.event)),
            index=index,
            count=count,
        )
        encoded = msgspec.msgpack.encode(record)
        previous = self.stored[-1].hash if self.stored else genesis_hash(CLUSTER_ID)
        stored = Stored(record, encoded, chain_hash(previous, encoded))
        self.stored.append(stored)
        return stored


class Agent:
    """One node: what it has, what it has done, what it still tells."""

    def __init__(self, uuid: str, log: Log) -> None:
        self.uuid = uuid
        self._log = log
        self._read = 0  # records of the log that it has seen
        self.things: set[str] = set()
        self.orders: dict[str, TaskOrder] = {}  # accepted, not ended
        self.tombstones: set[str] = set()
        self.outbox: dict[str, TaskResult] = {}  # ended, and not yet seen in the stream
        self.acted: dict[str, int] = {}  # task -> how often it had an effect
        self.lame = False  # it does not follow its stream

    def follow(self) -> None:
        """Read what is new in the stream."""
        if self.lame:
            return
        for stored in self._log.stored[self._read :]:
            record = stored.record
            if record.stream == f"node/{self.uuid}":
                self._read_record(record)
        self._read = len(self._log.stored)

    def _read_record(self, record: Record) -> None:
        if record.kind in (TASK_REQUESTED, DUTY_REQUESTED):
            order = msgspec.msgpack.decode(record.data, type=TaskOrder)
            if order.task not in self.acted and order.task not in self.tombstones:
                self.orders[order.task] = order
        elif record.kind == "task.withdraw-requested":
            self._withdraw(msgspec.msgpack.decode(record.data, type=TaskNamed).task)
        elif record.kind in ("task.done", "task.failed", "task.withdrawn"):
            self.outbox.pop(msgspec.msgpack.decode(record.data, type=TaskNamed).task, None)

    def _withdraw(self, task: str) -> None:
        if task in self.orders:
            del self.orders[task]
            self.tombstones.add(task)
            self.outbox[task] = TaskResult(task=task, withdrawn=True)
        # one that has ended tells its end again: it is in the outbox until that is committed

    def _have(self, call: Packed) -> None:
        if call.name == "test-remove":
            self.things.discard(msgspec.msgpack.decode(call.data))
        elif call.name == "test-ensure":
            self.things.add(msgspec.msgpack.decode(call.data))
        else:  # a call of nodeagent/calls: that it was made is all that is remembered
            self.things.add(f"{call.name} {bytes(call.data).hex()}")

    def act(self, task: str, *, fail: bool = False, half: bool = False) -> None:
        """Carry out a task; `fail`: without an effect; `half`: with one, and fail all the same."""
        order = self.orders.pop(task)
        self.acted[task] = self.acted.get(task, 0)
        if not fail or half:
            self.acted[task] += 1
            self._have(order.call)
        if fail or half:
            failure = Failure(code="environment_error", message="told to fail", retry=True)
            self.outbox[task] = TaskResult(task=task, failed=failure)
        else:
            result = msgspec.Raw(msgspec.msgpack.encode({"did": order.call.name}))
            self.outbox[task] = TaskResult(task=task, done=result)


class World:
    """All of it."""

    def __init__(
        self,
        *,
        max_running: int = 20,
        registry: Registry | None = None,
        info: ClusterInfo = INFO,
    ) -> None:
        self.log = Log()
        self.info = info
        self.now_s = 1000.0
        self.agents = {uuid: Agent(uuid, self.log) for uuid in NODES}
        self.max_running = max_running
        self.registry = registry or Registry({}, handlers=(CARRY, delay.HANDLER))
        self.engine: Engine | None = None
        self.proposals: list[Propose] = []
        self.answers: dict[int, Answer] = {}
        self.wake_s: float | None = None
        self.tickets = 0
        self.promised: set[str] = set()
        self._found()

    def _found(self) -> None:
        self.fact("cluster", facts.ClusterCreated(info=self.info))
        group = Group(uuid=GROUP, name="default")
        self.fact(f"group/{GROUP}", facts.GroupAdded(group=group))
        for number, uuid in enumerate(NODES, start=1):
            node = Node(
                uuid=uuid, name=f"node{number}", group=GROUP, primary_ip=f"192.0.2.{number}"
            )
            self.fact(f"node/{uuid}", facts.NodeInvited(node=node, ticket_key="t"))
            self.fact(f"node/{uuid}", facts.NodeJoined(node=uuid, curve_key="k"))
            self.fact(f"node/{uuid}", facts.NodeAdded(node=uuid))

    # --- the leader ---------------------------------------------------------------------------

    def lead(self, *, promise: Iterable[str] = NODES) -> None:
        """A new leader: what was proposed and is not committed is gone."""
        self.proposals.clear()
        self.wake_s = None
        self.engine = Engine(
            cluster_id=CLUSTER_ID,
            state=self.state,
            registry=self.registry,
            draws=SeededDraws("test", lambda: self.log.clock_ms),
            look=self._look,
            boot_s=lambda: self.now_s,
            log_ms=self.state.unix_ms,
            max_running=self.max_running,
        )
        self.carry_out(self.engine.begin())
        self.promised.clear()
        for uuid in promise:
            self.promise(uuid)

    def promise(self, uuid: str) -> None:
        """A node promises this epoch."""
        self.promised.add(uuid)
        self.carry_out(self.boss.on_promise(uuid))

    def _look(self, nodes: Iterable[str]) -> Mapping[str, NodeStatus]:
        return {
            uuid: NodeStatus(
                node=uuid,
                boot_id="b",
                memory_total_mib=8192,
                memory_free_mib=8192,
                memory_own_mib=0,
                disk_total_mib=102400,
                disk_free_mib=102400,
                cpus=4,
                cpu_sockets=1,
                cpu_nodes=1,
            )
            for uuid in nodes
        }

    @property
    def state(self) -> State:
        return self.log.state

    @property
    def boss(self) -> Engine:
        assert self.engine is not None
        return self.engine

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Do what the engine asks for; proposals wait until they are committed."""
        for effect in effects:
            match effect:
                case Propose():
                    self._check_promises(effect.batch)
                    self.proposals.append(effect)
                case WakeAt():
                    self.wake_s = effect.boot_s
                case Answer():
                    assert effect.ticket not in self.answers, "answered twice"
                    self.answers[effect.ticket] = effect

    def _check_promises(self, batch: Batch) -> None:
        """No task for a node before its promise (REPLICATION 3.6), but for a duty of a lost one."""
        for draft in batch.drafts:
            if isinstance(draft.event, TaskRequested):
                uuid = draft.stream.removeprefix("node/")
                assert uuid in self.promised or self.state.cluster.nodes[uuid].lost

    def commit_one(self) -> None:
        """Decide the oldest proposal."""
        proposal = self.proposals.pop(0)
        outcome = self.log.commit(proposal.batch)
        if isinstance(outcome, Committed) and not outcome.repeated:
            records = [stored.record for stored in outcome.records]
            self.carry_out(self.boss.on_committed(self.state, records))
        self.carry_out(self.boss.on_outcome(proposal.token, outcome))

    def refuse_one(self, outcome: Clash | Unknown) -> None:
        """The oldest proposal is not appended."""
        proposal = self.proposals.pop(0)
        self.carry_out(self.boss.on_outcome(proposal.token, outcome))

    def fact(self, stream: str, event: Event, job: int | None = None) -> None:
        """Somebody else records something."""
        draft = Draft(stream=stream, event=event, actor="somebody", job=job)
        outcome = self.log.commit(Batch(drafts=(draft,)))
        assert isinstance(outcome, Committed)
        if self.engine is not None:
            records = [stored.record for stored in outcome.records]
            self.carry_out(self.engine.on_committed(self.state, records))

    def commit_all(self) -> None:
        """Decide all proposals, and those that follow from them."""
        for _ in range(10_000):
            if not self.proposals:
                return
            self.commit_one()
        raise AssertionError("the engine goes on proposing without end")

    # --- the world ----------------------------------------------------------------------------

    def submit(self, *ops: Opcode, **spec: object) -> int:
        """Submit a job; its id is known at once, its record waits to be committed."""
        return self.submit_all(JobSpec(ops=tuple(map(pack, ops)), **spec))[0]  # type: ignore[arg-type]

    def submit_all(self, *specs: JobSpec, key: str | None = None) -> tuple[int, ...]:
        ticket = self.ticket()
        submit = Submit(jobs=specs)
        self.carry_out(
            self.boss.submit("operator:alice", "operator", submit, ticket=ticket, key=key)
        )
        proposal = self.proposals[-1] if self.proposals else None
        for made in self.proposals:
            if made.purpose == "submit":
                proposal = made
        assert proposal is not None
        return tuple(draft.job or 0 for draft in proposal.batch.drafts)

    def order(self, order: str, job: int, **more: object) -> int:
        """Order something about a job; return the ticket."""
        ticket = self.ticket()
        asked = JobOrder(order=order, jobs=(job,), **more)  # type: ignore[arg-type]
        self.carry_out(self.boss.order("operator:alice", asked, ticket=ticket))
        return ticket

    def ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def tell(self, uuid: str) -> None:
        """An agent tells all that it has to tell."""
        for result in list(self.agents[uuid].outbox.values()):
            self.carry_out(self.boss.on_result(uuid, result))

    def follow(self) -> None:
        for agent in self.agents.values():
            agent.follow()

    def pass_time(self, seconds: float) -> None:
        """Time passes for all clocks, and the leader is woken."""
        self.now_s += seconds
        self.log.clock_ms += int(seconds * 1000)
        self.carry_out(self.boss.on_tick())

    def settle(self, *, fail: Callable[[TaskOrder], bool] = lambda order: False) -> None:
        """Let everything run to where only time, a person or a lame node can move it on."""
        for _ in range(1000):
            self.commit_all()
            self.follow()
            busy = False
            for agent in self.agents.values():
                for task, order in list(agent.orders.items()):
                    agent.act(task, fail=fail(order))
                    busy = True
                if agent.outbox and not agent.lame:
                    self.tell(agent.uuid)
            if not busy and not self.proposals:
                return
        raise AssertionError("it does not settle")

    def job(self, job: int) -> Job:
        found = self.state.jobs.get(job)
        assert found is not None
        return found

    def kinds(self, job: int) -> list[str]:
        """The kinds of the records of one job, in order."""
        return [stored.record.kind for stored in self.log.stored if stored.record.job == job]


def submit_spec(*ops: Opcode, **spec: object) -> JobSpec:
    """A job for `World.submit_all`."""
    return JobSpec(ops=tuple(map(pack, ops)), **spec)  # type: ignore[arg-type]

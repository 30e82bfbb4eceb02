"""Laws of the engine, under random plans, failures, failovers, cancels and lost nodes.

The world of world.py is driven by a random script; whatever it did, afterwards everything is healed
and run to rest, and then the laws must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.debug_ops.delay import TestDelay
from commands.opcode import Opcode
from eventstore.replica import Refused as Refusal
from nodeagent.calls import TASK_ENDS, TaskOrder
from projections.events import configuration as facts
from projections.events.jobs import Lock, OpFeedback
from projections.plans import Call, Condition, Plan, Record, Step, Undo, Wait, fact
from projections.registry import decode
from projections.state import Projector, digest_of
from tests.commands.engine.world import GROUP, NODES, Carry, World, ensure, remove

FATES = ("half", "fail", "do")
BAD = st.frozensets(
    st.sampled_from([f"{mark}thing{n}" for n in range(1, 9) for mark in ("", "-")]), max_size=4
)


@dataclass(slots=True)
class Names:
    """Names of things, each used once, so that it is known who made it."""

    used: int = 0

    def next(self) -> str:
        self.used += 1
        return f"thing{self.used}"


@st.composite
def plans(draw: st.DrawFn, names: Names, *, sure: bool = False) -> Plan:
    """A plan of up to six steps; each may wait for any earlier ones.

    `sure`: how it ends does not depend on what comes first of what runs side by side.
    """
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 6))):
        name = names.next()
        after = tuple(step.id for step in steps if draw(st.integers(0, 2)) == 0)
        final = not sure and draw(st.integers(0, 14)) == 0
        kind = draw(st.sampled_from(("call", "call", "call", "record", "wait")))
        if kind == "call":
            steps.append(
                Call(
                    id=name,
                    node=draw(st.sampled_from(NODES)),
                    call=ensure(name),
                    after=after,
                    attempts=draw(st.integers(1, 2)),
                    undo=Undo(call=remove(name)) if sure or draw(st.integers(0, 4)) else None,
                    final=final,
                    tolerate=draw(st.integers(0, 5)) == 0,
                    timeout_s=20.0,
                )
            )
        elif kind == "record":
            made = facts.TagsAdded(table="group", subject=GROUP, tags=(name,))
            gone = facts.TagsRemoved(table="group", subject=GROUP, tags=(name,))
            stream = f"group/{GROUP}"
            steps.append(
                Record(
                    id=name,
                    facts=(fact(stream, made),),
                    undo=(fact(stream, gone),),
                    after=after,
                    final=final,
                )
            )
        else:
            until = Condition(kind="node-heard", subject=draw(st.sampled_from(NODES)))
            steps.append(
                Wait(
                    id=name,
                    after=after,
                    until=until if draw(st.booleans()) else None,
                    timeout_s=5.0,
                )
            )
    return Plan(steps=tuple(steps))


@st.composite
def opcodes(draw: st.DrawFn, names: Names, *, sure: bool = False) -> Opcode:
    """An opcode with one to two plans, and locks."""
    if draw(st.integers(0, 4)) == 0:
        return TestDelay(duration=draw(st.sampled_from((0, 3))))
    wanted = draw(st.lists(st.sampled_from("abc"), max_size=2, unique=True))
    return Carry(
        plans=tuple(draw(plans(names, sure=sure)) for _ in range(draw(st.integers(1, 2)))),
        locks=tuple(Lock(name, draw(st.booleans())) for name in wanted),
        refuse=draw(st.integers(0, 7)) == 0,
    )


@dataclass(slots=True)
class Script:
    """What has been done to the world, for the message of a failing example."""

    world: World
    names: Names = field(default_factory=Names)
    done: list[str] = field(default_factory=list)


def play(script: Script, data: st.DataObject, moves: int) -> None:
    """Do random things, one at a time."""
    world = script.world
    for _ in range(moves):
        move = data.draw(
            st.sampled_from(
                ("work", "work", "work", "submit", "commit", "commit", "follow", "act", "tell",
                 "time", "cancel", "failover", "lose", "heal", "resolve", "priority",
                 "meddle", "refuse")
            )
        )  # fmt: skip
        script.done.append(move)
        match move:
            case "submit":
                ops = [
                    data.draw(opcodes(script.names)) for _ in range(data.draw(st.integers(1, 2)))
                ]
                earlier = data.draw(st.sampled_from([None, *sorted(world.state.jobs.open)]))
                wanted = ("success", "error", "canceled")
                depends = (((earlier, wanted),),) if earlier else ()
                world.submit(*ops, priority=data.draw(st.integers(-1, 1)), depends=depends)
            case "work":
                _work(world, data)
            case "commit" if world.proposals:
                world.commit_one()
            case "follow":
                world.agents[data.draw(st.sampled_from(NODES))].follow()
            case "act":
                _act(world, data)
            case "tell":
                uuid = data.draw(st.sampled_from(NODES))
                if not world.agents[uuid].lame:
                    world.tell(uuid)
            case "time":
                world.pass_time(data.draw(st.sampled_from((1.0, 6.0, 30.0))))
            case "cancel" | "resolve" | "priority":
                _order(world, move, data)
            case "meddle" if world.state.jobs.open:
                job = data.draw(st.sampled_from(sorted(world.state.jobs.open)))
                world.fact(f"job/{job}", OpFeedback(op=0, text="clash"), job)
            case "refuse" if world.proposals:
                code = data.draw(st.sampled_from(("disk-full", "clash", "too-large")))
                world.refuse_one(Refusal(code, "told to refuse"))
            case "failover":
                _fail_over(world, data)
            case "lose":
                _lose(world, data.draw(st.sampled_from(NODES)))
            case "heal":
                _heal(world, data.draw(st.sampled_from(NODES)))


def _work(world: World, data: st.DataObject) -> None:
    """All that is proposed is committed, a task ends, and its agent tells."""
    world.commit_all()
    world.follow()
    _act(world, data)
    for uuid in NODES:
        if not world.agents[uuid].lame:
            world.tell(uuid)


def _act(world: World, data: st.DataObject) -> None:
    ready = [(uuid, task) for uuid in NODES for task in world.agents[uuid].orders]
    if ready:
        uuid, task = data.draw(st.sampled_from(ready))
        fate = data.draw(st.sampled_from(FATES))
        world.agents[uuid].act(task, fail=fate == "fail", half=fate == "half")


def _order(world: World, move: str, data: st.DataObject) -> None:
    jobs = sorted(world.state.jobs.open)
    if not jobs:
        return
    job = data.draw(st.sampled_from(jobs))
    if move == "resolve":
        world.order("resolve", job, how=data.draw(st.sampled_from(("retry", "accept", "undo"))))
    elif move == "cancel":
        world.order("cancel", job)
    else:
        world.order("set-priority", job, priority=data.draw(st.integers(-2, 2)))


def _fail_over(world: World, data: st.DataObject) -> None:
    """The leader dies. Some of what it had proposed was committed, without its knowing."""
    for proposal in world.proposals[: data.draw(st.integers(0, 3))]:
        world.log.commit(proposal.batch)
    world.now_s = data.draw(st.sampled_from((10.0, world.now_s + 1)))
    world.lead(promise=data.draw(st.sampled_from((NODES, NODES[:1], ()))))


def _lose(world: World, uuid: str) -> None:
    if not world.state.cluster.nodes[uuid].lost:
        world.agents[uuid].lame = True
        world.fact(f"node/{uuid}", facts.NodeLost(node=uuid, silent_s=30))


def _heal(world: World, uuid: str) -> None:
    world.agents[uuid].lame = False
    if world.state.cluster.nodes[uuid].lost:
        world.fact(f"node/{uuid}", facts.NodeReturned(node=uuid))
    world.promise(uuid)


def rest(world: World, bad: frozenset[str]) -> None:
    """Heal everything, and let it run until every job is over; a person retries what is parked.

    `bad`: things that cannot be made, or, with a dash before, not be removed the first time.
    """
    spared: set[str] = set()

    def fail(order: TaskOrder) -> bool:
        thing = msgspec.msgpack.decode(order.call.data)
        if order.call.name == "test-ensure":
            return thing in bad
        failed_before = thing in spared
        spared.add(thing)
        return f"-{thing}" in bad and not failed_before

    for uuid in NODES:
        _heal(world, uuid)
    for round_ in range(20):
        world.settle(fail=fail)
        if not world.state.jobs.open and not world.state.cluster.duties:
            return
        for job in list(world.state.jobs.open):
            if world.job(job).status == "needs-attention":
                world.order("resolve", job, how="retry" if round_ < 4 else "accept")
        for owed in list(world.state.cluster.duties.values()):
            if owed.failed and owed.job not in world.state.jobs.open:
                world.order("resolve", owed.job, how="retry" if round_ < 4 else "accept")
        world.pass_time(31.0)
    raise AssertionError(f"jobs without an end: {dict(world.state.jobs.open)}")


# --- the laws -------------------------------------------------------------------------------------


def check_laws(script: Script) -> None:
    world = script.world
    jobs = world.state.jobs
    assert not jobs.locks.held, "locks are free after every job"
    assert not jobs.locks.owned
    assert not jobs.locks.waiting
    assert not jobs.locks.queues
    assert not jobs.tasks
    assert not jobs.dependents
    assert not world.state.cluster.reserved
    assert not world.state.cluster.duties, "every duty is done when its node is back"
    assert not any(agent.outbox for agent in world.agents.values())
    _check_endings(world)
    _check_effects(world)
    _check_order_of_undos(world)
    replayed = Projector()
    for stored in world.log.stored:
        replayed.apply([stored])
    assert digest_of(replayed.state) == digest_of(world.state), "a replay gives the same state"


def _check_endings(world: World) -> None:
    """Every opcode ends once."""
    ends: dict[tuple[int, int], int] = {}
    total = 0
    for stored in world.log.stored:
        record = stored.record
        if record.kind == "job.submitted":
            event = decode(record)
            total += len(event.ops)  # type: ignore[union-attr] # by its kind
        if record.kind in ("op.succeeded", "op.failed", "op.canceled"):
            op = msgspec.msgpack.decode(record.data)["op"]
            assert record.job is not None
            ends[record.job, op] = ends.get((record.job, op), 0) + 1
    assert all(count == 1 for count in ends.values())
    assert len(ends) == total


def _check_effects(world: World) -> None:
    """A task acts at most once. What a job that was not resolved by hand left behind follows from
    its end: nothing that has an undo, if it went back; all of it, if it succeeded."""
    tags = set(world.state.cluster.groups[GROUP].tags)
    for agent in world.agents.values():
        assert all(count <= 1 for count in agent.acted.values())
    resolved = {
        stored.record.job
        for stored in world.log.stored
        if stored.record.kind == "op.resolved"
        or (stored.record.kind == "node.duty-done" and stored.record.actor == "operator:alice")
    }
    ended = {
        (stored.record.job, msgspec.msgpack.decode(stored.record.data)["op"]): stored.record.kind
        for stored in world.log.stored
        if stored.record.kind in ("op.succeeded", "op.failed", "op.canceled")
    }
    for stored in world.log.stored:
        record = stored.record
        if record.kind != "op.planned" or record.job in resolved:
            continue
        planned = decode(record)
        good = ended[record.job, planned.op] == "op.succeeded"  # type: ignore[union-attr]
        for step in planned.plan.steps:  # type: ignore[union-attr]
            match step:
                case Record(id=name):
                    assert (name in tags) == good, name
                case Call(id=name, node=node, tolerate=False) if good or step.undo:
                    assert (name in world.agents[node].things) == good, name


def _check_order_of_undos(world: World) -> None:
    """Steps are undone in the opposite order in which they were first sent, and none before every
    do that was sent has an end: told by its agent, or given up because nobody will tell."""
    runs: dict[tuple[int, int], dict[str, tuple[int, str]]] = {}  # task -> its step
    first_do: dict[tuple[int, int], list[tuple[int, str]]] = {}
    first_undo: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for stored in world.log.stored:
        record = stored.record
        if record.kind not in ("task.requested", "step.recorded", "step.given-up", *TASK_ENDS):
            continue
        event = msgspec.msgpack.decode(record.data)
        if record.kind in TASK_ENDS:
            for tasks in runs.values():
                tasks.pop(event["task"], None)
            continue
        assert record.job is not None
        place = (record.job, event["op"])
        step = (event["plan"], event["step"])
        tasks = runs.setdefault(place, {})
        if record.kind == "step.given-up":
            runs[place] = {task: known for task, known in tasks.items() if known != step}
            continue
        if event.get("undo"):
            assert not tasks, "undone while something runs"
        elif record.kind == "task.requested":
            tasks[event["task"]] = step
        into = first_undo if event.get("undo") else first_do
        if step not in into.setdefault(place, []):
            into[place].append(step)
    for place, undone in first_undo.items():
        expected = [step for step in reversed(first_do[place]) if step in undone]
        assert undone == expected, place


@pytest.mark.property
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_whatever_happens_every_job_ends_and_nothing_is_done_twice(data: st.DataObject) -> None:
    """After any story, everything healed: opcodes ended once, locks are free, effects are exact."""
    world = World(max_running=data.draw(st.integers(1, 4)))
    world.lead()
    script = Script(world)
    play(script, data, data.draw(st.integers(10, 80)))
    rest(world, data.draw(BAD))
    check_laws(script)


@pytest.mark.property
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_failover_anywhere_changes_nothing_of_the_end(data: st.DataObject) -> None:
    """Cut after every commit and go on with a new engine: the same end as without any cut."""
    names = Names()
    ops = [data.draw(opcodes(names, sure=True)) for _ in range(data.draw(st.integers(1, 3)))]
    bad = data.draw(BAD)

    def fail(order: TaskOrder) -> bool:
        return order.call.name == "test-ensure" and msgspec.msgpack.decode(order.call.data) in bad

    plain = _run(ops, fail, cut=False)
    cut = _run(ops, fail, cut=True)
    assert _end(plain) == _end(cut)


def _run(ops: list[Opcode], fail: Callable[[TaskOrder], bool], *, cut: bool) -> World:
    world = World()
    world.lead()
    for op in ops:
        world.submit(op)
        world.commit_all()
    quiet = 0
    for _ in range(1000):
        if world.proposals:
            world.commit_one()
            quiet = 0
            if cut:
                world.lead()
            continue
        world.follow()
        busy = [(agent, task) for agent in world.agents.values() for task in agent.orders]
        for agent, task in busy[:1]:
            agent.act(task, fail=fail(agent.orders[task]))
        for uuid in NODES:
            world.tell(uuid)
        if not busy and not world.proposals:
            quiet += 1
            world.pass_time(31.0)
        if quiet > 3:
            return world  # all is over, or waits for a person
    raise AssertionError("no end")


def _end(world: World) -> object:
    tags = world.state.cluster.groups[GROUP].tags
    things = {uuid: sorted(agent.things) for uuid, agent in world.agents.items()}
    states = {job: world.job(job).status for job in range(1, world.state.jobs.last_id + 1)}
    assert all(count <= 1 for agent in world.agents.values() for count in agent.acted.values())
    return tags, things, states

"""What the log, people and agents may say to the engine, beside the walk of a plan."""

from __future__ import annotations

import msgspec
import pytest

from commands.api import JobOrder, JobOrderReply, Submit
from commands.debug_ops.delay import TestDelay
from commands.engine.deciding import recorded
from commands.errors import Refused
from commands.given import Given
from commands.opcode import pack
from eventstore.replica import Committed, Unknown
from eventstore.replica import Refused as Clash
from nodeagent.calls import Feedback, InstanceSeen, NodeStatus, TaskResult
from projections.events.configuration import TagsAdded
from projections.events.jobs import Lock, OpFeedback
from projections.plans import Plan, Record, Wait, fact
from tests.commands.engine.steps import ONE, TWO, call, carry, tag, tagged
from tests.commands.engine.world import GROUP, Carry, World, submit_spec


def test_a_full_disk_is_waited_out(world: World) -> None:
    """What the log cannot take now is proposed again a second later, with what was told."""
    job = world.submit(carry(call("a")))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    world.refuse_one(Clash("disk-full", "no space left"))
    assert not world.proposals
    assert world.wake_s == world.now_s + 1.0
    world.pass_time(1.0)
    world.settle()
    assert world.job(job).status == "success"


def test_a_clash_with_what_is_not_committed_is_waited_out(world: World) -> None:
    """The engine proposes anew when the record in its way is committed, or after a second."""
    for committed in (True, False):
        job = world.submit(carry(call("a")))
        world.commit_one()
        stream = f"job/{job}"
        world.refuse_one(Clash("clash", "too late", stream=stream, expected=1, actual=2))
        assert not world.proposals
        if committed:
            world.fact(stream, OpFeedback(op=0, text="in the way"), job=job)
        else:
            world.pass_time(1.0)
        world.settle()
        assert world.job(job).status == "success"


def test_a_full_disk_makes_no_loop_of_starts(world: World) -> None:
    """A job that cannot be started, blocked or failed in the log waits a second, too."""
    holder = world.submit(carry(Wait(id="w"), locks=(Lock("a"),)))
    world.settle()
    ops = (Carry(locks=(Lock("a"),)), Carry(), Carry(locks=(Lock("a"),)))
    jobs = [world.submit(op) for op in ops]
    for _ in jobs:
        world.commit_one()
    while world.proposals:
        world.refuse_one(Clash("disk-full", "no space left"))
    assert {world.job(job).status for job in jobs} == {"queued"}
    world.pass_time(1.0)
    world.settle()
    assert [world.job(job).status for job in jobs] == ["waiting", "success", "waiting"]
    world.order("cancel", holder)
    world.settle()
    assert {world.job(job).status for job in jobs} == {"success"}


def test_what_is_too_large_for_the_log_fails_its_opcode(world: World) -> None:
    """A plan that does not fit into a record ends the opcode with a reason, and no loop."""
    job = world.submit(carry(call("a")))
    world.commit_one()
    world.refuse_one(Clash("too-large", "a record of 600000 bytes"))
    world.pass_time(1.0)
    world.settle()
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert "600000" in problem.message
    assert "task.requested" not in world.kinds(job)


def test_a_leader_that_failed_to_hand_over_carries_jobs_on(world: World) -> None:
    """While it hands over, nothing is appended, and that is certain: it is proposed again soon."""
    job = world.submit(carry(call("a")))
    world.commit_one()
    world.refuse_one(Clash("not-leader", "this voter is handing over"))
    late = world.ticket()
    submit = Submit(jobs=(submit_spec(TestDelay(duration=0)),))
    world.carry_out(world.boss.submit("operator:alice", "operator", submit, ticket=late))
    world.refuse_one(refused := Clash("not-leader", "this voter is handing over"))
    assert world.answers[late].outcome == refused, "whoever asked asks the next leader"
    world.pass_time(1.0)
    world.settle()
    assert world.job(job).status == "success"
    assert world.submit(TestDelay(duration=0)) == job + 1, "no number is left out"


def test_after_an_unknown_outcome_the_engine_stops(world: World) -> None:
    """Who asked hears that nothing is known; nothing more is proposed; the next reign goes on."""
    outcome = Unknown("the leader changed")
    job = world.submit(carry(Wait(id="w", timeout_s=5)))
    world.commit_all()
    ticket = world.order("cancel", job)
    world.refuse_one(outcome)
    assert world.answers[ticket].outcome == outcome
    world.pass_time(60.0)
    late = world.ticket()
    submit = Submit(jobs=(submit_spec(TestDelay(duration=0)),))
    world.carry_out(world.boss.submit("operator:alice", "operator", submit, ticket=late))
    assert isinstance(world.answers[late].outcome, Unknown)
    assert not world.proposals
    world.lead()
    world.pass_time(60.0)
    world.settle()
    assert world.job(job).status == "success"


def test_orders_that_make_no_sense(world: World) -> None:
    """Each job of an order has its own answer, in words."""
    done = world.submit(TestDelay(duration=0))
    world.settle()
    running = world.submit(carry(Wait(id="w")))
    world.settle()
    rows = {}
    for order in ("cancel", "archive", "resolve", "set-priority"):
        ticket = world.ticket()
        asked = JobOrder(order=order, jobs=(done, running, 77), how="retry", priority=5)
        world.carry_out(world.boss.order("operator:alice", asked, ticket=ticket))
        world.commit_all()
        body = world.answers[ticket].body
        assert isinstance(body, JobOrderReply)
        rows[order] = [row[1] for row in body.jobs]
    assert rows == {
        "cancel": [False, True, False],
        "archive": [True, True, False],  # it was canceled, so it has ended
        "resolve": [False, False, False],
        "set-priority": [False, False, False],
    }
    again = world.order("archive", done)
    world.commit_all()
    ((job, archived, why),) = world.answers[again].body.jobs  # type: ignore[union-attr]
    assert (job, archived) == (1, False)
    assert why == "job 1 is archived already; gnt-job info 1 still shows it"
    unknown = world.order("archive", 99)
    assert world.answers[unknown].body.jobs == (  # type: ignore[union-attr]
        (99, False, f"there is no job 99; the last one is {world.state.jobs.last_id}"),
    )
    for wrong in (
        JobOrder(order="delete"),
        JobOrder(order="resolve", how="ignore"),
        JobOrder(order="set-priority", priority=-21),
    ):
        with pytest.raises(Refused) as refused:
            world.boss.order("operator:alice", wrong, ticket=world.ticket())
        assert refused.value.hint


def test_feedback_is_recorded_while_the_task_is_open(world: World) -> None:
    """A line of an agent stands in the job; one of another node's task, or a late one, does not."""
    job = world.submit(carry(call("a")))
    world.commit_all()
    task = next(iter(world.state.jobs.tasks))
    for node, text in ((ONE, "x" * 5000), (TWO, "not mine")):
        world.carry_out(world.boss.on_feedback(node, Feedback(task=task, text=text, percent=5.0)))
    world.settle()
    (line,) = world.job(job).lines
    assert (len(line.text), line.percent, line.step) == (1024, 5.0, "a")
    ticket = world.ticket()
    world.carry_out(world.boss.on_feedback(ONE, Feedback(task=task, text="late"), ticket=ticket))
    assert not world.proposals
    assert isinstance(world.answers[ticket].outcome, Committed)


def test_a_node_speaks_for_its_own_tasks_only(world: World) -> None:
    """A result from another node is refused, and the step goes on waiting."""
    world.submit(carry(call("a")))
    world.commit_all()
    task = next(iter(world.state.jobs.tasks))
    ticket = world.ticket()
    world.carry_out(world.boss.on_result(TWO, TaskResult(task=task), ticket=ticket))
    assert isinstance(world.answers[ticket].outcome, Clash)
    assert not world.proposals


def test_a_repeated_result_is_answered_and_not_recorded_again(world: World) -> None:
    """Told twice before the commit, and once after it: one record, three answers."""
    job = world.submit(carry(call("a"), Wait(id="w", after=("a",))))
    world.commit_all()
    task = next(iter(world.state.jobs.tasks))
    tickets = [world.ticket() for _ in range(3)]
    for ticket in tickets[:2]:
        world.carry_out(world.boss.on_result(ONE, TaskResult(task=task), ticket=ticket))
    world.commit_all()
    world.carry_out(world.boss.on_result(ONE, TaskResult(task=task), ticket=tickets[2]))
    world.commit_all()
    assert all(isinstance(world.answers[ticket].outcome, Committed) for ticket in tickets)
    assert world.kinds(job).count("task.done") == 1


def test_a_result_that_is_too_large_is_a_failure(world: World) -> None:
    """An answer over 64 KiB fails the step, so that the job ends and the log stays small."""
    job = world.submit(carry(call("a")))
    world.commit_all()
    task = next(iter(world.state.jobs.tasks))
    done = msgspec.Raw(msgspec.msgpack.encode("x" * 70_000))
    world.carry_out(world.boss.on_result(ONE, TaskResult(task=task, done=done)))
    world.follow()
    world.agents[ONE].orders.clear()
    world.settle()
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert "65536" in problem.message


def test_a_dry_run_shows_the_plan_and_appends_nothing(world: World) -> None:
    """Locks, steps with their nodes by name, and the difference that the facts would make."""
    before = world.state.seq
    op = carry(call("a", final=True), tag("t", "a"), Wait(id="w", after=("t",)))
    shown = world.boss.plan_now("operator", pack(op), as_of=before)
    assert [(step.id, step.what, step.node, step.undo, step.final) for step in shown.steps] == [
        ("a", "call", "node1", "test-remove", True),
        ("t", "record", "", "tags.removed", False),
        ("w", "wait", "", "", False),
    ]
    (change,) = shown.changes
    assert (change.object, change.field, change.before, change.after) == (
        "group default",
        "tags",
        "[]",
        '["t"]',
    )
    assert world.state.seq == before
    assert not world.proposals
    with pytest.raises(Refused):
        world.boss.plan_now("operator", pack(Carry(refuse=True)), as_of=before)


def test_a_dry_run_says_what_the_job_then_does(world: World) -> None:
    """The facts that a dry run folds are those that the job records."""
    stream = f"group/{GROUP}"
    op = Carry(plans=(Plan(steps=(tag("x"), tag("y", "x"))),))
    shown = world.boss.plan_now("operator", pack(op), as_of=0)
    world.submit(op)
    world.settle()
    group = world.state.cluster.groups[GROUP]
    assert shown.changes[0].after == msgspec.json.encode(group.tags).decode()
    assert fact(stream, tagged("x")).kind in shown.steps[0].text


def test_many_ready_steps_are_sent_in_few_batches(world: World) -> None:
    """1,000 calls go out in batches of at most 256 records or 400 KiB, one after the other."""
    steps = tuple(call(f"c{number}", undo=None) for number in range(1000))
    before = world.log.commits
    job = world.submit_all(submit_spec(Carry(plans=(Plan(steps=steps),))))[0]
    world.commit_all()
    assert world.kinds(job).count("task.requested") == 1000
    assert world.log.commits - before <= 6


def test_a_bug_in_a_dry_run_is_told(world: World) -> None:
    """A handler that breaks, or whose facts contradict, is an internal error with a hint."""
    wrong = TagsAdded(table="group", subject="no-such-group", tags=("x",))
    nonsense = Record(id="t", facts=(fact("group/no-such-group", wrong),))
    for op in (Carry(bug=True), Carry(plans=(Plan(steps=(nonsense,)),))):
        with pytest.raises(Refused) as refused:
            world.boss.plan_now("operator", pack(op), as_of=0)
        assert refused.value.code == "internal_error"
        assert refused.value.hint


def test_what_was_seen_of_many_nodes_fits_into_a_record() -> None:
    """Beyond 64 KiB the lists of instances and disks are left out, the numbers are kept."""
    seen = InstanceSeen("i" * 36, "web1.example.net", "running", 512, 1, 1)
    status = NodeStatus("n" * 36, "b", 8192, 4096, 0, 100, 50, 4, 1, 1, instances=(seen,) * 20)
    few = Given(now_ms=1, seed=bytes(16), seen={"n1": status})
    assert msgspec.msgpack.decode(recorded(few), type=Given) == few
    many = Given(now_ms=1, seed=bytes(16), seen={f"n{number}": status for number in range(1000)})
    kept = recorded(many)
    assert len(kept) < 200_000
    told = msgspec.msgpack.decode(kept, type=Given).seen
    assert len(told) == 1000
    assert told["n7"].memory_free_mib == 4096
    assert told["n7"].instances == ()


@pytest.mark.parametrize("age_s", [-1.0, float("inf"), float("nan"), 1e300])
def test_an_age_that_is_none_is_refused(world: World, age_s: float) -> None:
    """Before it is counted with."""
    order = JobOrder(order="archive", older_than_s=age_s)
    with pytest.raises(Refused, match="older than"):
        world.boss.order("operator:alice", order, ticket=1)

"""The engine in a small world: one story for each rule."""

from __future__ import annotations

import msgspec
import pytest

from commands.debug_ops.delay import TestDelay
from commands.errors import Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.registry import Registry
from eventstore.packed import Packed
from eventstore.replica import Committed
from projections.cluster import Cluster
from projections.events import configuration as facts
from projections.events.jobs import Lock, OpFeedback
from projections.plans import Call, Condition, Plan, Record, Reservations, Undo, Wait, fact
from tests.commands.engine.world import GROUP, NODES, Carry, World, ensure, remove, submit_spec

ONE, TWO, THREE = NODES


def tagged(tag: str) -> facts.TagsAdded:
    return facts.TagsAdded(table="group", subject=GROUP, tags=(tag,))


def untagged(tag: str) -> facts.TagsRemoved:
    return facts.TagsRemoved(table="group", subject=GROUP, tags=(tag,))


def tag(name: str, *after: str, final: bool = False) -> Record:
    stream = f"group/{GROUP}"
    return Record(
        id=name,
        facts=(fact(stream, tagged(name)),),
        undo=(fact(stream, untagged(name)),),
        after=after,
        final=final,
    )


def call(name: str, node: str = ONE, *after: str, **more: object) -> Call:
    more.setdefault("undo", Undo(call=remove(name)))
    return Call(id=name, node=node, call=ensure(name), after=after, **more)  # type: ignore[arg-type]


def carry(*steps: Call | Record | Wait, **more: object) -> Carry:
    return Carry(plans=(Plan(steps=steps),), **more)  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    made = World()
    made.lead()
    return made


def test_a_no_op_job_costs_two_commits(world: World) -> None:
    """Submitted; started and succeeded: two batches, and nothing else."""
    before = world.log.commits
    job = world.submit(TestDelay(duration=0))
    world.settle()
    assert world.job(job).status == "success"
    assert world.log.commits - before == 2
    assert world.kinds(job) == ["job.submitted", "op.started", "op.succeeded"]


def test_a_plan_runs_to_its_end(world: World) -> None:
    """Calls on both nodes, then the record, then done; the first tasks go with the plan."""
    job = world.submit(carry(call("a"), call("b", TWO), tag("t", "a", "b")))
    world.settle()
    assert world.job(job).status == "success"
    assert world.agents[ONE].things == {"a"}
    assert world.agents[TWO].things == {"b"}
    assert world.state.cluster.groups[GROUP].tags == ("t",)
    assert world.kinds(job) == [
        "job.submitted",
        "op.started",
        "op.planned",
        "task.requested",
        "task.requested",
        "task.done",
        "task.done",
        "tags.added",
        "step.recorded",
        "op.succeeded",
    ]


def test_results_and_what_follows_are_one_batch(world: World) -> None:
    """With one call, a job is three batches: submitted; started, planned, sent; done, succeeded."""
    before = world.log.commits
    world.submit(carry(call("a")))
    world.settle()
    assert world.log.commits - before == 3


def test_a_failed_step_is_undone_last_first(world: World) -> None:
    """Every step that was sent is undone, the failed one too, in the opposite order."""
    job = world.submit(carry(call("a"), tag("t", "a"), call("b", TWO, "t"), call("c", ONE, "b")))
    world.settle(fail=lambda order: order.call == ensure("b"))
    ended = world.job(job)
    assert ended.status == "error"
    problem = ended.ops[0].problem
    assert problem is not None
    assert (problem.code, problem.message) == ("environment_error", "told to fail")
    assert world.agents[ONE].things == world.agents[TWO].things == set()
    assert world.state.cluster.groups[GROUP].tags == ()
    kinds = world.kinds(job)
    back = kinds[kinds.index("op.undoing") :]
    assert back == [
        "op.undoing",
        "task.requested",  # b
        "task.done",
        "tags.removed",
        "step.recorded",
        "task.requested",  # a
        "task.done",
        "op.failed",
    ]
    assert not world.state.jobs.locks.owned
    assert not world.state.jobs.tasks


def test_a_tolerated_failure_lets_the_plan_go_on(world: World) -> None:
    """A step marked `tolerate` fails, and what waits for it runs all the same."""
    job = world.submit(carry(call("a", tolerate=True), call("b", TWO, "a")))
    world.settle(fail=lambda order: order.call == ensure("a"))
    assert world.job(job).status == "success"
    assert world.agents[TWO].things == {"b"}


def test_a_call_is_tried_again_after_a_pause(world: World) -> None:
    """A call with two attempts is made again, under another task id, one second later."""
    job = world.submit(carry(call("a", attempts=2)))
    fails = iter((True, False))
    world.settle(fail=lambda order: next(fails))
    assert world.job(job).status == "running"
    assert world.wake_s == world.now_s + 1.0
    world.pass_time(1.0)
    world.settle()
    assert world.job(job).status == "success"
    assert len(world.agents[ONE].acted) == 2


def test_after_the_point_of_no_return_it_parks(world: World) -> None:
    """A failure after a final step is not undone: the opcode waits for a person, with its locks."""
    op = carry(call("a", final=True), call("b", TWO, "a"), locks=(Lock("cluster"),))
    job = world.submit(op)
    world.settle(fail=lambda order: order.call == ensure("b"))
    parked = world.job(job)
    assert parked.status == "needs-attention"
    assert world.agents[ONE].things == {"a"}
    assert parked.ops[0].left == (
        "b: test-ensure on node2: told to fail",
        "a: test-ensure on node1",
    )
    assert world.state.jobs.locks.owned[job] == (Lock("cluster"),)


@pytest.mark.parametrize(
    ("how", "status", "things"), [("retry", "success", {"a"}), ("accept", "error", {"a"}),
                                  ("undo", "error", set())]
)  # fmt: skip
def test_a_person_resolves_what_is_parked(
    world: World, how: str, status: str, things: set[str]
) -> None:
    """Retry goes on, accept ends it as it is, undo goes back though there was a final step."""
    job = world.submit(carry(call("a", final=True), call("b", TWO, "a")))
    world.settle(fail=lambda order: order.call == ensure("b"))
    ticket = world.order("resolve", job, how=how)
    world.settle()
    assert isinstance(world.answers[ticket].outcome, Committed)
    assert world.job(job).status == status
    assert world.agents[ONE].things == things


def test_an_undo_that_fails_three_times_parks(world: World) -> None:
    """An undo is tried three times, with pauses; then a person must look, and may retry."""
    job = world.submit(carry(call("a"), call("b", TWO, "a")))
    world.settle(fail=lambda order: order.call in (ensure("b"), remove("a")))
    for _ in range(2):
        assert world.job(job).status == "running"
        world.pass_time(3.0)
        world.settle(fail=lambda order: order.call == remove("a"))
    assert world.job(job).status == "needs-attention"
    assert world.job(job).ops[0].left == ("a: test-ensure on node1: told to fail",)
    world.order("resolve", job, how="retry")
    world.settle()
    assert world.job(job).status == "error"
    assert world.agents[ONE].things == set()


def test_a_late_call_is_withdrawn_and_never_runs(world: World) -> None:
    """A call that times out is given up; the agent says that it never ran, and all is undone."""
    job = world.submit(carry(call("a", timeout_s=10.0)))
    world.commit_all()
    world.pass_time(14.0)
    assert not world.proposals
    world.pass_time(1.0)
    world.settle()
    kinds = world.kinds(job)
    assert "task.withdraw-requested" in kinds
    assert "task.withdrawn" in kinds
    assert world.job(job).status == "error"
    assert world.agents[ONE].things == set()


def test_a_withdrawal_that_comes_too_late_changes_nothing(world: World) -> None:
    """A call that was done when it was withdrawn has succeeded, and the plan goes on."""
    job = world.submit(carry(call("a", timeout_s=10.0)))
    world.commit_all()
    world.follow()
    (task,) = world.agents[ONE].orders
    world.agents[ONE].act(task)
    world.pass_time(15.0)
    world.commit_all()
    assert "task.withdraw-requested" in world.kinds(job)
    world.settle()
    assert world.job(job).status == "success"


def test_a_lost_node_owes_its_undo(world: World) -> None:
    """An undo on a lost node becomes a duty; the opcode ends; the duty is done on its return."""
    job = world.submit(carry(call("a"), call("b", TWO, "a", timeout_s=5.0)))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    world.commit_all()
    world.agents[ONE].lame = world.agents[TWO].lame = True
    world.fact(f"node/{ONE}", facts.NodeLost(node=ONE, silent_s=30))
    world.fact(f"node/{TWO}", facts.NodeLost(node=TWO, silent_s=30))
    world.pass_time(10.0)
    world.settle()
    assert world.job(job).status == "error"
    assert len(world.state.cluster.duties) == 2
    assert world.agents[ONE].things == {"a"}
    for uuid in (ONE, TWO):
        world.agents[uuid].lame = False
        world.fact(f"node/{uuid}", facts.NodeReturned(node=uuid))
    world.settle()
    assert not world.state.cluster.duties
    assert world.agents[ONE].things == world.agents[TWO].things == set()
    assert all(not agent.outbox for agent in world.agents.values())


def test_a_late_result_of_an_ended_job_is_recorded_once(world: World) -> None:
    """What an agent tells after the end of the job is in the log, once, and its outbox empties."""
    job = world.submit(carry(call("a", timeout_s=5.0, undo=None)))
    world.commit_all()
    world.follow()
    agent = world.agents[ONE]
    agent.act(next(iter(agent.orders)))
    agent.lame = True
    world.fact(f"node/{ONE}", facts.NodeLost(node=ONE, silent_s=30))
    world.pass_time(10.0)
    world.commit_all()
    assert world.job(job).status == "error"
    world.tell(ONE)
    world.tell(ONE)
    world.commit_all()
    agent.lame = False
    world.follow()
    assert not agent.outbox
    assert [s.record.kind for s in world.log.stored].count("task.done") == 1


def test_a_wait_of_time_fires_on_its_time(world: World) -> None:
    """A delay of 10 s succeeds after 10 s on the leader's clock, and not before."""
    job = world.submit(TestDelay(duration=10))
    world.settle()
    world.pass_time(9.9)
    world.settle()
    assert world.job(job).status == "running"
    world.pass_time(0.2)
    world.settle()
    assert world.job(job).status == "success"


def test_after_a_failover_a_wait_goes_on_and_never_fires_early(world: World) -> None:
    """The new leader takes what the log shows as elapsed, less 10 s of possible skew."""
    job = world.submit(TestDelay(duration=60))
    world.settle()
    world.pass_time(30.0)
    world.fact("log", facts.NodeLost(node=ONE, silent_s=30))  # the log's time goes on
    world.now_s = 5.0  # another machine, another boot
    world.lead()
    world.pass_time(39.9)
    world.settle()
    assert world.job(job).status == "running"
    world.pass_time(0.2)
    world.settle()
    assert world.job(job).status == "success"


def test_a_wait_for_a_condition(world: World) -> None:
    """It ends when the condition holds, and fails if that does not come in time."""
    lost = facts.NodeLost(node=ONE, silent_s=30)
    world.fact(f"node/{ONE}", lost)
    until = Condition(kind="node-heard", subject=ONE)
    job = world.submit(carry(Wait(id="w", until=until, timeout_s=60)))
    other = world.submit(carry(Wait(id="w", until=until, timeout_s=10)))
    world.settle()
    world.pass_time(11.0)
    world.settle()
    assert world.job(other).status == "error"
    world.fact(f"node/{ONE}", facts.NodeReturned(node=ONE))
    world.settle()
    assert world.job(job).status == "success"


def test_tasks_wait_for_the_promise_of_their_node() -> None:
    """Before a node has promised this epoch, no task is recorded for it."""
    world = World()
    world.lead(promise=())
    job = world.submit(carry(call("a")))
    world.settle()
    assert "task.requested" not in world.kinds(job)
    world.promise(ONE)
    world.settle()
    assert world.job(job).status == "success"


def lose(world: World, node: str) -> None:
    """The node falls silent, and the leader has said so."""
    world.agents[node].lame = True
    world.fact(f"node/{node}", facts.NodeLost(node=node, silent_s=30))


def test_a_call_on_a_lost_node_is_given_up_after_a_minute(world: World) -> None:
    """However long the call might take, nobody waits longer for a node that is away."""
    job = world.submit(carry(call("a", timeout_s=3600.0)))
    world.commit_all()
    lose(world, ONE)
    world.pass_time(59.0)
    world.commit_all()
    assert world.job(job).status == "running"
    world.pass_time(2.0)
    world.commit_all()
    assert world.job(job).status == "error"
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert "is not heard of" in problem.message
    assert "gnt-node" in problem.hint


def test_a_tolerated_call_on_a_lost_node_is_given_up_at_once(world: World) -> None:
    """The plan goes on without it as soon as its node is said to be lost."""
    job = world.submit(carry(call("a", timeout_s=3600.0, tolerate=True), tag("t", "a")))
    world.commit_all()
    lose(world, ONE)
    world.commit_all()
    assert world.job(job).status == "success"


def test_an_offline_node_fails_the_step_at_once(world: World) -> None:
    """A call on a node that is marked offline is given up, not waited for."""
    offline = facts.NodeModified(
        node=ONE,
        master_candidate=False,
        offline=True,
        drained=False,
        master_capable=True,
        vm_capable=True,
    )
    world.fact(f"node/{ONE}", offline)
    job = world.submit(carry(call("a")))
    world.settle()
    assert world.job(job).status == "error"
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert "offline" in problem.message


def test_locks_are_taken_in_turn(world: World) -> None:
    """The second waits for the first, and says so; a third that conflicts with neither runs."""
    wait = Wait(id="w", timeout_s=10)
    first = world.submit(carry(wait, locks=(Lock("instance/a"),)))
    second = world.submit(carry(wait, locks=(Lock("instance/a"), Lock("instance/b"))))
    behind = world.submit(carry(wait, locks=(Lock("instance/b"),)))
    free = world.submit(carry(wait, locks=(Lock("instance/c"),)))
    world.settle()
    states = [world.job(job).status for job in (first, second, behind, free)]
    assert states == ["running", "waiting", "waiting", "running"]
    assert world.kinds(second) == ["job.submitted", "op.blocked"]
    for _ in range(3):
        world.pass_time(10.0)
        world.settle()
    assert {world.job(job).status for job in (first, second, behind, free)} == {"success"}
    assert world.kinds(behind).count("op.blocked") == 1
    assert not world.state.jobs.locks.held
    assert not world.state.jobs.locks.waiting


def test_the_cap_and_the_order_of_starts() -> None:
    """With room for one, the lower priority number goes first, the oldest first within one."""
    world = World(max_running=1)
    world.lead()
    plan = (Wait(id="w", timeout_s=10),)
    running = world.submit(carry(*plan))
    world.settle()
    normal, urgent, other = (
        world.submit(carry(*plan)),
        world.submit(carry(*plan), priority=-10),
        world.submit(carry(*plan)),
    )
    order = []
    for _ in range(4):
        world.settle()
        order += [job for job in world.state.jobs.open if world.job(job).status == "running"]
        world.pass_time(10.0)
    assert order == [running, urgent, normal, other]


def test_a_failed_opcode_ends_those_after_it(world: World) -> None:
    """Every opcode of the job ends once; those after the failed one never start."""
    job = world.submit(TestDelay(duration=0), Carry(refuse=True), TestDelay(duration=0))
    world.settle()
    assert [op.status for op in world.job(job).ops] == ["success", "error", "error"]
    assert world.kinds(job).count("op.started") == 2


def test_a_bug_in_a_handler_ends_its_opcode_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The opcode fails as internal_error, the trace is in the daemon's log, the next job runs."""
    job = world.submit(Carry(bug=True))
    world.settle()
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert problem.code == "internal_error"
    assert "a bug in a handler" in caplog.text
    assert "Traceback" in caplog.text
    after = world.submit(TestDelay(duration=0))
    world.settle()
    assert world.job(after).status == "success"


def test_a_refusal_after_a_plan_undoes_it(world: World) -> None:
    """The handler refuses when it is asked again; what the first plan did is undone."""
    job = world.submit(carry(call("a"), tag("t", "a"), refuse=True))
    world.settle()
    assert world.job(job).status == "error"
    assert world.agents[ONE].things == set()
    assert world.state.cluster.groups[GROUP].tags == ()


def test_a_fact_that_contradicts_never_reaches_the_log(world: World) -> None:
    """A plan that records nonsense fails as internal_error; what it did before is undone."""
    wrong = facts.TagsAdded(table="group", subject="no-such-group", tags=("x",))
    nonsense = Record(id="t", facts=(fact("group/no-such-group", wrong),), after=("a",))
    job = world.submit(carry(call("a"), nonsense))
    world.settle()
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert problem.code == "internal_error"
    assert world.agents[ONE].things == set()
    assert "tags.added" not in world.kinds(job)


def test_cancel_of_a_queued_job(world: World) -> None:
    """A job that has not started is over in the batch of the request."""
    held = world.submit(carry(Wait(id="w"), locks=(Lock("cluster"),)))
    job = world.submit(carry(call("a"), locks=(Lock("cluster"),)))
    third = world.submit(carry(locks=(Lock("cluster"),)))
    world.settle()
    world.order("cancel", job)
    world.settle()
    assert world.job(job).status == "canceled"
    assert world.kinds(job)[-2:] == ["job.cancel-requested", "op.canceled"]
    world.order("cancel", held)
    world.settle()
    assert world.job(held).status == "canceled"
    assert world.job(third).status == "success"


def test_cancel_while_a_task_runs(world: World) -> None:
    """What runs is withdrawn or drained, then all is undone, and the job is canceled."""
    job = world.submit(carry(call("a"), call("b", TWO, "a")), TestDelay(duration=0))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    world.commit_all()
    ticket = world.order("cancel", job)
    world.settle()
    assert isinstance(world.answers[ticket].outcome, Committed)
    assert [op.status for op in world.job(job).ops] == ["canceled", "canceled"]
    assert world.agents[ONE].things == world.agents[TWO].things == set()


def test_cancel_after_the_point_of_no_return(world: World) -> None:
    """The opcode runs to its end; those after it are canceled."""
    job = world.submit(carry(call("a", final=True)), TestDelay(duration=0))
    world.commit_all()
    world.order("cancel", job)
    world.settle()
    assert [op.status for op in world.job(job).ops] == ["success", "canceled"]
    assert world.agents[ONE].things == {"a"}


def test_dependencies(world: World) -> None:
    """A job waits for those it names, relative ones too; if one ends otherwise, it fails."""
    wait = carry(Wait(id="w", timeout_s=10))
    first, second, third = world.submit_all(
        submit_spec(wait),
        submit_spec(TestDelay(duration=0), depends=(((-1, ()),),)),
        submit_spec(TestDelay(duration=0), depends=(((-2, ("error",)),),)),
    )
    world.settle()
    assert [world.job(job).status for job in (first, second, third)] == [
        "running",
        "queued",
        "queued",
    ]
    world.pass_time(10.0)
    world.settle()
    assert [world.job(job).status for job in (first, second, third)] == [
        "success",
        "success",
        "error",
    ]


def test_two_decisions_that_reserve_do_not_overlap(world: World) -> None:
    """The second plan that reserves is decided only when the first one's is committed."""
    first = Carry(
        plans=(Plan(steps=(Wait(id="w"),), reserves=Reservations(names=("instance/a",))),)
    )
    world.submit(first)
    other = world.submit(first)
    world.commit_one()
    world.commit_one()
    assert len(world.proposals) == 2
    kinds = [[draft.event.KIND for draft in made.batch.drafts] for made in world.proposals]
    assert kinds == [["op.started", "op.planned", "wait.started"], ["op.started"]]
    world.commit_all()
    problem = world.job(other).ops[0].problem
    assert problem is not None, "the name is reserved"
    assert "reserved" in problem.message


def test_a_clash_is_worked_out_anew(world: World) -> None:
    """Somebody else wrote to the job's stream first: nothing is lost, nothing is done twice."""
    job = world.submit(carry(call("a")))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    (proposal,) = world.proposals
    line = OpFeedback(op=0, text="hello")
    world.fact(f"job/{job}", line, job=job)
    world.commit_one()
    assert world.proposals
    assert world.proposals[0].token != proposal.token
    world.settle()
    assert world.job(job).status == "success"
    assert [told.text for told in world.job(job).lines] == ["hello"]
    assert world.kinds(job).count("task.done") == 1


def test_a_submission_with_a_key_makes_its_jobs_once(world: World) -> None:
    """The same key again: the answer names the first jobs, and the numbers stay dense."""
    spec = submit_spec(TestDelay(duration=0))
    world.submit_all(spec, key="k1")
    world.settle()
    world.submit_all(spec, key="k1")
    world.settle()
    bodies = [answer.body for answer in world.answers.values()]
    assert bodies[0] == bodies[1]
    assert world.state.jobs.last_id == 1
    assert world.submit(TestDelay(duration=0)) == 2


def test_wrong_submissions_are_refused_with_a_hint(world: World) -> None:
    """Unknown opcodes and fields, priorities and dependencies that make no sense."""
    wrong = [
        submit_spec(),
        submit_spec(TestDelay(duration=0), priority=20),
        submit_spec(TestDelay(duration=0), depends=(((5, ()),),)),
        submit_spec(TestDelay(duration=0), depends=(((-1, ()),),)),
        submit_spec(TestDelay(duration=0), depends=(((1, ("done",)),),)),
    ]
    for name, body in [("OP_TEST_DELAI", {}), ("OP_TEST_DELAY", {"duration": -1})]:
        data = msgspec.Raw(msgspec.msgpack.encode(body))
        wrong.append(msgspec.structs.replace(submit_spec(), ops=(Packed(name, 1, data),)))
    for spec in wrong:
        with pytest.raises(Refused) as refused:
            world.submit_all(spec)
        assert refused.value.hint
    assert not world.proposals


def test_a_lock_taken_and_given_back_in_one_batch_is_passed_on(world: World) -> None:
    """An urgent job that comes first when the lock is given back, and ends in the batch in which
    it starts, does not make the one that waits for the lock wait for ever."""
    holder = world.submit(carry(Wait(id="w", timeout_s=10), locks=(Lock("a"),)))
    world.settle()
    waiter = world.submit(Carry(locks=(Lock("a"),)))
    urgent = world.submit(Carry(locks=(Lock("a"),)), priority=-1, depends=(((holder, ()),),))
    world.settle()
    assert world.job(waiter).status == "waiting"
    assert world.job(urgent).status == "queued"
    world.pass_time(10.0)
    world.settle()
    assert world.job(urgent).status == "success"
    assert world.job(waiter).status == "success"


def test_many_decisions_that_reserve_are_made_in_a_row(world: World) -> None:
    """Each is asked at most twice: once while another is under way, and once when it may."""
    asked: list[str] = []

    def decide(op: Carry, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
        name = op.locks[0].name
        asked.append(name)
        if so_far:
            return Done()
        return Plan(steps=(), reserves=Reservations(names=(f"instance/{name}",)))

    handler = Handler(opcode=Carry, decide=decide, locks=lambda op, cluster: op.locks)
    world.registry = Registry({}, handlers=(handler,))
    world.lead()
    jobs = [world.submit(Carry(locks=(Lock(f"l{number}"),))) for number in range(10)]
    world.settle()
    assert {world.job(job).status for job in jobs} == {"success"}
    assert not world.state.cluster.reserved
    assert max(asked.count(f"l{number}") for number in range(10)) <= 3  # and once for the end

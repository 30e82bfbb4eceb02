"""A plan goes forward: its steps, their results and what they are batched with."""

from __future__ import annotations

import pytest

from commands.debug_ops.delay import TestDelay
from projections.events.jobs import OpFeedback
from tests.commands.engine.steps import ONE, TWO, call, carry, tag
from tests.commands.engine.world import GROUP, Carry, World, ensure


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

"""A plan goes back: undos, last first, and where a person must decide."""

from __future__ import annotations

import pytest

from eventstore.replica import Committed
from projections.events import configuration as facts
from projections.events.jobs import Lock
from projections.plans import Record, fact
from tests.commands.engine.steps import ONE, TWO, call, carry, tag
from tests.commands.engine.world import GROUP, World, ensure, remove


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

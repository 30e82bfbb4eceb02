"""A job is canceled before it starts, while a task runs, and when it is too late."""

from __future__ import annotations

from commands.debug_ops.delay import TestDelay
from eventstore.replica import Committed
from projections.events.jobs import Lock
from projections.plans import Wait
from tests.commands.engine.steps import ONE, TWO, call, carry
from tests.commands.engine.world import World


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

"""Waits of a plan: for a time, and for a condition of the cluster."""

from __future__ import annotations

from commands.debug_ops.delay import TestDelay
from projections.events import configuration as facts
from projections.plans import Condition, Wait
from tests.commands.engine.steps import ONE, carry
from tests.commands.engine.world import World


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
    problem = world.job(other).ops[0].problem
    assert problem is not None
    assert (problem.code, problem.step) == ("timeout", "w")
    assert problem.message == "node1 was not heard within 10 s"
    assert problem.hint
    world.fact(f"node/{ONE}", facts.NodeReturned(node=ONE))
    world.settle()
    assert world.job(job).status == "success"

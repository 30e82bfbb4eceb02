"""Opcodes that submit other jobs at their end."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.api import JobSpec
from commands.debug_ops import delay
from commands.debug_ops.delay import TestDelay
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode, pack
from commands.registry import Registry
from eventstore.packed import Packed
from projections.cluster import Cluster
from projections.plans import Plan
from tests.commands.engine.world import CARRY, World


class Delegate(Opcode, frozen=True, kw_only=True):
    """Submit these jobs."""

    NAME: ClassVar[str] = "OP_TEST_DELEGATE"
    jobs: tuple[JobSpec, ...] = ()


def _decide(op: Delegate, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    if not so_far:
        return Plan(steps=(), explanation=("they are to be done",))
    return Done({"said": so_far[0].plan.explanation[0]}, jobs=op.jobs)


def made() -> World:
    """Return a world that knows the opcode."""
    handlers = (CARRY, delay.HANDLER, Handler(opcode=Delegate, decide=_decide))
    world = World(registry=Registry({}, handlers=handlers))
    world.lead()
    return world


WAIT = pack(TestDelay(duration=0))


def test_the_jobs_are_there_when_the_opcode_is_over() -> None:
    """One batch: the plan, the jobs, and the result that names them; then they run."""
    world = made()
    job = world.submit(Delegate(jobs=(JobSpec(ops=(WAIT,)), JobSpec(ops=(WAIT, WAIT)))))
    world.settle()
    assert world.job(job).status == "success"
    result = msgspec.msgpack.decode(world.job(job).ops[0].result)
    assert result == {"said": "they are to be done", "jobs": [[True, job + 1], [True, job + 2]]}
    assert [world.job(job + n).status for n in (1, 2)] == ["success", "success"]
    assert world.job(job + 1).actor == world.job(job).actor
    assert world.submit(TestDelay(duration=0)) == job + 3


def test_the_jobs_may_wait_for_each_other() -> None:
    """A negative dependency counts back among them."""
    world = made()
    second = JobSpec(ops=(WAIT,), depends=(((-1, ("success",)),),))
    job = world.submit(Delegate(jobs=(JobSpec(ops=(WAIT,)), second)))
    world.settle()
    assert world.job(job + 2).depends[0][0].job == job + 1
    assert world.job(job + 2).status == "success"


def test_an_opcode_that_there_is_not_fails_it_and_nothing_is_submitted() -> None:
    """What an allocator asks for is looked at like a submission."""
    world = made()
    unknown = Packed("OP_NO_SUCH", 1, WAIT.data)
    job = world.submit(Delegate(jobs=(JobSpec(ops=(WAIT,)), JobSpec(ops=(unknown,)))))
    world.settle()
    assert world.job(job).status == "error"
    problem = world.job(job).ops[0].problem
    assert problem is not None
    assert "no opcode OP_NO_SUCH" in problem.message
    assert world.submit(TestDelay(duration=0)) == job + 1


def test_two_that_submit_at_the_same_time_get_different_numbers() -> None:
    """Their batches are under way together."""
    world = made()
    jobs = [world.submit(Delegate(jobs=(JobSpec(ops=(WAIT,)),) * 3)) for _ in range(3)]
    world.settle()
    submitted = [
        number
        for job in jobs
        for _, number in msgspec.msgpack.decode(world.job(job).ops[0].result)["jobs"]
    ]
    assert len(set(submitted)) == 9
    assert all(world.job(number).status == "success" for number in submitted)

"""What nodes owe after a job is over is done, tried again, or accepted: never forgotten."""

from __future__ import annotations

import pytest

from commands.api import JobOrderReply
from projections.events import configuration as facts
from projections.plans import Call, Plan, Undo
from projections.unsettled import Duty
from tests.commands.engine.world import NODES, Carry, World, ensure, remove

ONE, TWO, _ = NODES


def call(name: str, node: str = ONE, *after: str, timeout_s: float = 300.0) -> Call:
    """A call that makes a thing, and its undo."""
    undo = Undo(call=remove(name), timeout_s=timeout_s)
    return Call(id=name, node=node, call=ensure(name), after=after, undo=undo)


def carry(*steps: Call) -> Carry:
    return Carry(plans=(Plan(steps=steps),))


def owing(world: World) -> int:
    """Return a job that has ended and left one duty to node one, which is lost."""
    job = world.submit(carry(call("a"), call("b", TWO, "a")))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    world.commit_all()
    world.agents[ONE].lame = True
    world.fact(f"node/{ONE}", facts.NodeLost(node=ONE, silent_s=30))
    world.follow()
    world.agents[TWO].act(next(iter(world.agents[TWO].orders)), fail=True)
    world.settle()
    assert world.job(job).status == "error"
    assert the_duty(world).failed == ""
    return job


def back(world: World, *, fail: bool) -> None:
    """Node one returns; what it owes fails there, or does not."""
    world.agents[ONE].lame = False
    world.fact(f"node/{ONE}", facts.NodeReturned(node=ONE))
    world.settle(fail=lambda order: fail)


def the_duty(world: World) -> Duty:
    (owed,) = world.state.cluster.duties.values()
    return owed


def reply(world: World, ticket: int) -> tuple[tuple[int, bool, str], ...]:
    body = world.answers[ticket].body
    assert isinstance(body, JobOrderReply)
    return body.jobs


def test_a_duty_that_fails_stays_with_its_reason(world: World) -> None:
    """It is told once, and nothing is tried again by the clock or by a repeated promise."""
    owing(world)
    back(world, fail=True)
    assert the_duty(world).failed == "told to fail"
    records = len(world.log.stored)
    world.pass_time(3600.0)
    world.promise(ONE)
    world.settle()
    assert len(world.log.stored) == records
    assert world.agents[ONE].things == {"a"}


@pytest.mark.parametrize("how", ["return", "new leader"])
def test_a_failed_duty_is_tried_again_when_its_node_comes_anew(world: World, how: str) -> None:
    """It was lost and returns, or follows a new leader: tried once, however often it promises."""
    owing(world)
    back(world, fail=True)
    if how == "return":
        world.fact(f"node/{ONE}", facts.NodeLost(node=ONE, silent_s=30))
        world.fact(f"node/{ONE}", facts.NodeReturned(node=ONE))
    else:
        world.lead()
    world.promise(ONE)  # repeated before the first try is recorded
    world.settle()
    assert not world.state.cluster.duties
    assert world.agents[ONE].things == set()
    asked = [each.record for each in world.log.stored if each.record.kind == "node.duty-requested"]
    assert [record.actor for record in asked] == ["master"]
    assert not world.agents[ONE].outbox


def test_a_person_lets_a_failed_duty_be_tried_again(world: World) -> None:
    """`gnt-job resolve --retry` of the job that has ended."""
    job = owing(world)
    back(world, fail=True)
    ticket = world.order("resolve", job, how="retry")
    world.settle()
    assert reply(world, ticket) == ((job, True, ""),)
    assert not world.state.cluster.duties
    assert world.agents[ONE].things == set()


@pytest.mark.parametrize("failed", [True, False])
def test_a_person_accepts_what_is(world: World, failed: bool) -> None:
    """`--accept`: the duty is void; if its task still waits in the stream it is withdrawn."""
    job = owing(world)
    if failed:
        back(world, fail=True)
    world.order("resolve", job, how="accept")
    world.settle()
    assert not world.state.cluster.duties
    back(world, fail=False)
    assert world.agents[ONE].things == {"a"}, "nobody has undone it"
    assert not world.agents[ONE].outbox


def test_what_has_not_failed_is_not_tried_twice(world: World) -> None:
    """Neither a person nor a promise makes a second task of one that is still to be done."""
    job = owing(world)
    ticket = world.order("resolve", job, how="retry")
    world.promise(ONE)
    world.settle()
    ((number, done, why),) = reply(world, ticket)
    assert (number, done) == (job, False)
    assert "--accept" in why
    back(world, fail=False)
    assert not world.state.cluster.duties
    assert sum(world.agents[ONE].acted.values()) == 2  # the call, and its undo


def test_a_duty_that_was_withdrawn_before_it_ran_is_asked_for_again(world: World) -> None:
    """The undo had been given up by its time, and then its node was lost."""
    job = world.submit(carry(call("a", timeout_s=5.0), call("b", TWO, "a")))
    world.commit_all()
    world.follow()
    world.agents[ONE].act(next(iter(world.agents[ONE].orders)))
    world.tell(ONE)
    world.commit_all()
    world.agents[ONE].lame = True
    world.follow()
    world.agents[TWO].act(next(iter(world.agents[TWO].orders)), fail=True)
    world.settle()
    world.pass_time(400.0)
    world.settle()
    assert world.kinds(job)[-1] == "task.withdraw-requested"
    world.fact(f"node/{ONE}", facts.NodeLost(node=ONE, silent_s=30))
    world.settle()
    assert world.job(job).status == "error"
    back(world, fail=False)
    assert "task.withdrawn" in world.kinds(job)
    assert not world.state.cluster.duties
    assert world.agents[ONE].things == set()

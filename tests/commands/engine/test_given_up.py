"""Calls that are late, and nodes that are lost or offline: given up, and never forgotten."""

from __future__ import annotations

from projections.events import configuration as facts
from tests.commands.engine.steps import ONE, TWO, call, carry, tag
from tests.commands.engine.world import World


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

"""Which job starts when: locks, the cap, dependencies, and decisions that reserve."""

from __future__ import annotations

from commands.debug_ops.delay import TestDelay
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.registry import Registry
from projections.cluster import Cluster
from projections.events.jobs import Lock
from projections.plans import Plan, Reservations, Wait
from tests.commands.engine.steps import carry
from tests.commands.engine.world import Carry, World, submit_spec


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

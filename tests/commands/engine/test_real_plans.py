"""Opcodes of production through the engine: a failover at every commit changes nothing.

The agents do whatever they are asked and answer nothing; what is checked is which calls they were
asked to make, how often, and what the configuration is in the end.
"""

from __future__ import annotations

from collections import Counter

from commands.instance_ops.create import InstanceCreate
from commands.instance_ops.replace_disks import InstanceReplaceDisks
from commands.opcode import Opcode
from commands.registry import Registry
from projections.events.configuration import DiskStateSeen
from tests.commands.engine.world import NODES, World

CREATE = InstanceCreate(
    instance_name="web1.example.net",
    disk_template="drbd",
    disks=({"size": 1024},),
    os_type="debian",
    pnode="node1",
    snode="node2",
    beparams={"maxmem": 512, "minmem": 512, "vcpus": 1},
    ip_check=False,
    name_check=False,
)
REPLACE = InstanceReplaceDisks(
    instance_name="web1.example.net", mode="replace_new_secondary", remote_node="node3"
)


def run(*ops: Opcode, cut_after: int | None = None, every: bool = False) -> World:
    """Run jobs one after the other; a new leader after the commit of that number, or after all."""
    world = World(registry=Registry())
    world.lead()
    commits = 0
    for op in ops:
        job = world.submit(op)
        for _ in range(300):
            if world.proposals:
                world.commit_one()
                commits += 1
                if every or commits == cut_after:
                    world.lead()
                continue
            world.follow()
            for agent in world.agents.values():
                for task in list(agent.orders):
                    agent.act(task)
                world.tell(agent.uuid)
            if not world.proposals:
                if job not in world.state.jobs.open:
                    break
                _sync(world)
    return world


def _sync(world: World) -> None:
    """Agents observe that disks are in sync."""
    for instance in world.state.cluster.instances.values():
        for disk in instance.disks:
            for node in disk.health:
                seen = DiskStateSeen(instance=instance.uuid, disk=disk.uuid, node=node, state="ok")
                world.fact(f"instance/{instance.uuid}", seen)


def outcome(world: World) -> object:
    """What must not depend on who led: how jobs ended, the calls made, the configuration."""
    calls = {uuid: Counter(agent.things) for uuid, agent in world.agents.items()}
    assert all(count == 1 for agent in world.agents.values() for count in agent.acted.values())
    (instance,) = world.state.cluster.instances.values()
    states = [world.job(job).status for job in range(1, world.state.jobs.last_id + 1)]
    return states, calls, instance, dict(world.state.cluster.names)


def test_a_failover_at_every_commit_changes_nothing() -> None:
    """Creating a mirrored instance and moving its mirror: each call once, the same configuration,
    with one leader, with a new one after any one commit, and with a new one after each."""
    plain = run(CREATE, REPLACE)
    expected = outcome(plain)
    assert expected[0] == ["success", "success"]  # type: ignore[index]
    assert plain.state.cluster.instances
    assert not plain.state.cluster.reserved
    assert outcome(run(CREATE, REPLACE, every=True)) == expected
    for cut_after in range(1, plain.log.commits):
        assert outcome(run(CREATE, REPLACE, cut_after=cut_after)) == expected, cut_after


def test_the_sequential_commits_of_a_mirrored_creation() -> None:
    """From the submission to the end: at most twelve commits, one after the other."""
    world = World(registry=Registry())
    before = world.log.commits
    world = run(CREATE)
    assert world.job(1).status == "success"
    assert world.log.commits - before <= 12, world.kinds(1)


def test_every_node_was_asked_for_something() -> None:
    """The story above is no empty one: calls were made on all three nodes."""
    world = run(CREATE, REPLACE)
    assert all(world.agents[uuid].acted for uuid in NODES)

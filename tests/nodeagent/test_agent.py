"""A real agent process against a leader with real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nodeagent import calls
from tests.nodeagent.fake_leader import FakeLeader
from tests.nodeagent.specs import drbd_disk, instance, plain_disk, volume

pytestmark = pytest.mark.acceptance


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[FakeLeader]:
    found = FakeLeader(tmp_path)
    yield found
    found.close()


def test_an_invited_agent_joins_and_carries_out_a_task(leader: FakeLeader) -> None:
    """An agent that is handed a ticket joins, promises, and its first task is done once."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    result = leader.do(agent, calls.EnsureVolume(volume=volume(), owner="d1"))
    assert result.failed is None
    assert agent.effects() == {"create-volume xenvg/d1.data": 1}
    assert not (agent.directory / "ticket.json").exists()


def test_an_instance_is_installed_started_and_stopped(leader: FakeLeader) -> None:
    """The calls of a plain `instance add` work in their order, through the real OS scripts."""
    agent = leader.add_agent("node1")
    disk = plain_disk()
    spec = instance(disk)
    assert leader.do(agent, calls.EnsureVolume(volume=disk.volume, owner="d1")).failed is None
    active = leader.do(agent, calls.EnsureActive(disk=disk, primary=True))
    assert active.failed is None
    device = msgspec.msgpack.decode(active.done, type=calls.Device)
    installed = leader.do(agent, calls.InstallOs(instance=spec))
    assert installed.failed is None, installed.failed
    content = Path(device.path).read_bytes()
    assert b"os=debian\nvariant=default\nhostname=i1.example.net\n" in content
    started = leader.do(agent, calls.EnsureRunning(instance=spec))
    assert started.failed is None
    assert msgspec.msgpack.decode(started.done, type=calls.RunState).state == "running"
    leader.until(lambda: bool(leader.statuses[agent.uuid].instances))
    seen = leader.statuses[agent.uuid].instances[0]
    assert (seen.uuid, seen.state, seen.memory_mib) == ("i1", "running", 512)
    stop = calls.EnsureStopped(instance="i1", name=spec.name, hypervisor="kvm")
    assert leader.do(agent, stop).failed is None
    leader.until(lambda: not leader.statuses[agent.uuid].instances)
    effects = agent.effects()
    assert effects["start-guest i1"] == effects["stop-guest i1"] == 1
    assert effects["down-interface simi1-nic"] == 1


def test_a_mirror_is_made_broken_and_replaced(leader: FakeLeader) -> None:
    """A fresh mirror is ok on both sides, a broken side is seen, a new one is synced."""
    one, two = leader.add_agent("node1"), leader.add_agent("node2")
    sides = {one: drbd_disk(two.uuid), two: drbd_disk(one.uuid)}
    for agent, disk in sides.items():
        for part in (disk.volume, disk.meta):
            assert part is not None
            assert leader.do(agent, calls.EnsureVolume(volume=part, owner="d1")).failed is None
    for agent, disk in sides.items():
        assert leader.do(agent, calls.EnsureReplicated(disk=disk, fresh=True)).failed is None
    assert leader.do(one, calls.EnsureActive(disk=sides[one], primary=True)).failed is None
    leader.until(lambda: {d.state for a in sides for d in leader.statuses[a.uuid].disks} == {"ok"})

    two.control.order("break-disk", disk="d1")
    leader.until(lambda: _states(leader)[-2:] in (["faulty", "degraded"], ["degraded", "faulty"]))

    new = drbd_disk(one.uuid, part=".new")
    for part in (new.volume, new.meta):
        assert part is not None
        assert leader.do(two, calls.EnsureVolume(volume=part, owner="d1")).failed is None
    assert leader.do(two, calls.EnsureReplicated(disk=new)).failed is None
    old = sides[two].volume
    assert leader.do(two, calls.RemoveVolume(volume=old, owner="d1")).failed is None
    leader.until(lambda: _states(leader)[-2:] == ["ok", "ok"])
    assert two.effects()["sync-mirror d1"] == 1


def _states(leader: FakeLeader) -> list[str]:
    return [seen.state for seen in leader.observed.values()]

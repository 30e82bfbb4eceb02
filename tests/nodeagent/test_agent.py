"""A real agent process against a leader with real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.access.keys import new_curve_keys
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


@pytest.mark.parametrize("point", ["accepted", "acting", "acted", "journaled", "sent", "settled"])
def test_an_agent_killed_anywhere_does_each_thing_once(leader: FakeLeader, point: str) -> None:
    """SIGKILL at any point of a task's path: after a restart it is done, once, and no result is
    lost."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    agent.control.order("die", point=point)
    task = leader.request(agent, calls.EnsureVolume(volume=volume(), owner="d1"))
    assert leader.until_dead(agent) == -9
    agent.start()
    assert leader.end_of(task).failed is None
    second = leader.do(agent, calls.EnsureVolume(volume=volume("xenvg/other"), owner="d2"))
    assert second.failed is None
    effects = {key: times for key, times in agent.effects().items() if "volume" in key}
    assert effects == {"create-volume xenvg/d1.data": 1, "create-volume xenvg/other": 1}


def test_results_wait_for_a_leader_that_does_not_listen(leader: FakeLeader) -> None:
    """A result that nobody took is sent again, also by the next process; it ends the task once."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    leader.deaf = True
    task = leader.request(agent, calls.EnsureVolume(volume=volume(), owner="d1"))
    leader.until(lambda: "create-volume xenvg/d1.data" in agent.effects())
    agent.restart()
    leader.deaf = False
    assert leader.end_of(task).failed is None
    assert agent.effects() == {"create-volume xenvg/d1.data": 1}


def test_a_new_reign_is_promised_and_told_what_is_open(leader: FakeLeader) -> None:
    """The promise to a new leader names the task that runs."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    agent.control.order("hang", call="probe")
    task = leader.request(agent, calls.Probe())
    leader.until(lambda: agent.control.order("state")["syncs"] >= 2)
    leader.new_reign()
    leader.until_promised(agent)
    assert leader.promises[-1].unfinished == (task,)


def test_a_call_that_takes_too_long_is_stopped(leader: FakeLeader) -> None:
    """It fails with `timeout` and says what was done; the resource is free again."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    agent.control.order("hang", call="ensure-volume")
    call = calls.EnsureVolume(volume=volume(), owner="d1")
    failed = leader.do(agent, call, timeout_s=0.2, resource="disk/d1").failed
    assert failed is not None
    assert (failed.code, failed.retry) == ("timeout", True)
    assert "nothing was done" in failed.message
    assert leader.do(agent, call, resource="disk/d1").failed is None


def test_a_running_call_is_withdrawn(leader: FakeLeader) -> None:
    """The answer is `running`, then it ends as `stopped`; what waits behind it never ran."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    agent.control.order("hang", call="ensure-volume")
    call = calls.EnsureVolume(volume=volume(), owner="d1")
    first = leader.request(agent, call, resource="disk/d1")
    second = leader.request(agent, call, resource="disk/d1")
    leader.until(lambda: agent.control.order("state")["syncs"] >= 2)
    leader.withdraw(agent, second)
    assert leader.end_of(second).withdrawn
    leader.withdraw(agent, first)
    failed = leader.end_of(first).failed
    assert failed is not None
    assert failed.code == "stopped"
    assert leader.runs == [first]
    assert agent.effects() == {}


def test_a_failing_script_shows_its_output(leader: FakeLeader) -> None:
    """An OS that is not there is refused with those that are; a failure bears the output."""
    agent = leader.add_agent("node1")
    disk = plain_disk()
    unknown = leader.do(agent, calls.InstallOs(instance=instance(os="plan9"))).failed
    assert unknown is not None
    assert unknown.code == "unknown_entity"
    assert "debian, redhat" in unknown.hint
    failed = leader.do(agent, calls.InstallOs(instance=instance())).failed
    assert failed is not None
    assert (failed.code, failed.exit_status) == ("environment_error", 1)
    assert "has no disk to install on" in failed.output
    inactive = leader.do(agent, calls.InstallOs(instance=instance(disk))).failed
    assert inactive is not None
    assert inactive.code == "wrong_state"


def test_a_guest_that_crashes_is_observed_once(leader: FakeLeader) -> None:
    """The crash becomes an observation, and a restart of the agent does not repeat it."""
    agent = leader.add_agent("node1")
    assert leader.do(agent, calls.EnsureRunning(instance=instance())).failed is None
    agent.control.order("end-guest", instance="i1", how="crashed")
    leader.until(lambda: bool(leader.observed))
    agent.restart()
    leader.until(lambda: len({p.node for p in leader.promises}) == 1 and len(leader.promises) == 2)
    assert leader.do(agent, calls.EnsureRunning(instance=instance())).failed is None
    leader.until(lambda: len(leader.observed) == 2)
    found = [(seen.serial, seen.state) for seen in leader.observed.values()]
    assert found == [(1, "crashed"), (2, "running")]


def test_a_node_tells_which_os_definitions_it_has(leader: FakeLeader) -> None:
    """With their variants, in its status."""
    agent = leader.add_agent("node1")
    leader.until(lambda: agent.uuid in leader.statuses)
    found = {each.name: each for each in leader.statuses[agent.uuid].os or ()}
    assert sorted(found) == ["debian", "redhat"]
    assert "default" in found["debian"].variants
    assert not found["debian"].problem


def test_a_node_learns_the_volume_group_and_remembers_it(leader: FakeLeader) -> None:
    """What the leader says of it last holds, also after a restart; saying nothing changes it
    not."""
    agent = leader.add_agent("node1", status_s=3600.0)
    leader.until(lambda: agent.uuid in leader.statuses)
    identity = agent.directory / "identity.json"

    def group() -> str:
        return str(msgspec.json.decode(identity.read_bytes()).get("volume_group", ""))

    assert group() == ""
    for told in ("ssd", ""):
        leader.told = calls.StatusReply(volume_group=told)
        agent.kill()
        agent.start()
        leader.until(lambda told=told: group() == told)  # type: ignore[misc]  # mypy: its default
    leader.told = calls.StatusReply()
    agent.kill()
    agent.start()
    leader.statuses.clear()
    leader.until(lambda: agent.uuid in leader.statuses)
    assert group() == ""


def test_a_node_leaves_and_can_be_invited_again(leader: FakeLeader) -> None:
    """After `leave-cluster` the agent forgets the cluster, keeps its key and takes a new ticket."""
    agent = leader.add_agent("node1")
    key = None
    leader.until_promised(agent)
    key = (agent.directory / "agent.key").read_text()
    assert leader.do(agent, calls.LeaveCluster()).failed is None
    leader.until(lambda: not (agent.directory / "identity.json").exists())
    before = len(leader.promises)
    agent.uuid = "uuid-again"
    leader.invite(agent)
    leader.until(lambda: len(leader.promises) > before)
    assert leader.promises[-1].node == "uuid-again"
    assert (agent.directory / "agent.key").read_text() == key
    assert leader.do(agent, calls.Probe()).failed is None


def test_a_live_migration_between_two_agents(leader: FakeLeader) -> None:
    """The guest ends up on the target alone; the person who waits hears how far it is."""
    slow = {"simulated": {"migration_mib_s": 400.0}}
    one, two = leader.add_agent("node1", **slow), leader.add_agent("node2", **slow)
    assert leader.do(one, calls.EnsureRunning(instance=instance())).failed is None
    moved = instance(generation=2)
    assert leader.do(one, calls.DescribeRunning(instance=moved)).failed is None
    assert leader.do(two, calls.PrepareMigration(instance=moved)).failed is None
    task = leader.request(
        one, calls.Migrate(instance=moved, target=two.uuid, target_address="127.0.0.1")
    )
    assert leader.end_of(task).failed is None
    for agent in (one, two):
        finish = calls.FinishMigration(
            instance=moved, source=one.uuid, target=two.uuid, succeeded=True
        )
        assert leader.do(agent, finish).failed is None
    leader.until(lambda: not leader.statuses[one.uuid].instances)
    leader.until(lambda: bool(leader.statuses[two.uuid].instances))
    assert leader.statuses[two.uuid].instances[0].generation == 2
    assert one.effects()["send-guest i1"] == two.effects()["receive-guest i1"] == 1
    lines = [line for line in leader.feedback if line.task == task]
    assert 1 <= len(lines) <= 3
    assert "live migration of i1.example.net" in lines[0].text


def test_hot_plug_reaches_the_guest_and_its_node(leader: FakeLeader) -> None:
    """A disk must be active; an interface is there before its NIC, and goes after it."""
    agent = leader.add_agent("node1")
    disk = plain_disk("d9")
    bare = instance()
    more = msgspec.structs.replace(
        bare,
        disks=(disk,),
        nics=(*bare.nics, calls.NicSpec(uuid="n9", index=1, mac="aa:00:00:00:00:09", link="br0")),
    )
    assert leader.do(agent, calls.EnsureRunning(instance=bare)).failed is None
    early = leader.do(agent, calls.PlugDisk(instance=more, disk="d9")).failed
    assert early is not None
    assert early.code == "wrong_state"
    for call in (
        calls.EnsureVolume(volume=disk.volume, owner="d9"),
        calls.EnsureActive(disk=disk, primary=True),
        calls.PlugDisk(instance=more, disk="d9"),
        calls.PlugNic(instance=more, nic="n9"),
        calls.SetVcpus(instance="i1", hypervisor="kvm", vcpus=3),
        calls.UnplugDisk(instance="i1", hypervisor="kvm", disk="d9"),
        calls.EnsureInactive(disk=disk),
        calls.UnplugNic(instance="i1", hypervisor="kvm", nic="n9"),
    ):
        assert leader.do(agent, call).failed is None, call
    effects = agent.effects()
    for what in ("plug-disk d9", "plug-nic n9", "set-vcpus i1", "unplug-disk d9", "unplug-nic n9",
                 "up-interface n9"):  # fmt: skip
        assert effects[what] == 1, what
    stranger = leader.do(agent, calls.PlugNic(instance=more, nic="n10")).failed
    assert stranger is not None
    assert stranger.code == "wrong_input"


def test_an_agent_ends_cleanly_and_leaves_no_files_behind(leader: FakeLeader) -> None:
    """On SIGTERM it exits with 0; socket and pid file are gone; a second one is refused."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    first, agent.process = agent.process, None
    agent.start()
    assert leader.until_dead(agent) == 1
    agent.process = first
    assert first is not None
    first.terminate()
    assert leader.until_dead(agent) == 0
    assert not (agent.directory / "control.sock").exists()
    assert not (agent.directory / "agent.pid").exists()


def test_an_agent_that_died_while_it_joined_is_a_member(leader: FakeLeader) -> None:
    """Its ticket is used up, but its own key was admitted: it finds that out by itself."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    used = new_curve_keys()
    ticket = calls.Ticket(
        cluster_id=leader.replica.cluster_id, node=agent.uuid, name="node1",
        secret_key=used.secret, public_key=used.public, voters=(leader.address(),),
    )  # fmt: skip
    agent.kill()
    (agent.directory / "identity.json").unlink()
    (agent.directory / "ticket.json").write_bytes(msgspec.json.encode(ticket))
    before = len(leader.promises)
    agent.start()
    leader.until(lambda: len(leader.promises) > before)
    assert not (agent.directory / "ticket.json").exists()
    assert leader.do(agent, calls.Probe()).failed is None


def test_a_member_learns_from_a_ticket_where_its_voters_are(leader: FakeLeader) -> None:
    """With addresses at which nobody listens it is helped by a ticket of its own cluster; one of
    another cluster is put aside."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    agent.kill()
    path = agent.directory / "identity.json"
    identity = msgspec.json.decode(path.read_bytes())
    for key in ("requests", "publications"):
        identity["voters"][0][key] = "tcp://127.0.0.1:1"
    path.write_bytes(msgspec.json.encode(identity))
    before = len(leader.promises)
    agent.start()
    leader.invite(agent)
    leader.until(lambda: len(leader.promises) > before)
    stranger = calls.Ticket(
        cluster_id="another", node=agent.uuid, name="node1", secret_key="", public_key="",
        voters=(),
    )  # fmt: skip
    (agent.directory / "ticket.json").write_bytes(msgspec.json.encode(stranger))
    leader.until((agent.directory / "ticket.json.refused").exists)
    assert leader.do(agent, calls.Probe()).failed is None


def test_bad_orders_and_tickets_do_no_harm(leader: FakeLeader) -> None:
    """What is no order is answered with an error, what is no ticket is put aside."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    for order in ({"do": "explode"}, {"do": "break-disk", "disk": "none"}, {"what": 1}):
        assert "error" in agent.control.send(msgspec.json.encode(order))
    assert "error" in agent.control.send(b"\xff not json")
    (agent.directory / "ticket.json").write_text("{")
    leader.until((agent.directory / "ticket.json.bad").exists)
    assert leader.do(agent, calls.Probe()).failed is None


def test_a_revoked_agent_goes_on_trying_and_takes_a_new_ticket(leader: FakeLeader) -> None:
    """A node whose key is revoked acts no more; invited again it is a new member."""
    agent = leader.add_agent("node1")
    leader.until_promised(agent)
    leader.revoke(agent)
    leader.until(lambda: "no voter lets me in" in (agent.directory / "agent.log").read_text())
    before = len(leader.promises)
    agent.uuid = "uuid-again"
    leader.invite(agent)
    leader.until(lambda: len(leader.promises) > before, "the new member promises")
    assert leader.promises[-1].node == "uuid-again"
    assert leader.do(agent, calls.Probe()).failed is None

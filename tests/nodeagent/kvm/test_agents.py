"""Two real agents with real drivers: guests of QEMU on a shared disk, seen by a leader."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nodeagent import calls
from nodeagent.calls import DiskSpec, InstanceSpec, VolumeSpec
from nodeagent.hypervisor.kvm.records import Place
from tests.nodeagent.fake_leader import AgentProcess, FakeLeader
from tests.nodeagent.kvm.real_node import HVPARAMS, loopback
from tests.nodeagent.kvm.tiny import Console, boots, make_disk
from tests.nodeagent.specs import GUEST, instance

pytestmark = pytest.mark.acceptance
MIB = 1 << 20


class Site:
    """A leader, two agents, and the directory in which their shared disks are."""

    def __init__(self, home: Path, run: Path) -> None:
        self.leader = FakeLeader(home)
        self.shared, self.run = home / "shared", run
        self.shared.mkdir()
        self.one, self.two = (self._agent(number) for number in (1, 2))

    def _agent(self, number: int) -> AgentProcess:
        return self.leader.add_agent(
            f"node{number}",
            drivers="real",
            file_path=[],
            shared_file_path=[str(self.shared)],
            run_directory=str(self.run / f"run{number}"),
            kvm={
                "run_directory": str(self.run / str(number)),
                "state_directory": str(self.leader.directory / f"state{number}"),
                "accelerator": "tcg",
            },
        )

    def disk(self) -> DiskSpec:
        """The guest's disk, a file that both nodes see."""
        path = str(self.shared / GUEST / "disk0")
        volume = VolumeSpec(name=path, kind="sharedfile", size_mib=1)
        return DiskSpec(
            uuid="d1", instance=GUEST, index=0, template="sharedfile", size_mib=1, volume=volume
        )

    def guest(self, generation: int = 1) -> InstanceSpec:
        """The guest."""
        spec = instance(self.disk(), uuid=GUEST, generation=generation, memory_mib=128)
        return msgspec.structs.replace(spec, nics=(), hvparams=dict(HVPARAMS))

    def done(self, agent: AgentProcess, call: calls.Call) -> calls.TaskResult:
        """Have a call carried out; it must succeed."""
        result = self.leader.do(agent, call)
        assert result.failed is None, result.failed
        return result

    def start(self) -> None:
        """Make the disk, put the guest on it, and run it on the first node."""
        disk = self.disk()
        self.done(self.one, calls.EnsureVolume(volume=disk.volume, owner=disk.uuid))
        image = self.leader.directory / "tiny"
        make_disk(image)
        Path(disk.volume.name).write_bytes(image.read_bytes())
        self.done(self.one, calls.EnsureActive(disk=disk, primary=True))
        self.done(self.one, calls.EnsureRunning(instance=self.guest()))

    def console(self, number: int) -> Console:
        """The guest's console on a node."""
        return Console(Place(self.run / str(number), GUEST).serial)

    def process(self, number: int) -> int:
        """The guest's QEMU on a node."""
        return int(Place(self.run / str(number), GUEST).pid_file.read_text())

    def seen(self, agent: AgentProcess) -> list[tuple[str, int]]:
        """The guests that a node last said it has: their states and generations."""
        status = self.leader.statuses.get(agent.uuid)
        return [] if status is None else [(g.state, g.generation) for g in status.instances]

    def close(self) -> None:
        """End guests and agents."""
        for agent, number in ((self.one, 1), (self.two, 2)):
            agent.kill()
            pid_file = Place(self.run / str(number), GUEST).pid_file
            if pid_file.exists():
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        self.leader.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    run = Path(tempfile.mkdtemp(prefix="agents-"))
    made = Site(tmp_path, run)
    yield made
    made.close()
    shutil.rmtree(run)


def test_a_guest_that_dies_is_observed_at_once(site: Site) -> None:
    """Its end becomes an observation long before the agent would have looked."""
    site.start()
    with site.console(1) as console:
        console.tick()
    began = time.monotonic()
    os.kill(site.process(1), signal.SIGKILL)
    site.leader.until(lambda: bool(site.leader.observed))
    took_s = time.monotonic() - began
    (observed,) = site.leader.observed.values()
    assert isinstance(observed, calls.InstanceObserved)
    assert (observed.instance, observed.state) == (GUEST, "crashed")
    assert took_s < 1.0
    site.done(site.one, calls.EnsureRunning(instance=site.guest()))
    site.leader.until(lambda: site.seen(site.one) == [("running", 1)])


def test_a_guest_outlives_its_agent(site: Site) -> None:
    """Killed in the middle of everything and started again, the agent has the same guest."""
    site.start()
    process = site.process(1)
    with site.console(1) as console:
        before = console.tick()
        site.one.restart()
        site.leader.statuses.clear()
        site.leader.until(lambda: site.seen(site.one) == [("running", 1)])
        assert console.tick() > before
    assert site.process(1) == process
    site.done(
        site.one,
        calls.EnsureStopped(instance=GUEST, name="guest", hypervisor="kvm", grace_s=20),
    )
    site.leader.until(lambda: site.seen(site.one) == [])
    assert not site.leader.observed, "an ordered stop is no news"


def test_a_live_migration_between_two_agents(site: Site) -> None:
    """The guest counts on where it was sent, and its disk is used there alone."""
    site.start()
    with site.console(1) as console:
        before = console.tick()
    moved, disk = site.guest(generation=2), site.disk()
    described = site.done(site.one, calls.DescribeRunning(instance=moved))
    running = msgspec.msgpack.decode(described.done, type=calls.RunningGuest)
    site.done(site.two, calls.EnsureActive(disk=disk, primary=True))
    site.done(
        site.two,
        calls.PrepareMigration(instance=moved, address=loopback(2), running=running.description),
    )
    sent = calls.Migrate(instance=moved, target=site.two.uuid, target_address=loopback(2))
    site.done(site.one, sent)
    for agent in (site.two, site.one):
        finish = calls.FinishMigration(
            instance=moved, source=site.one.uuid, target=site.two.uuid, succeeded=True
        )
        site.done(agent, finish)
    site.leader.until(lambda: site.seen(site.one) == [])
    site.leader.until(lambda: site.seen(site.two) == [("running", 2)])
    with site.console(2) as console:
        assert console.tick() > before
    assert boots(Path(disk.volume.name)) == 1
    site.done(site.one, calls.EnsureInactive(disk=disk))
    refused = site.leader.do(site.two, calls.EnsureInactive(disk=disk)).failed
    assert refused is not None
    assert refused.code == "wrong_state"
    assert not site.leader.observed

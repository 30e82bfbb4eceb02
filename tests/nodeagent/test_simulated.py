"""The simulated drivers keep the contracts, and what only they have: failures on order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodeagent.calls import EnsureVolume, RemoveVolume, VolumeSpec
from nodeagent.errors import NoSuchThing, StateMismatch, Stopped
from nodeagent.simulated.faults import Faults, InjectedFault
from nodeagent.simulated.lab import Lab
from nodeagent.simulated.network import SimulatedNetwork
from nodeagent.simulated.strays import SimulatedGroup
from nodeagent.simulated.volumes import SimulatedVolumes
from nodeagent.task_scope import TaskScope
from tests.nodeagent import contract_hypervisor as hypervisor_contract
from tests.nodeagent import contract_mirrors as mirror_contract
from tests.nodeagent.contract_hypervisor import HypervisorContract, run, running
from tests.nodeagent.contract_mirrors import MirrorContract, Until
from tests.nodeagent.contract_network import AddressContract, NetworkContract
from tests.nodeagent.contract_volumes import VolumeContract
from tests.nodeagent.simulated_lab import Clock, LabNode
from tests.nodeagent.specs import GUEST, drbd_disk, instance, plain_disk, volume

Pair = tuple[LabNode, LabNode]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(tmp_path: Path, clock: Clock) -> Iterator[Pair]:
    nodes = LabNode(tmp_path, "node1", clock), LabNode(tmp_path, "node2", clock)
    yield nodes
    for node in nodes:
        node.lab.release()


class TestSimulatedVolumes(VolumeContract):
    """A pool of a volume group."""

    @pytest.fixture(params=["lvm", "file", "sharedfile"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def name(self, kind: str) -> str:
        return "xenvg/d1.data" if kind == "lvm" else "/srv/ganeti/file-storage/i1/disk0"

    @pytest.fixture
    def driver(self, tmp_path: Path, kind: str) -> SimulatedVolumes:
        return SimulatedVolumes(
            tmp_path / "pool", tmp_path / "pool.json", kinds=(kind,), total_mib=10_240
        )


def test_a_volume_group_that_there_is_not_takes_no_volume(tmp_path: Path) -> None:
    """There are the cluster's group and those in which somebody has made a volume; before the node
    knows the cluster's, any will do."""
    group = SimulatedGroup(
        tmp_path / "pool", tmp_path / "pool.json", kinds=("lvm",), total_mib=10_240
    )

    def ensure(name: str) -> None:
        group.ensure(VolumeSpec(name=name, kind="lvm", size_mib=8), owner="disk", scope=TaskScope())

    ensure("early/a")
    group.use_group("xenvg")
    group.plant("other/theirs", size_mib=8)
    for there in ("xenvg/a", "other/a", "early/b", "early/a"):
        ensure(there)
    with pytest.raises(NoSuchThing, match="no volume group nope"):
        ensure("nope/a")
    assert [volume.name for volume in group.volumes()] == [
        "early/a", "early/b", "other/a", "other/theirs", "xenvg/a",
    ]  # fmt: skip


class TestSimulatedMirrors(MirrorContract):
    """Two nodes whose agents live."""

    @pytest.fixture
    def passing(self, clock: Clock, pair: Pair) -> Callable[[float], None]:
        def let_pass(seconds: float) -> None:
            clock.now += seconds
            for node in pair:
                node.disks.seen()

        return let_pass

    @pytest.fixture
    def until(self, passing: Callable[[float], None]) -> Until:
        def let_pass(condition: Callable[[], bool]) -> None:
            for _ in range(200):
                if condition():
                    return
                passing(0.1)
            assert condition()

        return let_pass

    def test_a_broken_side_is_faulty_and_its_peer_degraded(
        self, mirror: Pair, passing: Callable[[float], None]
    ) -> None:
        """Repaired, it lacks what was written meanwhile, and gets it."""
        one, two = mirror
        two.volumes.break_disk("d1")
        two.disks.seen()
        assert (one.state(), two.state()) == ("degraded", "faulty")
        two.volumes.break_disk("d1", broken=False)
        passing(0.0)
        assert two.state() == "syncing"
        passing(1024 / 100)
        assert (one.state(), two.state()) == ("ok", "ok")

    def test_a_dead_agent_is_a_node_without_power(self, mirror: Pair) -> None:
        """The mirror of its peer is degraded, and may become primary there."""
        one, two = mirror
        one.lab.release()
        assert two.state() == "degraded"
        mirror_contract.activate(two, one, primary=True)
        one.lab.claim()
        assert two.state() == "degraded"  # both are primary: split brain

    def test_the_state_survives_the_process(self, mirror: Pair, clock: Clock) -> None:
        """A new process finds mirrors, roles and data as they were."""
        one, _ = mirror
        one.lab.release()
        again = LabNode(one.lab.root, "node1", clock)
        assert again.disks.seen()[0].role == "primary"
        assert again.state() == "ok"
        again.lab.release()

    def test_power_that_was_cut_takes_mirrors_and_guests_down(self, mirror: Pair) -> None:
        """Data stay, what is only in memory goes, and the node has another boot id."""
        one, _ = mirror
        run(one, instance(drbd_disk("uuid-node2")))
        (one.lab.home / "power-cut").touch()
        lab = Lab(one.lab.root, "node1")
        assert lab.power_was_cut
        assert lab.boot_id != one.lab.boot_id
        for part in (one.volumes, one.mirrors, one.hypervisor):
            part.lose_power()
        assert one.state() == "inactive"
        assert one.hypervisor.seen() == ()
        assert len(one.disks.volumes()) == 2


class TestSimulatedHypervisor(HypervisorContract):
    """Two nodes whose agents live."""

    def test_a_guest_that_ends_by_itself_is_remembered(self, pair: Pair) -> None:
        """It is seen as crashed or user-down, uses no disk, and can be started again."""
        hypervisor = pair[0].hypervisor
        run(pair[0])
        hypervisor.end_guest(GUEST, "user-down")
        assert [guest.state for guest in hypervisor.seen()] == ["user-down"]
        assert not hypervisor.uses_disk("d1")
        run(pair[0])
        assert running(pair[0]) == [(GUEST, 1)]
        hypervisor_contract.stop(pair[0])
        with pytest.raises(NoSuchThing):
            hypervisor.end_guest(GUEST, "crashed")

    def test_a_stubborn_guest_is_forced_after_its_grace(self, pair: Pair) -> None:
        """Without force the call takes the grace; stopped before that, the guest still runs."""
        hypervisor = pair[0].hypervisor
        run(pair[0])
        hypervisor.set_stubborn(GUEST)
        scope = TaskScope()
        scope.stop("timeout", "too late")
        with pytest.raises(Stopped, match="still runs"):
            hypervisor.ensure_stopped(GUEST, grace_s=60, force=False, scope=scope)
        assert running(pair[0]) == [(GUEST, 1)]
        hypervisor.ensure_stopped(GUEST, grace_s=0, force=False, scope=TaskScope())
        assert running(pair[0]) == []

    def test_a_volume_in_use_is_not_removed(self, pair: Pair) -> None:
        """As long as a guest runs on it."""
        node, disk = pair[0], plain_disk()
        node.disks.ensure_volume(EnsureVolume(volume=disk.volume, owner="d1"), TaskScope())
        node.volumes.activate(disk.volume)
        run(node, instance(disk))
        with pytest.raises(StateMismatch, match="in use"):
            node.disks.remove_volume(_remove(disk.volume.name), TaskScope())
        hypervisor_contract.stop(node, "i1")
        node.disks.remove_volume(_remove(disk.volume.name), TaskScope())
        assert node.disks.volumes() == ()


def test_shared_volumes_are_seen_by_both(tmp_path: Path) -> None:
    """Two drivers on one shared directory see one volume."""
    one, two = (
        SimulatedVolumes(
            tmp_path / "shared", tmp_path / "shared.json", kinds=("sharedfile",),
            total_mib=4096, shared=True,
        )
        for _ in range(2)
    )  # fmt: skip
    one.ensure(volume("s", 1024, "sharedfile"), owner="d1", scope=TaskScope())
    assert [found.owner for found in two.volumes()] == ["d1"]
    two.ensure(volume("s", 1024, "sharedfile"), owner="d1", scope=TaskScope())
    assert one.effects() == {"create-volume s": 1}


class TestSimulatedNetwork(NetworkContract):
    """A node with one bridge."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> SimulatedNetwork:
        return SimulatedNetwork(Lab(tmp_path, "node1"), links=("br0",))

    @pytest.fixture
    def interfaces(self, driver: SimulatedNetwork) -> Callable[[], tuple[str, ...]]:
        return lambda: driver.interfaces("i1")


class TestSimulatedAddresses(AddressContract):
    """Two machines of one lab."""

    @pytest.fixture
    def driver(self, pair: Pair) -> SimulatedNetwork:
        return SimulatedNetwork(pair[0].lab, links=("br0",))

    @pytest.fixture
    def other(self, pair: Pair) -> SimulatedNetwork:
        return SimulatedNetwork(pair[1].lab, links=("br0",))


def test_a_node_without_power_answers_for_no_address(pair: Pair) -> None:
    """What it held is not found by who takes it, and is gone when it is back."""
    one, two = (SimulatedNetwork(node.lab, links=()) for node in pair)
    two.ensure_address("192.0.2.9", prefix=24, device="br0")
    pair[1].lab.release()
    assert one.ensure_address("192.0.2.9", prefix=24, device="br0") == ()
    two.lose_power()
    assert not two.holds("192.0.2.9")


def test_ordered_failures_happen_as_often_as_ordered(tmp_path: Path) -> None:
    """Twice means twice, also over a restart; `after` comes when the call has acted."""
    Faults(tmp_path / "faults.json").order("fail", "ensure-volume", 2)
    faults = Faults(tmp_path / "faults.json")
    for _ in range(2):
        with pytest.raises(InjectedFault):
            faults.before("ensure-volume", TaskScope())
    faults.before("ensure-volume", TaskScope())
    faults.order("after", "*", 1)
    faults.before("ensure-active", TaskScope())
    with pytest.raises(InjectedFault):
        faults.after("ensure-active")
    faults.after("ensure-active")


def test_a_hanging_call_ends_when_it_is_stopped(tmp_path: Path) -> None:
    """It says that nothing was done."""
    faults, scope = Faults(tmp_path / "faults.json"), TaskScope()
    faults.order("hang", "migrate", 1)
    scope.stop("stopped", "withdrawn")
    with pytest.raises(Stopped, match="nothing was done"):
        faults.before("migrate", scope)


def _remove(name: str) -> RemoveVolume:
    return RemoveVolume(volume=volume(name), owner="d1")

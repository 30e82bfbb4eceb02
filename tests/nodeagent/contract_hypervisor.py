"""What every hypervisor driver promises. A driver's tests subclass this, with the fixtures."""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest

from nodeagent.calls import Device, InstanceSpec, MigrationTarget, RunState
from nodeagent.errors import NodeAgentError, NoRoom, NoSuchThing, StateMismatch
from nodeagent.hypervisor.contract import Hypervisor
from nodeagent.task_scope import TaskScope
from tests.nodeagent.specs import GUEST


class Node(Protocol):
    """A node with a driver. Both of a pair reach the same disk."""

    @property
    def uuid(self) -> str:
        """Its uuid."""

    @property
    def address(self) -> str:
        """Where it receives guests."""

    @property
    def hypervisor(self) -> Hypervisor:
        """The driver."""

    def guest(self, *, generation: int = 1, memory_mib: int = 512) -> InstanceSpec:
        """Return instance `GUEST` with disk d1, such as this driver can run it."""

    def devices(self) -> tuple[Device, ...]:
        """Return where the disk is."""

    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces of the guest's NICs."""

    def more(self) -> tuple[InstanceSpec, Device]:
        """Return the instance with a second disk, d2, and where that is."""

    def await_boot(self) -> None:
        """Wait until the guest's system is there, without which nothing can be unplugged."""

    def reboots(self) -> int:
        """Return how often the guest was rebooted on this node."""


Nodes = tuple[Node, Node]


def run(node: Node, spec: InstanceSpec | None = None, *, paused: bool = False) -> RunState:
    """Run an instance."""
    return node.hypervisor.ensure_running(
        spec or node.guest(), devices=node.devices(), interfaces=node.interfaces(), paused=paused,
        scope=TaskScope(),
    )  # fmt: skip


def stop(node: Node, uuid: str = GUEST) -> None:
    """Stop it by force."""
    node.hypervisor.ensure_stopped(uuid, grace_s=1, force=True, scope=TaskScope())


def reboot(node: Node, spec: InstanceSpec, incarnation: str, *, how: str = "hard") -> RunState:
    """Reboot an instance."""
    return node.hypervisor.reboot(
        spec, devices=node.devices(), interfaces=node.interfaces(), how=how,
        incarnation=incarnation, scope=TaskScope(),
    )  # fmt: skip


def prepare(node: Node, spec: InstanceSpec, *, running: bytes = b"") -> MigrationTarget:
    """Make a node ready to receive an instance."""
    return node.hypervisor.prepare(
        spec, devices=node.devices(), interfaces=node.interfaces(), address=node.address,
        running=running, scope=TaskScope(),
    )  # fmt: skip


def send(
    one: Node, two: Node, spec: InstanceSpec, *, live: bool = True, scope: TaskScope | None = None
) -> None:
    """Send an instance from one node to the other."""
    one.hypervisor.send(
        spec, target=two.uuid, address=two.address, live=live, scope=scope or TaskScope()
    )


def finish(node: Node, pair: Nodes, spec: InstanceSpec, *, succeeded: bool) -> None:
    """Finish a migration from the first to the second node of a pair, on one of them."""
    one, two = pair
    node.hypervisor.finish(spec, source=one.uuid, target=two.uuid, succeeded=succeeded)


def running(node: Node) -> list[tuple[str, int]]:
    """The guests that run on a node, with their generations."""
    seen = node.hypervisor.seen()
    return [(guest.uuid, guest.generation) for guest in seen if guest.state == "running"]


class HypervisorContract:
    """Fixtures: `pair`, two nodes with 4 GiB of memory and no guest."""

    def test_a_guest_is_started_once(self, pair: Nodes) -> None:
        """Asked twice, one guest runs, with its memory and its disks in use."""
        node, hypervisor = pair[0], pair[0].hypervisor
        before_mib = hypervisor.memory().free_mib
        for _ in range(2):
            state = run(node)
        assert (state.state, state.memory_mib, state.generation) == ("running", 512, 1)
        assert running(node) == [(GUEST, 1)]
        assert before_mib - hypervisor.memory().free_mib == 512
        assert hypervisor.uses_disk("d1")

    def test_a_guest_is_paused_and_goes_on(self, pair: Nodes) -> None:
        """As it was asked for last."""
        assert run(pair[0], paused=True).state == "paused"
        assert [guest.state for guest in pair[0].hypervisor.seen()] == ["paused"]
        assert run(pair[0]).state == "running"
        assert running(pair[0]) == [(GUEST, 1)]

    def test_a_stopped_guest_is_gone(self, pair: Nodes) -> None:
        """Stopped twice, it is not known, and its memory and disks are free."""
        hypervisor = pair[0].hypervisor
        run(pair[0])
        for _ in range(2):
            stop(pair[0])
        assert hypervisor.seen() == ()
        assert not hypervisor.uses_disk("d1")

    def test_an_older_generation_is_refused(self, pair: Nodes) -> None:
        """A late order of an earlier time starts nothing, even when nothing runs."""
        node = pair[0]
        run(node, node.guest(generation=3))
        stop(node)
        with pytest.raises(StateMismatch, match="generation 2"):
            run(node, node.guest(generation=2))
        assert node.hypervisor.seen() == ()

    def test_too_little_memory_says_what_is_free(self, pair: Nodes) -> None:
        """A guest that does not fit is refused with the free memory."""
        node = pair[0]
        free_mib = node.hypervisor.memory().free_mib
        with pytest.raises(NoRoom, match=f"{free_mib} MiB"):
            run(node, node.guest(memory_mib=free_mib + 1))
        assert node.hypervisor.seen() == ()

    def test_a_reboot_happens_once_for_each_order(self, pair: Nodes) -> None:
        """The same incarnation twice is one reboot; without a guest there is none."""
        node, spec = pair[0], pair[0].guest()
        with pytest.raises(NoSuchThing):
            reboot(node, spec, "a")
        run(node)
        for incarnation in ("a", "a", "b"):
            reboot(node, spec, incarnation)
        assert running(node) == [(GUEST, 1)]
        assert node.reboots() == 2

    def test_a_reboot_takes_what_the_configuration_says_now(self, pair: Nodes) -> None:
        """Another memory, and a disk that was not plugged in."""
        node, hypervisor = pair[0], pair[0].hypervisor
        run(node)
        spec, device = node.more()
        wider = msgspec.structs.replace(spec, memory_mib=256, min_memory_mib=256)
        state = hypervisor.reboot(
            wider, devices=(*node.devices(), device), interfaces=node.interfaces(), how="hard",
            incarnation="a", scope=TaskScope(),
        )  # fmt: skip
        assert (state.state, state.memory_mib) == ("running", 256)
        assert hypervisor.uses_disk("d2")
        with pytest.raises(NoRoom):
            reboot(node, node.guest(memory_mib=1 << 20), "b")
        assert running(node) == [(GUEST, 1)]

    def test_a_console_is_told_while_the_guest_runs(self, pair: Nodes) -> None:
        """As a command on the node, a screen, or a sentence."""
        hypervisor = pair[0].hypervisor
        with pytest.raises(NoSuchThing):
            hypervisor.console(GUEST)
        run(pair[0])
        found = hypervisor.console(GUEST)
        assert found.command if found.kind == "ssh" else found.port or found.message

    def test_memory_can_be_changed(self, pair: Nodes) -> None:
        """The guest has the memory that was asked for, if there is room."""
        hypervisor = pair[0].hypervisor
        run(pair[0])
        assert hypervisor.balloon(GUEST, memory_mib=1024).memory_mib == 1024
        with pytest.raises(NoRoom):
            hypervisor.balloon(GUEST, memory_mib=1 << 20)
        assert hypervisor.seen()[0].memory_mib == 1024

    def test_a_disk_is_plugged_in_and_out(self, pair: Nodes) -> None:
        """Each once, however often it is asked for; it is in use meanwhile."""
        node, hypervisor = pair[0], pair[0].hypervisor
        spec, device = node.more()
        with pytest.raises(NoSuchThing):
            hypervisor.plug_disk(spec, "d2", device=device)
        run(node)
        node.await_boot()
        for _ in range(2):
            hypervisor.plug_disk(spec, "d2", device=device)
        assert hypervisor.uses_disk("d2")
        for _ in range(2):
            hypervisor.unplug_disk(GUEST, "d2", scope=TaskScope())
        assert not hypervisor.uses_disk("d2")
        assert hypervisor.uses_disk("d1")

    def test_processors_can_be_plugged_in(self, pair: Nodes) -> None:
        """The guest has as many as were asked for, and takes them along."""
        one, two = pair
        run(one)
        for _ in range(2):
            state = one.hypervisor.set_vcpus(GUEST, vcpus=3, scope=TaskScope())
            assert state.vcpus == 3
        spec, device = one.more()
        one.hypervisor.plug_disk(spec, "d2", device=device)
        moved = msgspec.structs.replace(spec, generation=2)
        two.hypervisor.prepare(
            moved, devices=(*two.devices(), device), interfaces=two.interfaces(),
            address=two.address, running=one.hypervisor.describe(moved), scope=TaskScope(),
        )  # fmt: skip
        send(one, two, moved)
        finish(two, pair, moved, succeeded=True)
        (seen,) = two.hypervisor.seen()
        assert (seen.state, seen.vcpus) == ("running", 3)
        assert two.hypervisor.uses_disk("d2")

    @pytest.mark.parametrize("live", [True, False])
    def test_a_migration_moves_the_guest(self, pair: Nodes, live: bool) -> None:
        """Afterwards it runs on the target alone, under its new generation; sent twice is once."""
        one, two = pair
        run(one)
        moved = one.guest(generation=2)
        description = one.hypervisor.describe(moved)
        for _ in range(2):
            prepare(two, moved, running=description)
        assert running(one) == [(GUEST, 1)]
        for _ in range(2):
            send(one, two, moved, live=live)
        for node in (one, two, one):
            finish(node, pair, moved, succeeded=True)
        assert (running(one), running(two)) == ([], [(GUEST, 2)])
        with pytest.raises(StateMismatch):
            run(one)

    def test_a_guest_that_has_moved_away_can_come_back(self, pair: Nodes) -> None:
        """Under a third generation."""
        one, two = pair
        run(one)
        for source, target, generation in ((one, two, 2), (two, one, 3)):
            moved = source.guest(generation=generation)
            prepare(target, moved, running=source.hypervisor.describe(moved))
            send(source, target, moved)
            for node in (source, target):
                finish(node, (source, target), moved, succeeded=True)
        assert (running(one), running(two)) == ([(GUEST, 3)], [])

    def test_a_migration_to_an_unprepared_target_leaves_the_guest(self, pair: Nodes) -> None:
        """The source refuses, and the guest goes on."""
        one, two = pair
        run(one)
        with pytest.raises(StateMismatch, match="does not expect"):
            send(one, two, one.guest(generation=2))
        assert running(one) == [(GUEST, 1)]

    def test_an_abandoned_migration_gives_the_memory_back(self, pair: Nodes) -> None:
        """Finished as failed on both sides, the guest runs where it was, the target is free."""
        one, two = pair
        run(one)
        moved = one.guest(generation=2)
        free_mib = two.hypervisor.memory().free_mib
        prepare(two, moved)
        assert two.hypervisor.memory().free_mib == free_mib - 512
        for node in (two, one):
            finish(node, pair, moved, succeeded=False)
        assert two.hypervisor.memory().free_mib == free_mib
        assert (running(one), running(two)) == ([(GUEST, 1)], [])

    def test_finishing_does_not_lie(self, pair: Nodes) -> None:
        """A migration that went through cannot be finished as failed, nor the other way round."""
        one, two = pair
        run(one)
        moved = one.guest(generation=2)
        prepare(two, moved)
        with pytest.raises(NodeAgentError):
            finish(two, pair, moved, succeeded=True)
        send(one, two, moved)
        for node in pair:
            with pytest.raises(StateMismatch):
                finish(node, pair, moved, succeeded=False)

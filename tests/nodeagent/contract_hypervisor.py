"""What every hypervisor driver promises. A driver's tests subclass this, with the fixtures."""

from __future__ import annotations

import pytest

from nodeagent.calls import Device, InstanceSpec, RunState
from nodeagent.errors import NodeAgentError, NoRoom, NoSuchThing, StateMismatch
from nodeagent.hypervisor.contract import Hypervisor
from nodeagent.task_scope import TaskScope
from tests.nodeagent.simulated_lab import LabNode
from tests.nodeagent.specs import instance, plain_disk

Pair = tuple[LabNode, LabNode]


def run(hypervisor: Hypervisor, spec: InstanceSpec) -> RunState:
    """Run an instance."""
    return hypervisor.ensure_running(
        spec, devices=(Device(path="/dev/null"),), interfaces=("tap0",), paused=False,
        scope=TaskScope(),
    )  # fmt: skip


def stop(hypervisor: Hypervisor, uuid: str = "i1") -> None:
    """Stop it by force."""
    hypervisor.ensure_stopped(uuid, grace_s=1, force=True, scope=TaskScope())


def running(node: LabNode) -> list[tuple[str, int]]:
    """The guests that run on a node, with their generations."""
    seen = node.hypervisor.seen()
    return [(guest.uuid, guest.generation) for guest in seen if guest.state == "running"]


class HypervisorContract:
    """Fixtures: `pair`, two nodes with 4 GiB of memory and no guest."""

    def test_a_guest_is_started_once(self, pair: Pair) -> None:
        """Asked twice, one guest runs, with its memory and its disks in use."""
        hypervisor = pair[0].hypervisor
        spec = instance(plain_disk())
        before_mib = hypervisor.memory().free_mib
        for _ in range(2):
            state = run(hypervisor, spec)
        assert (state.state, state.memory_mib, state.generation) == ("running", 512, 1)
        assert running(pair[0]) == [("i1", 1)]
        assert before_mib - hypervisor.memory().free_mib == 512
        assert hypervisor.uses_disk("d1")

    def test_a_stopped_guest_is_gone(self, pair: Pair) -> None:
        """Stopped twice, it is not known, and its memory and disks are free."""
        hypervisor = pair[0].hypervisor
        run(hypervisor, instance(plain_disk()))
        for _ in range(2):
            stop(hypervisor)
        assert hypervisor.seen() == ()
        assert not hypervisor.uses_disk("d1")

    def test_an_older_generation_is_refused(self, pair: Pair) -> None:
        """A late order of an earlier time starts nothing, even when nothing runs."""
        hypervisor = pair[0].hypervisor
        run(hypervisor, instance(plain_disk(), generation=3))
        stop(hypervisor)
        with pytest.raises(StateMismatch, match="generation 2"):
            run(hypervisor, instance(plain_disk(), generation=2))
        assert hypervisor.seen() == ()

    def test_too_little_memory_says_what_is_free(self, pair: Pair) -> None:
        """A guest that does not fit is refused with the free memory."""
        hypervisor = pair[0].hypervisor
        free_mib = hypervisor.memory().free_mib
        with pytest.raises(NoRoom, match=f"{free_mib} MiB"):
            run(hypervisor, instance(plain_disk(), memory_mib=free_mib + 1))
        assert hypervisor.seen() == ()

    def test_a_reboot_happens_once_for_each_order(self, pair: Pair) -> None:
        """The same incarnation twice is one reboot; without a guest there is none."""
        hypervisor, spec = pair[0].hypervisor, instance(plain_disk())
        with pytest.raises(NoSuchThing):
            hypervisor.reboot(spec, how="hard", incarnation="a", scope=TaskScope())
        run(hypervisor, spec)
        for incarnation in ("a", "a", "b"):
            hypervisor.reboot(spec, how="hard", incarnation=incarnation, scope=TaskScope())
        assert running(pair[0]) == [("i1", 1)]
        assert hypervisor.effects()["reboot-guest i1"] == 2

    def test_memory_can_be_changed(self, pair: Pair) -> None:
        """The guest has the memory that was asked for, if there is room."""
        hypervisor = pair[0].hypervisor
        run(hypervisor, instance(plain_disk()))
        assert hypervisor.balloon("i1", memory_mib=1024).memory_mib == 1024
        with pytest.raises(NoRoom):
            hypervisor.balloon("i1", memory_mib=1 << 20)
        assert hypervisor.seen()[0].memory_mib == 1024

    def test_a_migration_moves_the_guest(self, pair: Pair) -> None:
        """Afterwards it runs on the target alone, under its new generation; sent twice is once."""
        one, two = pair
        run(one.hypervisor, instance(plain_disk(), generation=1))
        moved = instance(plain_disk(), generation=2)
        for _ in range(2):
            target = two.hypervisor.prepare(moved, scope=TaskScope())
        assert running(one) == [("i1", 1)]
        for _ in range(2):
            one.hypervisor.send(
                moved, target=two.uuid, address=target.address, live=True, scope=TaskScope()
            )
        for node in (one, two, one):
            node.hypervisor.finish(moved, source=one.uuid, target=two.uuid, succeeded=True)
        assert (running(one), running(two)) == ([], [("i1", 2)])
        with pytest.raises(StateMismatch):
            run(one.hypervisor, instance(plain_disk(), generation=1))

    def test_a_migration_to_an_unprepared_target_leaves_the_guest(self, pair: Pair) -> None:
        """The source refuses, and the guest goes on."""
        one, two = pair
        run(one.hypervisor, instance(plain_disk()))
        moved = instance(plain_disk(), generation=2)
        with pytest.raises(StateMismatch, match="does not expect"):
            one.hypervisor.send(moved, target=two.uuid, address="", live=True, scope=TaskScope())
        assert running(one) == [("i1", 1)]

    def test_an_abandoned_migration_gives_the_memory_back(self, pair: Pair) -> None:
        """Finished as failed on both sides, the guest runs where it was, the target is free."""
        one, two = pair
        run(one.hypervisor, instance(plain_disk()))
        moved = instance(plain_disk(), generation=2)
        free_mib = two.hypervisor.memory().free_mib
        two.hypervisor.prepare(moved, scope=TaskScope())
        assert two.hypervisor.memory().free_mib == free_mib - 512
        for node in (two, one):
            node.hypervisor.finish(moved, source=one.uuid, target=two.uuid, succeeded=False)
        assert two.hypervisor.memory().free_mib == free_mib
        assert (running(one), running(two)) == ([("i1", 1)], [])

    def test_finishing_does_not_lie(self, pair: Pair) -> None:
        """A migration that went through cannot be finished as failed, nor the other way round."""
        one, two = pair
        run(one.hypervisor, instance(plain_disk()))
        moved = instance(plain_disk(), generation=2)
        two.hypervisor.prepare(moved, scope=TaskScope())
        with pytest.raises(NodeAgentError):
            two.hypervisor.finish(moved, source=one.uuid, target=two.uuid, succeeded=True)
        one.hypervisor.send(moved, target=two.uuid, address="", live=True, scope=TaskScope())
        for node in pair:
            with pytest.raises(StateMismatch):
                node.hypervisor.finish(moved, source=one.uuid, target=two.uuid, succeeded=False)

"""The KVM driver on real QEMUs, under software emulation."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from nodeagent.calls import Device, InstanceSpec
from nodeagent.errors import NodeAgentError, NoSuchThing, StateMismatch, Stopped
from nodeagent.hypervisor.kvm.errors import MonitorLost
from nodeagent.hypervisor.kvm.processes import identify
from nodeagent.hypervisor.kvm.records import read_record, write_record
from nodeagent.task_scope import Progress, TaskScope
from tests.nodeagent.contract_hypervisor import (
    HypervisorContract,
    finish,
    prepare,
    reboot,
    run,
    running,
    send,
)
from tests.nodeagent.kvm.launching import Value
from tests.nodeagent.kvm.real_node import RealNode
from tests.nodeagent.kvm.tiny import boots
from tests.nodeagent.specs import GUEST

pytestmark = pytest.mark.acceptance
Pair = tuple[RealNode, RealNode]


class TestKvm(HypervisorContract):
    """Two nodes on this machine."""

    # What only a real guest can show.

    def test_the_console_is_the_guest_s_serial_port(self, pair: Pair) -> None:
        """What it writes is read, what is typed it gets."""
        run(pair[0])
        *_, socket = pair[0].hypervisor.console(GUEST).command
        assert socket == f"UNIX-CONNECT:{pair[0].place.serial}"
        with pair[0].console() as console:
            assert console.tick() < console.tick()
            console.type(b"#")
            console.until(b"#")

    def test_the_memory_comes_along(self, pair: Pair, disk: Path) -> None:
        """The guest goes on counting where it was, and has not booted again."""
        one, two = pair
        run(one)
        with one.console() as console:
            console.tick()
            before = console.tick()
        migrate(one, two)
        with two.console() as console:
            assert console.tick() > before
        assert boots(disk) == 1

    def test_what_was_not_plugged_in_does_not_come_along(self, pair: Pair) -> None:
        """A disk that the configuration has and the guest has not; nor the other way round."""
        one, two = pair
        run(one)
        spec, device = one.more()
        wider = msgspec.structs.replace(spec, generation=2)

        def ready(wanted: InstanceSpec, *devices: Device) -> None:
            two.hypervisor.prepare(
                wanted, devices=devices, interfaces=(), address=two.address,
                running=one.hypervisor.describe(wanted), scope=TaskScope(),
            )  # fmt: skip

        with pytest.raises(StateMismatch, match=r"still has what was taken .* d1"):
            ready(msgspec.structs.replace(wider, disks=()))
        ready(wider, *two.devices(), device)
        send(one, two, wider)
        finish(two, pair, wider, succeeded=True)
        assert running(two) == [(GUEST, 2)]
        assert not two.hypervisor.uses_disk("d2")

    def test_post_copy(self, pair: Pair) -> None:
        """The guest runs on the target before all of its memory is there."""
        one, two = pair
        caps: dict[str, Value] = {"migration_caps": "postcopy-ram", "migration_bandwidth": 1}
        run(one, one.guest(hvparams=caps))
        with one.console() as console:  # it writes more than the link takes: never through else
            console.tick()
            console.type(b"w")
            console.until(b"w")
        said = migrate(one, two, caps)
        assert running(two) == [(GUEST, 2)]
        assert any("runs on the target" in line.text for line in said)

    def test_a_migration_that_is_called_off_leaves_the_guest(self, pair: Pair) -> None:
        """It goes on where it was, and can be sent afterwards."""
        one, two = pair
        slow: dict[str, Value] = {"migration_bandwidth": 1}
        run(one, one.guest(hvparams=slow))
        moved = one.guest(generation=2, hvparams=slow)
        prepare(two, moved, running=one.hypervisor.describe(moved))
        told = threading.Event()
        scope = TaskScope(lambda line: told.set())
        ending: list[Exception] = []

        def try_to_send() -> None:
            try:
                send(one, two, moved, scope=scope)
            except Stopped as stopped:
                ending.append(stopped)

        sending = threading.Thread(target=try_to_send)
        sending.start()
        assert told.wait(20)
        scope.stop("stopped", "somebody changed their mind")
        sending.join(20)
        assert "still runs here" in str(ending[0])
        finish(two, pair, moved, succeeded=False)
        finish(one, pair, moved, succeeded=False)
        assert (running(one), running(two)) == ([(GUEST, 1)], [])
        with one.console() as console:
            console.tick()
        migrate(one, two)

    def test_an_agent_that_dies_while_it_sends(self, pair: Pair) -> None:
        """Finished as failed, the guest stays where it is, and can be sent again."""
        one, two = pair
        moved = begin_to_send(one, two)
        one.restart()
        finish(one, pair, moved, succeeded=False)
        finish(two, pair, moved, succeeded=False)
        assert (running(one), running(two)) == ([(GUEST, 1)], [])
        with one.console() as console:
            console.tick()
        migrate(one, two)

    def test_an_agent_that_dies_before_it_gives_the_word(self, pair: Pair) -> None:
        """QEMU has stopped the guest and waits for it: the next agent lets it go on here."""
        one, two = pair
        moved = begin_to_send(one, two)
        with Qmp(one.place.monitor) as monitor:
            until(lambda: monitor.ask("query-migrate")["status"] == "pre-switchover")
            assert not monitor.ask("query-status")["running"]
        one.restart()
        assert running(one) == [(GUEST, 1)]
        with one.console() as console:
            console.tick()
        for node in pair:
            finish(node, pair, moved, succeeded=False)
        migrate(one, two)

    @pytest.mark.parametrize("state", ["setup", "active", "pre-switchover", "device", "completed"])
    def test_a_migration_is_called_off_at_any_moment(self, pair: Pair, state: str) -> None:
        """Afterwards the guest runs on one side: here if that is what was said, else there."""
        one, two = pair
        run(one, one.guest(memory_mib=128))
        moved = one.guest(generation=2, memory_mib=128)
        prepare(two, moved, running=one.hypervisor.describe(moved))
        scope = TaskScope()
        one.when_migration_is(state, lambda: scope.stop("stopped", "in the last moment"))
        stays = False
        try:
            send(one, two, moved, scope=scope)
        except Stopped:
            stays = True
        assert scope.stopping
        for node in pair:
            finish(node, pair, moved, succeeded=not stays)
        until(lambda: (running(one) == [(GUEST, 1)]) == stays)
        assert (running(two) == [(GUEST, 2)]) != stays
        with (one if stays else two).console() as console:
            console.tick()
        assert stays or state not in ("setup", "active"), "there was time to call it off"

    def test_a_guest_that_arrived_while_the_agent_was_away(self, pair: Pair) -> None:
        """The next agent of the source knows that it has gone, and does not call it back."""
        one, two = pair
        moved = begin_to_send(one, two)
        with Qmp(one.place.monitor) as monitor:  # as if it had died just after
            until(lambda: monitor.ask("query-migrate")["status"] == "pre-switchover")
            monitor.ask("migrate-continue", state="pre-switchover")
        until(lambda: running(two) == [(GUEST, 2)])
        one.restart()
        until(lambda: one.hypervisor.seen() == ())  # QEMU may still be about to say so
        with pytest.raises(StateMismatch, match="has gone to node2"):
            finish(one, pair, moved, succeeded=False)
        send(one, two, moved)
        for node in pair:
            finish(node, pair, moved, succeeded=True)
        assert not one.place.directory.exists()

    def test_a_target_that_dies_leaves_the_guest(self, pair: Pair) -> None:
        """It goes on where it was, and the error says why."""
        one, two = pair
        slow: dict[str, Value] = {"migration_bandwidth": 1}
        run(one, one.guest(hvparams=slow))
        moved = one.guest(generation=2, hvparams=slow)
        prepare(two, moved, running=one.hypervisor.describe(moved))
        victim = two.process
        scope = TaskScope(lambda line: kill(victim))
        with pytest.raises(NodeAgentError, match="did not get through"):
            send(one, two, moved, scope=scope)
        assert (running(one), running(two)) == ([(GUEST, 1)], [])
        with one.console() as console:
            console.tick()

    def test_a_target_that_stands_still_leaves_the_guest(self, pair: Pair) -> None:
        """As one does whose machine has lost its power: nothing ends the connection, and what it
        does not take for a while it gets no more."""
        one, two = pair
        one.settings = msgspec.structs.replace(one.settings, stalled_s=1.0)
        one.restart()
        large_mib = 3000  # more than the kernel takes for a target that reads nothing
        run(one, one.guest(memory_mib=large_mib))
        moved = one.guest(generation=2, memory_mib=large_mib)
        prepare(two, moved, running=one.hypervisor.describe(moved))
        victim = two.process
        os.kill(victim, signal.SIGSTOP)
        try:
            with pytest.raises(NodeAgentError, match="the target has stopped taking it"):
                send(one, two, moved)
        finally:
            os.kill(victim, signal.SIGCONT)
        finish(two, pair, moved, succeeded=False)
        assert (running(one), running(two)) == ([(GUEST, 1)], [])
        with one.console() as console:
            console.tick()

    def test_a_target_that_stands_still_with_all_of_the_guest(self, pair: Pair) -> None:
        """It may be about to run it: nothing goes on here until it is ended there."""
        one, two = pair
        one.settings = msgspec.structs.replace(one.settings, stalled_s=1.0)
        one.restart()
        run(one, one.guest(memory_mib=128))
        moved = one.guest(generation=2, memory_mib=128)
        prepare(two, moved, running=one.hypervisor.describe(moved))
        victim = two.process
        one.when_migration_is("pre-switchover", lambda: os.kill(victim, signal.SIGSTOP))
        try:
            with pytest.raises(StateMismatch, match="the target does not answer"):
                send(one, two, moved)
        finally:
            kill(victim)
        for node in pair:
            finish(node, pair, moved, succeeded=False)
        assert (running(one), running(two)) == ([(GUEST, 1)], [])
        with one.console() as console:
            console.tick()

    def test_a_killed_qemu_is_noticed_at_once(self, pair: Pair) -> None:
        """Without being asked: the guest has crashed, its disk is free, and it can be started."""
        node = pair[0]
        run(node)
        began = time.monotonic()
        kill(node.process)
        until(lambda: state(node) == "crashed")
        assert time.monotonic() - began < 1.0
        until(lambda: not node.hypervisor.uses_disk("d1"))
        run(node)
        assert state(node) == "running"

    @pytest.mark.parametrize("agent", [False, True])
    def test_a_guest_is_asked_to_shut_down(self, pair: Pair, agent: bool) -> None:
        """By its power button, also if it has a channel and no agent that listens there."""
        node = pair[0]
        run(node, node.guest(hvparams={"use_guest_agent": agent}))
        with node.console() as console:
            console.tick()
            node.hypervisor.ensure_stopped(GUEST, grace_s=20, force=False, scope=TaskScope())
            console.until(b"TINY off")
        assert node.hypervisor.seen() == ()
        assert not node.place.directory.exists()

    def test_a_guest_that_ignores_it_is_forced(self, pair: Pair) -> None:
        """After its grace: a paused guest does not see its power button."""
        node = pair[0]
        run(node, paused=True)
        said: list[Progress] = []
        scope = TaskScope(said.append)
        node.hypervisor.ensure_stopped(GUEST, grace_s=0.2, force=False, scope=scope)
        assert "is forced" in said[-1].text
        assert node.hypervisor.seen() == ()

    @pytest.mark.parametrize(("tells", "seen"), [(True, "user-down"), (False, "crashed")])
    def test_a_guest_that_shuts_itself_down(self, pair: Pair, tells: bool, seen: str) -> None:
        """It is user-down, or crashed where user_shutdown says that nobody tells the two apart."""
        node = pair[0]
        run(node, node.guest(hvparams={"user_shutdown": tells}))
        shut_itself_down(node)
        until(lambda: state(node) == seen)

    def test_a_soft_reboot_asks_the_guest(self, pair: Pair, disk: Path) -> None:
        """It shuts down, and boots again in a new QEMU."""
        node = pair[0]
        run(node)
        with node.console() as console:
            console.tick()
            reboot(node, node.guest(), "a", how="soft")
            console.until(b"TINY off")
        with node.console() as console:
            console.tick()
        assert boots(disk) == 2

    def test_a_reboot_brings_what_was_changed_meanwhile(self, pair: Pair) -> None:
        """Parameters, memory and disks of the configuration as it is now."""
        node = pair[0]
        run(node)
        spec, device = node.more()
        changed = msgspec.structs.replace(
            spec, memory_mib=256, hvparams={**spec.hvparams, "machine_version": "q35"}
        )
        state = node.hypervisor.reboot(
            changed, devices=(*node.devices(), device), interfaces=(), how="hard",
            incarnation="a", scope=TaskScope(),
        )  # fmt: skip
        assert (state.state, state.memory_mib) == ("running", 256)
        assert node.hypervisor.uses_disk("d2")
        assert any("q35" in word for word in node.starts[-1])
        node.await_boot()

    def test_a_guest_goes_on_without_its_agent(self, pair: Pair, disk: Path) -> None:
        """It is taken up by the next one: as it is, and as it was."""
        node = pair[0]
        run(node)
        process = node.process
        node.restart()
        assert running(node) == [(GUEST, 1)]
        assert node.process == process
        assert node.hypervisor.uses_disk("d1")
        node.hypervisor.ensure_stopped(GUEST, grace_s=0, force=True, scope=TaskScope())
        assert node.hypervisor.seen() == ()

    def test_a_start_that_was_cut_short_leaves_nothing(self, pair: Pair) -> None:
        """An agent that died before it knew its QEMU: the next one ends it, and starts it anew."""
        node = pair[0]
        run(node)
        half = node.process
        record = read_record(node.place)
        assert record is not None
        node.hypervisor.close()
        write_record(node.place, msgspec.structs.replace(record, process=None))
        node.restart()
        assert node.hypervisor.seen() == ()
        until(lambda: not Path(f"/proc/{half}/cmdline").exists())
        run(node)
        assert node.process != half

    def test_what_happened_while_no_agent_was_there(self, pair: Pair) -> None:
        """A guest that died has crashed; one that shut itself down is told from it."""
        node = pair[0]
        ends: dict[str, Callable[[], None]] = {
            "crashed": lambda: die(node.process),
            "user-down": lambda: shut_itself_down(node),
        }
        for seen, end in ends.items():
            run(node)
            with node.console() as console:
                console.tick()
            node.hypervisor.close()
            end()
            node.restart()
            assert state(node) == seen
            until(lambda: not node.hypervisor.uses_disk("d1"))
            node.hypervisor.ensure_stopped(GUEST, grace_s=0, force=True, scope=TaskScope())

    def test_a_qemu_that_hangs_is_heard_again(self, pair: Pair) -> None:
        """An agent that starts meanwhile knows the guest, and speaks to it once it can."""
        node = pair[0]
        run(node)
        node.settings = msgspec.structs.replace(node.settings, connect_s=0.2)
        os.kill(node.process, signal.SIGSTOP)
        try:
            node.restart()
            assert running(node) == [(GUEST, 1)]
            with pytest.raises(MonitorLost, match="does not answer"):
                node.hypervisor.balloon(GUEST, memory_mib=512)
        finally:
            os.kill(node.process, signal.SIGCONT)

        def is_heard() -> bool:
            try:
                return node.hypervisor.balloon(GUEST, memory_mib=512).memory_mib == 512
            except MonitorLost:
                return False  # it works through what was asked of it meanwhile

        until(is_heard)

    def test_generations_outlive_the_guest_and_the_agent(self, pair: Pair) -> None:
        """A late order is refused by the next agent, too."""
        node = pair[0]
        run(node, node.guest(generation=2))
        node.hypervisor.ensure_stopped(GUEST, grace_s=0, force=True, scope=TaskScope())
        node.restart()
        with pytest.raises(StateMismatch, match="generation 1 is over"):
            run(node)


def migrate(
    one: RealNode, two: RealNode, hvparams: Mapping[str, Value] = MappingProxyType({})
) -> list[Progress]:
    """Send the guest from one to two; return what the person who waits was told."""
    moved = one.guest(generation=2, hvparams=hvparams)
    said: list[Progress] = []
    prepare(two, moved, running=one.hypervisor.describe(moved))
    send(one, two, moved, scope=TaskScope(said.append))
    for node in (one, two):
        finish(node, (one, two), moved, succeeded=True)
    return said


class Qmp:
    """A monitor as a person would use it, while no agent does."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile()

    def __enter__(self) -> Qmp:
        self._lines.readline()  # its greeting
        self.ask("qmp_capabilities")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **arguments: str) -> Any:
        """Return the answer to a command; events are passed over."""
        order = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(order).encode())
        while "return" not in (answer := json.loads(self._lines.readline())):
            assert "error" not in answer, answer
        return answer["return"]


def begin_to_send(one: RealNode, two: RealNode) -> InstanceSpec:
    """Begin a slow migration, and let the source's agent die in the middle of it."""
    slow: dict[str, Value] = {"migration_bandwidth": 1}
    run(one, one.guest(hvparams=slow))
    moved = one.guest(generation=2, hvparams=slow)
    prepare(two, moved, running=one.hypervisor.describe(moved))
    told = threading.Event()

    def try_to_send() -> None:
        with contextlib.suppress(NodeAgentError):
            send(one, two, moved, scope=TaskScope(lambda line: told.set()))

    sending = threading.Thread(target=try_to_send)
    sending.start()
    assert told.wait(20)
    one.hypervisor.close()
    sending.join(20)
    return moved


def kill(process: int) -> None:
    """End a process, if it still is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def die(process: int) -> None:
    """End a process, and wait until it has; whoever is to ask how it ended need not have."""
    kill(process)
    with pytest.raises(NoSuchThing):
        until(lambda: not identify(process))


def shut_itself_down(node: RealNode) -> None:
    """Let the guest power itself off, as its own user would."""
    with node.console() as console:
        console.tick()
        console.type(b"!")
        console.until(b"TINY off")


def state(node: RealNode) -> str:
    """What is seen of the guest."""
    (guest,) = node.hypervisor.seen()
    return guest.state


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    due = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < due
        time.sleep(0.01)

"""A simulated hypervisor: guests are entries of a file (edge).

A migration hands a guest over without a moment at which both nodes have it:

    target  `prepare`: sets memory aside, expects the guest under its new generation
    source  `send`: one file change, in which it no longer has the guest and says where it went
    target  at its next look: the source says that it sent what is expected here, so it runs here

Between the last two the guest is on its way, as in the pause of a real migration.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from nodeagent.calls import (
    ConsoleSeen,
    Device,
    InstanceSeen,
    InstanceSpec,
    MigrationTarget,
    RunState,
)
from nodeagent.errors import NoRoom, NoSuchThing, StateMismatch
from nodeagent.hypervisor.contract import HostCpus, HostMemory, HypervisorCapabilities
from nodeagent.simulated.lab import Lab, SimulatedNode
from nodeagent.simulated.state_file import Counted, StateFile
from nodeagent.task_scope import TaskScope

RUNNING, PAUSED, CRASHED, USER_DOWN = "running", "paused", "crashed", "user-down"
_ALIVE = (RUNNING, PAUSED)
_STEP_S = 0.1  # of a migration, between two looks at whether it must stop


class Guest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A guest that this node knows."""

    name: str
    memory_mib: int
    vcpus: int
    generation: int
    disks: list[str]
    nics: list[str] = []
    state: str = RUNNING
    incarnation: str = ""  # of the last reboot
    stubborn: bool = False  # ignores the request to shut down


class HypervisorState(Counted, kw_only=True):
    """The guests of one node, by uuid."""

    guests: dict[str, Guest] = {}
    expected: dict[str, Guest] = {}  # to come by migration; their memory is set aside
    # gone by migration: to which node, under which generation; kept until the guest comes back,
    # since the target may look late
    sent: dict[str, tuple[str, int]] = {}
    generations: dict[str, int] = {}  # the highest seen of each instance


class SimulatedHypervisor:
    """The guests of one node; implements `Hypervisor` under every name of one."""

    names = ("fake", "kvm", "xen-pvm", "xen-hvm", "lxc", "chroot")
    capabilities = HypervisorCapabilities()

    def __init__(
        self,
        lab: Lab,
        node: str,
        *,
        size: SimulatedNode,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lab, self._node, self._size, self._now = lab, node, size, now
        self._file = StateFile(lab.home / "hypervisor.json", HypervisorState)
        self._peers: dict[str, StateFile[HypervisorState]] = {}

    def on_news(self, callback: Callable[[], None]) -> None:
        """See Hypervisor: nothing tells it of changes of its file."""

    def needs(self) -> tuple[str, ...]:
        """Nothing is missing: it is simulated."""
        return ()

    def advises(self) -> tuple[str, ...]:
        """Nothing could be better: it is simulated."""
        return ()

    def ensure_running(
        self,
        instance: InstanceSpec,
        *,
        devices: tuple[Device, ...],
        interfaces: tuple[str, ...],
        paused: bool,
        scope: TaskScope,
    ) -> RunState:
        """See Hypervisor."""
        self._take_expected()
        with self._file.change() as state:
            self._note_generation(state, instance)
            guest = state.guests.get(instance.uuid)
            if guest is not None and guest.state in _ALIVE:
                if guest.generation < instance.generation:
                    raise StateMismatch(
                        f"{instance.name} still runs here from generation {guest.generation}",
                        hint="stop it first: its disks may have moved on without it",
                    )
            else:
                self._check_memory(state, instance.name, instance.memory_mib)
                guest = _guest(instance)
                state.guests[instance.uuid] = guest
                state.sent.pop(instance.uuid, None)
                state.effect("start-guest", instance.uuid)
            guest.state = PAUSED if paused else RUNNING
            return _run_state(guest)

    def ensure_stopped(self, uuid: str, *, grace_s: float, force: bool, scope: TaskScope) -> None:
        """See Hypervisor."""
        self._take_expected()
        guest = self._file.read().guests.get(uuid)
        if guest is not None and guest.state in _ALIVE and guest.stubborn and not force:
            scope.feedback(f"{guest.name} does not shut down; it is forced in {grace_s:.0f} s")
            scope.wait(grace_s, left="the guest still runs")
        with self._file.change() as state:
            guest = state.guests.pop(uuid, None)
            if guest is not None:
                state.effect("stop-guest", uuid)

    def reboot(
        self,
        instance: InstanceSpec,
        *,
        devices: tuple[Device, ...],
        interfaces: tuple[str, ...],
        how: str,
        incarnation: str,
        scope: TaskScope,
    ) -> RunState:
        """See Hypervisor."""
        with self._file.change() as state:
            self._note_generation(state, instance)
            guest = state.guests.get(instance.uuid)
            if guest is None or guest.state not in _ALIVE:
                raise NoSuchThing(f"{instance.name} does not run here", hint="start it instead")
            if guest.incarnation != incarnation:
                more_mib = instance.memory_mib - guest.memory_mib
                self._check_memory(state, instance.name, more_mib)
                anew = _guest(instance)
                anew.incarnation, anew.stubborn = incarnation, guest.stubborn
                guest = state.guests[instance.uuid] = anew
                state.effect("reboot-guest", instance.uuid)
            return _run_state(guest)

    def plug_disk(self, instance: InstanceSpec, disk: str, *, device: Device) -> None:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = _alive(state, instance.uuid)
            if disk not in guest.disks:
                guest.disks.append(disk)
                state.effect("plug-disk", disk)

    def unplug_disk(self, uuid: str, disk: str, *, scope: TaskScope) -> None:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = state.guests.get(uuid)
            if guest is not None and disk in guest.disks:
                guest.disks.remove(disk)
                state.effect("unplug-disk", disk)

    def plug_nic(self, instance: InstanceSpec, nic: str, *, interface: str) -> None:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = _alive(state, instance.uuid)
            if nic not in guest.nics:
                guest.nics.append(nic)
                state.effect("plug-nic", nic)

    def unplug_nic(self, uuid: str, nic: str, *, scope: TaskScope) -> None:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = state.guests.get(uuid)
            if guest is not None and nic in guest.nics:
                guest.nics.remove(nic)
                state.effect("unplug-nic", nic)

    def set_vcpus(self, uuid: str, *, vcpus: int, scope: TaskScope) -> RunState:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = _alive(state, uuid)
            if guest.vcpus != vcpus:
                guest.vcpus = vcpus
                state.effect("set-vcpus", uuid)
            return _run_state(guest)

    def console(self, uuid: str) -> ConsoleSeen:
        """See Hypervisor."""
        name = _alive(self._file.read(), uuid).name
        return ConsoleSeen(kind="msg", message=f"{name} is simulated and has no console")

    def describe(self, instance: InstanceSpec) -> bytes:
        """See Hypervisor."""
        guest = self._file.read().guests.get(instance.uuid)
        if guest is None or guest.state not in _ALIVE:
            raise NoSuchThing(f"{instance.name} does not run here")
        return b"%d" % guest.vcpus  # the one thing that can differ from the configuration

    def prepare(
        self,
        instance: InstanceSpec,
        *,
        devices: tuple[Device, ...],
        interfaces: tuple[str, ...],
        address: str,
        running: bytes,
        scope: TaskScope,
    ) -> MigrationTarget:
        """See Hypervisor."""
        self._take_expected()
        with self._file.change() as state:
            self._note_generation(state, instance)
            guest = state.guests.get(instance.uuid)
            if guest is not None and guest.generation == instance.generation:
                return MigrationTarget(address=self._node)  # it has come already
            if guest is not None and guest.state in _ALIVE:
                raise StateMismatch(f"{instance.name} runs here already")
            if instance.uuid not in state.expected:
                self._check_memory(state, instance.name, instance.memory_mib)
                state.guests.pop(instance.uuid, None)
                state.effect("expect-guest", instance.uuid)
            expected = _guest(instance)
            expected.vcpus = int(running) if running else expected.vcpus
            state.expected[instance.uuid] = expected
        return MigrationTarget(address=self._node)

    def send(
        self, instance: InstanceSpec, *, target: str, address: str, live: bool, scope: TaskScope
    ) -> None:
        """See Hypervisor."""
        uuid, goal = instance.uuid, (target, instance.generation)
        state = self._file.read()
        if state.sent.get(uuid) == goal:
            return
        guest = state.guests.get(uuid)
        if guest is None or guest.state not in _ALIVE:
            raise NoSuchThing(f"{instance.name} does not run here")
        self._check_target(instance, target)
        self._transfer(guest, live, scope)
        self._check_target(instance, target)  # it may have died meanwhile
        with self._file.change() as state:
            scope.check(left="the guest still runs here")
            del state.guests[uuid]
            state.sent[uuid] = goal
            state.generations[uuid] = max(state.generations.get(uuid, 0), instance.generation)
            state.effect("send-guest", uuid)

    def finish(self, instance: InstanceSpec, *, source: str, target: str, succeeded: bool) -> None:
        """See Hypervisor."""
        self._take_expected()
        uuid = instance.uuid
        with self._file.change() as state:
            here = uuid in state.guests
            if self._node == target and here != succeeded:
                where = "runs here" if here else "did not come here"
                raise StateMismatch(f"{instance.name} {where}", hint="look where it runs")
            if self._node == source and not succeeded and not here and uuid in state.sent:
                raise StateMismatch(f"{instance.name} has gone to {target}")
            if self._node == target:
                state.expected.pop(uuid, None)

    def balloon(self, uuid: str, *, memory_mib: int) -> RunState:
        """See Hypervisor."""
        with self._file.change() as state:
            guest = _alive(state, uuid)
            self._check_memory(state, guest.name, memory_mib - guest.memory_mib)
            if guest.memory_mib != memory_mib:
                guest.memory_mib = memory_mib
                state.effect("balloon-guest", uuid)
            return _run_state(guest)

    def seen(self) -> tuple[InstanceSeen, ...]:
        """See Hypervisor."""
        self._take_expected()
        return tuple(
            InstanceSeen(uuid, g.name, g.state, g.memory_mib, g.vcpus, g.generation)
            for uuid, g in sorted(self._file.read().guests.items())
        )

    def uses_disk(self, disk: str) -> bool:
        """See Hypervisor."""
        guests = self._file.read().guests.values()
        return any(disk in guest.disks and guest.state in _ALIVE for guest in guests)

    def memory(self) -> HostMemory:
        """See Hypervisor."""
        free_mib = self._free_mib(self._file.read())
        return HostMemory(self._size.memory_mib, free_mib, self._size.own_memory_mib)

    def cpus(self) -> HostCpus:
        """See Hypervisor."""
        return HostCpus(self._size.cpus, 1, 1)

    def versions(self) -> dict[str, str]:
        """See Hypervisor."""
        return {"hypervisor": "simulated"}

    # What only simulated guests have.

    def lose_power(self) -> None:
        """No guest runs any more, and nobody remembers one."""
        with self._file.change() as state:
            state.guests, state.expected = {}, {}

    def end_guest(self, uuid: str, how: str) -> None:
        """Let a guest end by itself: `crashed` or `user-down`. Raises NoSuchThing."""
        with self._file.change() as state:
            guest = state.guests.get(uuid)
            if guest is None or guest.state not in _ALIVE:
                raise NoSuchThing(f"instance {uuid} does not run here")
            guest.state = how
            state.effect(how, uuid)

    def set_stubborn(self, uuid: str) -> None:
        """Let a guest ignore requests to shut down. Raises NoSuchThing."""
        with self._file.change() as state:
            if uuid not in state.guests:
                raise NoSuchThing(f"instance {uuid} is not known here")
            state.guests[uuid].stubborn = True

    def effects(self) -> dict[str, int]:
        """How often each effect happened."""
        return dict(self._file.read().effects)

    def _transfer(self, guest: Guest, live: bool, scope: TaskScope) -> None:
        """Take the time that the guest's memory needs on the wire."""
        total_s = guest.memory_mib / self._size.migration_mib_s
        began = self._now()
        while (passed_s := self._now() - began) < total_s:
            percent = 100 * passed_s / total_s
            scope.feedback(
                f"{'live ' if live else ''}migration of {guest.name}: {percent:.0f} %",
                percent=percent,
                eta_s=total_s - passed_s,
            )
            scope.wait(min(_STEP_S, total_s - passed_s), left="the guest still runs here")

    def _check_target(self, instance: InstanceSpec, target: str) -> None:
        expected = self._peer_file(target).read().expected.get(instance.uuid)
        ready = expected is not None and expected.generation == instance.generation
        if not ready or not self._lab.alive(target):
            raise StateMismatch(
                f"node {target} does not expect {instance.name}",
                hint="the guest still runs here; prepare the target again",
            )

    def _take_expected(self) -> None:
        """Run the guests that their source says it has sent."""
        come = [
            uuid for uuid, guest in self._file.read().expected.items()
            if self._was_sent(uuid, guest.generation)
        ]  # fmt: skip
        if not come:
            return
        with self._file.change() as state:
            for uuid in come:
                guest = state.expected.pop(uuid, None)
                if guest is not None:
                    state.guests[uuid] = guest
                    state.sent.pop(uuid, None)
                    state.effect("receive-guest", uuid)

    def _was_sent(self, uuid: str, generation: int) -> bool:
        for link in (self._lab.root / "by-uuid").iterdir():
            if link.name != self._node and not link.name.startswith("."):
                sent = self._peer_file(link.name).read().sent.get(uuid)
                if sent == (self._node, generation):
                    return True
        return False

    def _peer_file(self, node: str) -> StateFile[HypervisorState]:
        if node not in self._peers:
            self._peers[node] = StateFile(self._lab.peer(node) / "hypervisor.json", HypervisorState)
        return self._peers[node]

    def _note_generation(self, state: HypervisorState, instance: InstanceSpec) -> None:
        highest = state.generations.get(instance.uuid, 0)
        if instance.generation < highest:
            raise StateMismatch(
                f"{instance.name}: generation {instance.generation} is over, "
                f"this node has seen {highest}",
                hint="the order is late; the instance has moved on",
            )
        state.generations[instance.uuid] = instance.generation

    def _check_memory(self, state: HypervisorState, name: str, memory_mib: int) -> None:
        free_mib = self._free_mib(state)
        if memory_mib > free_mib:
            raise NoRoom(
                f"{name} needs {memory_mib} MiB of memory, {free_mib} MiB are free",
                hint="choose a node with more memory, or lower the memory of the instance",
            )

    def _free_mib(self, state: HypervisorState) -> int:
        guests = [guest for guest in state.guests.values() if guest.state in _ALIVE]
        used_mib = sum(guest.memory_mib for guest in [*guests, *state.expected.values()])
        return self._size.memory_mib - self._size.own_memory_mib - used_mib


def _guest(instance: InstanceSpec) -> Guest:
    return Guest(
        name=instance.name,
        memory_mib=instance.memory_mib,
        vcpus=instance.vcpus,
        generation=instance.generation,
        disks=[disk.uuid for disk in instance.disks],
        nics=[nic.uuid for nic in instance.nics],
    )


def _alive(state: HypervisorState, uuid: str) -> Guest:
    guest = state.guests.get(uuid)
    if guest is None or guest.state not in _ALIVE:
        raise NoSuchThing(f"instance {uuid} does not run here")
    return guest


def _run_state(guest: Guest) -> RunState:
    return RunState(
        state=guest.state,
        memory_mib=guest.memory_mib,
        vcpus=guest.vcpus,
        generation=guest.generation,
    )

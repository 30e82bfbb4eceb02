"""The KVM hypervisor: implements `Hypervisor` over QEMU (edge).

Guests are processes of their own: they go on when the agent ends, and are taken up again when it
starts (`guests.py`, `records.py`). What is seen of them is what was last heard (`guest.py`), so
looking costs nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from nodeagent.calls import (
    ConsoleSeen,
    Device,
    InstanceSeen,
    InstanceSpec,
    MigrationTarget,
    RunState,
)
from nodeagent.errors import NodeAgentError, NoRoom, NoSuchThing, StateMismatch
from nodeagent.host import read_cpus, read_memory
from nodeagent.hypervisor.contract import HostCpus, HostMemory, HypervisorCapabilities
from nodeagent.hypervisor.kvm import console, hotplug, memory, processes, receiving, sending
from nodeagent.hypervisor.kvm.guest import RUNNING, Guest
from nodeagent.hypervisor.kvm.guests import Guests
from nodeagent.hypervisor.kvm.here import NO_KVM, NO_VHOST, has_vhost
from nodeagent.hypervisor.kvm.monitor import Watch
from nodeagent.hypervisor.kvm.parameters import parameters
from nodeagent.hypervisor.kvm.programs import DEFAULT, Programs, find_missing
from nodeagent.hypervisor.kvm.records import GuestRecord, longest_socket
from nodeagent.hypervisor.kvm.settings import AUTO, KvmSettings
from nodeagent.hypervisor.kvm.starting import Starter, is_block, run_on
from nodeagent.runner import PATH, Runner, run_command
from nodeagent.task_scope import TaskScope

SOFT_GRACE_S = 120.0  # that a guest may take to shut down for a soft reboot


class Kvm:
    """The guests of this node."""

    names = ("kvm",)
    capabilities = HypervisorCapabilities()

    def __init__(
        self,
        node: str,
        settings: KvmSettings,
        *,
        run: Runner = run_command,
        host_memory: Callable[..., HostMemory] = read_memory,
    ) -> None:
        self._node, self._settings = node, settings
        self._host_memory = host_memory
        self._programs = Programs(run)
        self._watch = Watch(settings.connect_s)
        self._on_news: Callable[[], None] = lambda: None
        self._starter = Starter(settings, run, self._programs, self._watch, lambda: self._on_news())
        self._guests = Guests(settings, self._starter)

    def on_news(self, callback: Callable[[], None]) -> None:
        """See Hypervisor."""
        self._on_news = callback

    def close(self) -> None:
        """Let go of the guests, which go on."""
        for guest in self._guests.every():
            guest.monitor.close()
        self._watch.close()

    def needs(self) -> tuple[str, ...]:
        """See Hypervisor."""
        found = list(find_missing(self._programs))
        if too_long := longest_socket(Path(self._settings.run_directory)):
            found.append(
                f"the path {self._settings.run_directory} is {too_long} bytes too long for sockets:"
                " give the agent a shorter kvm.run_directory"
            )
        return tuple(found)

    def advises(self) -> tuple[str, ...]:
        """See Hypervisor."""
        found = []
        chosen = self._settings.accelerator == AUTO and not find_missing(self._programs)
        if chosen and not self._starter.accelerated():
            found.append(NO_KVM)
        if not has_vhost():
            found.append(NO_VHOST)
        if shutil.which("socat", path=PATH) is None:
            found.append("socat is missing, so serial consoles cannot be reached: install socat")
        return tuple(found)

    # --- running ------------------------------------------------------------------------------

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
        self._guests.note_generation(instance)
        guest = self._guests.get(instance.uuid)
        if guest is not None and guest.alive and not guest.record.incoming:
            if guest.record.instance.generation < instance.generation:
                raise StateMismatch(
                    f"{instance.name} still runs here from generation "
                    f"{guest.record.instance.generation}",
                    hint="stop it first: its disks may have moved on without it",
                )
        else:
            self._guests.forget(instance.uuid)
            self._check_memory(instance.name, instance.memory_mib)
            record = GuestRecord(
                instance=instance,
                layout=self._starter.layout(instance),
                devices=devices,
                interfaces=interfaces,
            )
            guest = self._guests.start(record, scope)
            self._guests.history.note_here(instance.uuid)
        self._set_paused(guest, paused=paused)
        return _run_state(guest)

    def ensure_stopped(self, uuid: str, *, grace_s: float, force: bool, scope: TaskScope) -> None:
        """See Hypervisor."""
        guest = self._guests.get(uuid)
        if guest is None:
            return
        if guest.alive and not guest.record.incoming and not force:
            scope.feedback(f"{guest.record.instance.name} is asked to shut down")
            if not guest.power_down(grace_s, scope):
                scope.feedback(f"{guest.record.instance.name} does not shut down and is forced")
        self._guests.forget(uuid)

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
        """See Hypervisor.

        "soft": the guest is asked to shut down, and started when it has; "hard": it is not asked.
        Either way it starts with the parameters that are in force now.
        """
        self._guests.note_generation(instance)
        guest = self._guests.get(instance.uuid)
        begun = guest is not None and guest.record.rebooting == incarnation
        if guest is None or not (guest.alive or begun):
            raise NoSuchThing(f"{instance.name} does not run here", hint="start it instead")
        if guest.record.incarnation != incarnation:
            self._check_memory(instance.name, instance.memory_mib - guest.memory_mib)
            record = GuestRecord(
                instance=instance,
                layout=self._starter.layout(instance),
                devices=devices,
                interfaces=interfaces,
                incarnation=incarnation,
            )
            guest.keep(rebooting=incarnation)
            if how == "soft" and guest.alive:
                guest.power_down(SOFT_GRACE_S, scope)
            try:
                guest.end()
                guest = self._guests.start(record, scope)
            except NodeAgentError:
                self._guests.forget(instance.uuid)
                raise
        self._set_paused(guest, paused=False)
        return _run_state(guest)

    def balloon(self, uuid: str, *, memory_mib: int) -> RunState:
        """See Hypervisor."""
        guest = self._guests.running(uuid)
        self._check_memory(guest.record.instance.name, memory_mib - guest.memory_mib)
        memory.set_memory(guest, memory_mib)
        return _run_state(guest)

    # --- hot-plug -----------------------------------------------------------------------------

    def plug_disk(self, instance: InstanceSpec, disk: str, *, device: Device) -> None:
        """See Hypervisor."""
        (spec,) = (each for each in instance.disks if each.uuid == disk)
        guest = self._guests.running(instance.uuid)
        hotplug.plug_disk(guest, spec, device, is_block=is_block(device))

    def unplug_disk(self, uuid: str, disk: str, *, scope: TaskScope) -> None:
        """See Hypervisor."""
        guest = self._guests.get(uuid)
        if guest is not None and guest.alive:
            hotplug.unplug_disk(guest, disk, scope)

    def plug_nic(self, instance: InstanceSpec, nic: str, *, interface: str) -> None:
        """See Hypervisor."""
        (spec,) = (each for each in instance.nics if each.uuid == nic)
        hotplug.plug_nic(self._guests.running(instance.uuid), spec, interface)

    def unplug_nic(self, uuid: str, nic: str, *, scope: TaskScope) -> None:
        """See Hypervisor."""
        guest = self._guests.get(uuid)
        if guest is not None and guest.alive:
            hotplug.unplug_nic(guest, nic, scope)

    def set_vcpus(self, uuid: str, *, vcpus: int, scope: TaskScope) -> RunState:
        """See Hypervisor."""
        guest = self._guests.running(uuid)
        hotplug.set_vcpus(guest, vcpus, scope)
        return _run_state(guest)

    def console(self, uuid: str) -> ConsoleSeen:
        """See Hypervisor."""
        guest = self._guests.running(uuid)
        found = parameters(guest.record.layout.hvparams)
        return console.console(guest.record.instance, found, guest.place)

    # --- migration ----------------------------------------------------------------------------

    def describe(self, instance: InstanceSpec) -> bytes:
        """See Hypervisor."""
        return receiving.description(self._guests.running(instance.uuid))

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
        self._guests.note_generation(instance)
        guest = self._guests.get(instance.uuid)
        if guest is not None and guest.alive and not guest.record.incoming:
            if guest.record.instance.generation == instance.generation:
                return receiving.target(guest, address)  # it has come already
            raise StateMismatch(f"{instance.name} runs here already")
        # One that is expected is made anew: it is not known whether it listens.
        self._guests.forget(instance.uuid)
        layout = receiving.layout(running) if running else self._starter.layout(instance)
        self._check_memory(instance.name, layout.memory_mib + sum(layout.dimms_mib))
        record = receiving.expected(instance, layout, devices, interfaces)
        guest = self._guests.start(record, scope)
        try:
            return receiving.listen(guest, address, scope)
        except NodeAgentError:
            self._guests.forget(instance.uuid)
            raise

    def send(
        self, instance: InstanceSpec, *, target: str, address: str, live: bool, scope: TaskScope
    ) -> None:
        """See Hypervisor."""
        uuid = instance.uuid
        self._guests.get(uuid)  # lets go of one that an agent which died here had sent
        if self._guests.history.now.sent.get(uuid) == (target, instance.generation):
            return
        guest = self._guests.running(uuid)
        sending.send(
            guest, instance, target=target, address=address, live=live,
            stalled_s=self._settings.stalled_s, scope=scope,
        )  # fmt: skip
        assert self._guests.get(uuid) is None, "it has gone"

    def finish(self, instance: InstanceSpec, *, source: str, target: str, succeeded: bool) -> None:
        """See Hypervisor."""
        uuid = instance.uuid
        guest = self._guests.get(uuid)
        if self._node == target:
            here = guest is not None and receiving.has_come(guest, instance.generation)
            if here != succeeded:
                where = "runs here" if here else "did not come here"
                raise StateMismatch(f"{instance.name} {where}", hint="look where it runs")
            if here:
                self._guests.history.note_here(uuid)
            else:
                self._guests.forget(uuid)
        elif self._node == source:
            if guest is not None and guest.alive and not succeeded:
                guest.hear()
                sending.call_off(guest)
                guest = self._guests.get(uuid)
            runs = guest is not None and guest.alive
            if succeeded and runs:
                raise StateMismatch(f"{instance.name} still runs here", hint="look where it runs")
            if not succeeded and not runs and uuid in self._guests.history.now.sent:
                raise StateMismatch(f"{instance.name} has gone to {target}")

    # --- what is seen -------------------------------------------------------------------------

    def seen(self) -> tuple[InstanceSeen, ...]:
        """See Hypervisor."""
        return tuple(
            InstanceSeen(
                guest.record.instance.uuid,
                guest.record.instance.name,
                guest.state,
                guest.memory_mib,
                guest.vcpus,
                guest.record.instance.generation,
            )
            for guest in self._guests.every()
            if guest.is_shown
        )

    def uses_disk(self, disk: str) -> bool:
        """See Hypervisor."""
        return any(
            not guest.dead and any(disk == spec.uuid for spec in guest.record.instance.disks)
            for guest in self._guests.every()
        )

    def memory(self) -> HostMemory:
        """See Hypervisor.

        Free is what a new guest may have: less than the kernel has free, for a guest takes its
        memory only when it first writes to it, and guests here were promised theirs.
        """
        guests = [guest for guest in self._guests.every() if not guest.dead]
        resident = sum(
            processes.resident_mib(guest.record.process.pid)
            for guest in guests
            if guest.record.process is not None
        )
        found = self._host_memory(guests_mib=resident)
        promised_mib = sum(guest.memory_mib for guest in guests)
        free_mib = max(found.total_mib - found.own_mib - promised_mib, 0)
        return found._replace(free_mib=free_mib)

    def cpus(self) -> HostCpus:
        """See Hypervisor."""
        return read_cpus()

    def versions(self) -> dict[str, str]:
        """See Hypervisor."""
        try:
            major, minor = self._programs.version(DEFAULT)
        except NodeAgentError as unknown:
            return {"hypervisor": f"kvm: {unknown}"}
        return {"hypervisor": f"QEMU {major}.{minor}"}

    # --- helpers ------------------------------------------------------------------------------

    def _set_paused(self, guest: Guest, *, paused: bool) -> None:
        guest.hear()
        guest.look()
        if paused and guest.state == RUNNING:
            guest.monitor.execute("stop")
            guest.look()
        elif not paused and guest.state != RUNNING:
            run_on(guest)

    def _check_memory(self, name: str, more_mib: int) -> None:
        free_mib = self.memory().free_mib
        if more_mib > free_mib:
            raise NoRoom(
                f"{name} needs {more_mib} MiB of memory, {free_mib} MiB are free",
                hint="choose a node with more memory, or lower the memory of the instance",
            )


def _run_state(guest: Guest) -> RunState:
    return RunState(
        state=guest.state,
        memory_mib=guest.memory_mib,
        vcpus=guest.vcpus,
        generation=guest.record.instance.generation,
    )

"""From a call to the drivers that make it true (edge).

The only place that knows every call; it decides nothing. Runs on worker threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, assert_never

import msgspec

from eventstore.packed import Packed
from nodeagent import calls
from nodeagent.allocators import Allocators
from nodeagent.calls import Device, HostFacts, InstanceSpec, NodeCheck, NodeStatus
from nodeagent.errors import BadCall, Missing
from nodeagent.hypervisor.contract import Hypervisor
from nodeagent.inventory import inventory
from nodeagent.network.contract import AddressDriver, NetworkDriver
from nodeagent.os_interface import OsInterface
from nodeagent.runner import run_command
from nodeagent.storage.disks import Disks
from nodeagent.task_scope import TaskScope
from nodeagent.voter_host import VoterHost

T = TypeVar("T")
# Made here and not as calls come in: two workers that meet a type of msgspec's for the first time
# at the same moment would crash the process (docs/decisions/0206).
_DECODERS = {name: msgspec.msgpack.Decoder(kind) for name, kind in calls.CALLS.items()}
_LEFT_TOLD = 50  # instances whose interfaces were left, in one answer


class Interference(Protocol):
    """What the lab may do to a call; a node outside a lab has none."""

    def before(self, call: str, scope: TaskScope) -> None:
        """Called before the call acts."""

    def after(self, call: str) -> None:
        """Called when it has acted."""

    def passed(self, point: str) -> None:
        """Called at each point of a task's path."""


@dataclass(frozen=True, slots=True)
class Drivers:
    """What acts on this node."""

    disks: Disks
    hypervisors: tuple[Hypervisor, ...]
    networks: tuple[NetworkDriver, ...]
    os: OsInterface
    boot_id: str
    simulated: bool
    interference: Interference | None = None
    allocators: Allocators = field(default_factory=lambda: Allocators((), run_command))
    addresses: AddressDriver | None = None  # None: this node can hold no address of the master
    facts: Callable[[calls.Probe], HostFacts] | None = None
    versions: Callable[[], Mapping[str, str]] = dict  # of what is under the drivers
    use_volume_group: Callable[[str], None] = lambda _: (
        None
    )  # whose room counts; empty: none is known yet

    def lacks(self) -> dict[str, tuple[str, ...]]:
        """What the drivers lack on this node, by what needs it (`NodeCheck.lacks`)."""
        lacks = self.disks.lacks()
        lacks |= {hypervisor.names[0]: hypervisor.needs() for hypervisor in self.hypervisors}
        network = {need: None for driver in self.networks for need in driver.needs()}
        if self.addresses is not None:
            network |= dict.fromkeys(self.addresses.needs())
        lacks["network"] = tuple(network)
        return {what: needs for what, needs in lacks.items() if needs}

    def advice(self) -> dict[str, tuple[str, ...]]:
        """What the hypervisors can do without, but not as well."""
        advice = {hypervisor.names[0]: hypervisor.advises() for hypervisor in self.hypervisors}
        return {what: advises for what, advises in advice.items() if advises}


def decode_call(packed: Packed) -> calls.Call:
    """Return the call. Raises BadCall for one that this agent does not know or cannot read."""
    kind = calls.CALLS.get(packed.name)
    if kind is None or packed.version != kind.VERSION:
        raise BadCall(
            f"this agent does not know the call {packed.name} version {packed.version}",
            hint="upgrade the agent of this node",
        )
    try:
        return _DECODERS[packed.name].decode(packed.data)
    except msgspec.MsgspecError as wrong:
        raise BadCall(f"not a {packed.name}: {wrong}", hint="upgrade the agent") from None


class Executor:
    """Makes calls true. `status` says what is seen of the node now."""

    def __init__(
        self, drivers: Drivers, status: Callable[[], NodeStatus], voter: VoterHost
    ) -> None:
        self._drivers = drivers
        self._voter = voter
        self._disks = drivers.disks
        self._status = status
        self._hypervisor_of = {name: hv for hv in drivers.hypervisors for name in hv.names}
        self._network_of = {mode: net for net in drivers.networks for mode in net.modes}

    def perform(self, call: calls.Call, scope: TaskScope) -> msgspec.Struct | None:
        """Make the wanted result true and return it. Raises NodeAgentError."""
        interference = self._drivers.interference
        if interference is not None:
            interference.before(call.NAME, scope)
        scope.check(left="nothing was done")
        result = self._perform(call, scope)
        if interference is not None:
            interference.after(call.NAME)
        return result

    def _perform(self, call: calls.Call, scope: TaskScope) -> msgspec.Struct | None:
        match call:
            case calls.EnsureVolume():
                self._disks.ensure_volume(call, scope)
            case calls.RemoveVolume():
                self._disks.remove_volume(call, scope)
            case calls.DescribeVolumes():
                return self._disks.describe_volumes(call)
            case calls.AdoptVolume():
                self._disks.adopt_volume(call, scope)
            case calls.ReleaseVolume():
                self._disks.release_volume(call, scope)
            case calls.EnsureSnapshot():
                self._disks.ensure_snapshot(call, scope)
            case calls.WipeDisk():
                self._disks.wipe(call, scope)
            case calls.EnsureReplicated():
                self._disks.ensure_replicated(call, scope)
            case calls.RemoveReplicated():
                self._disks.remove_replicated(call, scope)
            case calls.EnsureActive():
                return self._disks.ensure_active(call, scope)
            case calls.EnsureInactive():
                self._disks.ensure_inactive(call, scope)
            case calls.Probe():
                return self._check(call)
            case calls.RunAllocator():
                return self._drivers.allocators.ask(call, scope)
            case calls.EnsureVoter():
                return self._voter.ensure(call, scope)
            case calls.RemoveVoter():
                self._voter.remove(call.cluster_id)
            case calls.EnsureMasterAddress():
                taken = self._addresses.ensure_address(
                    call.address, prefix=call.prefix, device=call.device
                )
                return calls.AddressTaken(also_at=taken)
            case calls.RemoveMasterAddress():
                self._addresses.ensure_no_address(call.address, device=call.device)
            case calls.LeaveCluster():
                pass  # the agent itself forgets, once the leader has heard that this is done
            case _:
                return self._perform_on_instance(call, scope)
        return None

    def _perform_on_instance(self, call: calls.Call, scope: TaskScope) -> msgspec.Struct | None:
        match call:
            case calls.InstallOs(instance=instance):
                devices = self._devices(instance)
                self._drivers.os.create(
                    instance, devices, reinstall=call.reinstall,
                    debug_level=call.debug_level, scope=scope,
                )  # fmt: skip
            case calls.RenameOs(instance=instance):
                devices = self._devices(instance)
                self._drivers.os.rename(instance, devices, old_name=call.old_name, scope=scope)
            case calls.EnsureRunning(instance=instance):
                return self._run(instance, paused=call.paused, scope=scope)
            case calls.EnsureStopped():
                hypervisor = self._hypervisor(call.hypervisor)
                hypervisor.ensure_stopped(
                    call.instance, grace_s=call.grace_s, force=call.force, scope=scope
                )
                self._interfaces_down(call.instance, scope)
            case calls.Reboot(instance=instance):
                return self._hypervisor(instance.hypervisor).reboot(
                    instance,
                    devices=self._devices(instance),
                    interfaces=self._interfaces_up(instance, scope),
                    how=call.how,
                    incarnation=call.incarnation,
                    scope=scope,
                )
            case calls.BalloonMemory():
                hypervisor = self._hypervisor(call.hypervisor)
                return hypervisor.balloon(call.instance, memory_mib=call.memory_mib)
            case calls.DescribeConsole():
                return self._hypervisor(call.hypervisor).console(call.instance)
            case calls.SetVcpus():
                hypervisor = self._hypervisor(call.hypervisor)
                return hypervisor.set_vcpus(call.instance, vcpus=call.vcpus, scope=scope)
            case calls.PlugDisk() | calls.UnplugDisk() | calls.PlugNic() | calls.UnplugNic():
                self._plug(call, scope)
            case _:
                return self._migrate(call, scope)
        return None

    def _plug(
        self,
        call: calls.PlugDisk | calls.UnplugDisk | calls.PlugNic | calls.UnplugNic,
        scope: TaskScope,
    ) -> None:
        match call:
            case calls.PlugDisk(instance=instance):
                disk = _part(instance.disks, call.disk)
                self._hypervisor(instance.hypervisor).plug_disk(
                    instance, disk.uuid, device=self._disks.device(disk)
                )
            case calls.UnplugDisk():
                self._hypervisor(call.hypervisor).unplug_disk(call.instance, call.disk, scope=scope)
            case calls.PlugNic(instance=instance):
                nic = _part(instance.nics, call.nic)
                network = _choose(self._network_of, nic.mode, "network mode")
                interface = network.ensure_up(instance, nic, scope=scope)
                self._hypervisor(instance.hypervisor).plug_nic(
                    instance, nic.uuid, interface=interface
                )
            case calls.UnplugNic():
                self._hypervisor(call.hypervisor).unplug_nic(call.instance, call.nic, scope=scope)
                for network in self._drivers.networks:
                    network.ensure_down(call.instance, nic=call.nic, scope=scope)
            case _:
                assert_never(call)

    def _migrate(self, call: calls.Call, scope: TaskScope) -> msgspec.Struct | None:
        match call:
            case calls.DescribeRunning(instance=instance):
                description = self._hypervisor(instance.hypervisor).describe(instance)
                return calls.RunningGuest(description=description)
            case calls.PrepareMigration(instance=instance):
                return self._hypervisor(instance.hypervisor).prepare(
                    instance,
                    devices=self._devices(instance),
                    interfaces=self._interfaces_up(instance, scope, incoming=True),
                    address=call.address,
                    running=call.running,
                    scope=scope,
                )
            case calls.Migrate(instance=instance):
                self._hypervisor(instance.hypervisor).send(
                    instance, target=call.target, address=call.target_address,
                    live=call.live, scope=scope,
                )  # fmt: skip
                self._interfaces_down(instance.uuid, scope)
            case calls.FinishMigration(instance=instance):
                hypervisor = self._hypervisor(instance.hypervisor)
                hypervisor.finish(
                    instance, source=call.source, target=call.target, succeeded=call.succeeded
                )
                if any(seen.uuid == instance.uuid for seen in hypervisor.seen()):
                    self._interfaces_up(instance, scope)
                else:
                    self._interfaces_down(instance.uuid, scope)
            case _:
                raise BadCall(f"this agent does not perform {call.NAME}", hint="upgrade it")
        return None

    def _run(self, instance: InstanceSpec, *, paused: bool, scope: TaskScope) -> msgspec.Struct:
        return self._hypervisor(instance.hypervisor).ensure_running(
            instance,
            devices=self._devices(instance),
            interfaces=self._interfaces_up(instance, scope),
            paused=paused,
            scope=scope,
        )

    @property
    def _addresses(self) -> AddressDriver:
        driver = self._drivers.addresses
        if driver is None:
            raise Missing(
                "no driver here can hold the master's address",
                hint="gnt-cluster modify --master-netdev= gives the address up",
            )
        return driver

    def _check(self, probe: calls.Probe) -> NodeCheck:
        status = msgspec.structs.replace(self._status(), disks=())
        lacks = self._drivers.lacks()
        check = NodeCheck(
            status=status,
            missing=tuple(need for needs in lacks.values() for need in needs),
            lacks=lacks,
            advice=self._drivers.advice(),
            host=self._drivers.facts(probe) if self._drivers.facts is not None else None,
        )
        if not probe.inventory:
            return check
        known = {seen.uuid for seen in status.instances}
        check = msgspec.structs.replace(
            check,
            os=self._drivers.os.definitions(),
            interfaces_left=tuple(
                uuid
                for network in self._drivers.networks
                for uuid in network.instances()
                if uuid not in known
            )[:_LEFT_TOLD],
        )
        holds = inventory(
            self._disks.volumes(),
            self._disks.minors(),
            probe.buckets,
            beside_bytes=len(msgspec.msgpack.encode(check)),
        )
        return msgspec.structs.replace(check, holds=holds)

    def _devices(self, instance: InstanceSpec) -> tuple[Device, ...]:
        return tuple(self._disks.device(disk) for disk in instance.disks)

    def _hypervisor(self, name: str) -> Hypervisor:
        return _choose(self._hypervisor_of, name, "hypervisor")

    def _interfaces_up(
        self, instance: InstanceSpec, scope: TaskScope, *, incoming: bool = False
    ) -> tuple[str, ...]:
        return tuple(
            _choose(self._network_of, nic.mode, "network mode").ensure_up(
                instance, nic, scope=scope, incoming=incoming
            )
            for nic in instance.nics
        )

    def _interfaces_down(self, instance: str, scope: TaskScope) -> None:
        for network in self._drivers.networks:
            network.ensure_down(instance, scope=scope)


def disks_named(call: calls.Call) -> tuple[tuple[str, str], ...]:
    """Which (disk, instance) a call names: what the observer must know to report on a disk."""
    match call:
        case calls.EnsureReplicated(disk=disk) | calls.EnsureActive(disk=disk):
            return ((disk.uuid, disk.instance),)
    return ()


class _Named(Protocol):
    @property
    def uuid(self) -> str: ...


N = TypeVar("N", bound=_Named)


def _part(parts: tuple[N, ...], uuid: str) -> N:
    found = next((part for part in parts if part.uuid == uuid), None)
    if found is None:
        raise BadCall(f"the instance has no {uuid}", hint="name one of its disks or NICs")
    return found


def _choose(of: dict[str, T], name: str, what: str) -> T:
    found = of.get(name)
    if found is None:
        known = ", ".join(sorted(of)) or "none"
        raise BadCall(f"no driver here for {what} {name!r}", hint=f"known: {known}")
    return found

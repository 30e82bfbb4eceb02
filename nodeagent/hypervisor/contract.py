"""What the agent asks of a hypervisor: run, stop, move guests (pure).

For QEMU over QMP, Xen through xl, LXC, and the simulated one. Every method states a wanted result.

A guest bears the **generation** under which it was started: it rises at each change of primary. A
node remembers the highest that it was ever asked for and refuses a lower one, so that a late order
of an earlier time cannot start a second copy (REPLICATION 3.6, "effects guard themselves").

A guest that has ended without an order is still known: `crashed`, or `user-down` if its own user
shut it down. `ensure_stopped` forgets it, `ensure_running` starts it anew.

Migration is five calls, in this order: `describe` on the source, `prepare` on the target, `send` on
the source, `finish` on both. At every moment at most one of the two runs the guest.

Errors: NoRoom (memory), StateMismatch, NoSuchThing, Missing, BadCall, CommandFailed, Stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from nodeagent.calls import (
    ConsoleSeen,
    Device,
    InstanceSeen,
    InstanceSpec,
    MigrationTarget,
    RunState,
)
from nodeagent.task_scope import TaskScope


class HypervisorCapabilities(NamedTuple):
    """What a hypervisor can do, of what not all of them can."""

    live_migration: bool = True
    migration: bool = True
    balloon: bool = True
    hotplug: bool = True
    pause: bool = True
    soft_reboot: bool = True
    user_shutdown: bool = True  # tells a guest's own shutdown from a crash


class HostMemory(NamedTuple):
    """Memory of the node as the hypervisor counts it, MiB."""

    total_mib: int
    free_mib: int
    own_mib: int


class HostCpus(NamedTuple):
    """Processors of the node."""

    cpus: int
    sockets: int
    numa_nodes: int


class Hypervisor(Protocol):
    """Guests on this node."""

    @property
    def names(self) -> tuple[str, ...]:
        """The values of `InstanceSpec.hypervisor` that it serves."""

    @property
    def capabilities(self) -> HypervisorCapabilities:
        """What it can do."""

    def on_news(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, on any thread, as soon as what is seen may have changed.

        A driver that is not told of changes never calls it: `seen` is looked at anyway.
        """

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work, one sentence each."""

    def advises(self) -> tuple[str, ...]:
        """What it can do without, but not as well, one sentence each."""

    def ensure_running(
        self,
        instance: InstanceSpec,
        *,
        devices: tuple[Device, ...],
        interfaces: tuple[str, ...],
        paused: bool,
        scope: TaskScope,
    ) -> RunState:
        """The guest runs here, on these devices (one per disk) and interfaces (one per NIC).

        A guest that runs already is left alone. Raises NoRoom; StateMismatch for an older
        generation than was seen here, or if an older one still runs.
        """

    def ensure_stopped(self, uuid: str, *, grace_s: float, force: bool, scope: TaskScope) -> None:
        """The guest does not run here and is not known. Asks it first, then forces it."""

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
        """The guest was rebooted for this order, once, and is as its configuration says now.

        Raises NoSuchThing if it does not run.
        """

    def console(self, uuid: str) -> ConsoleSeen:
        """Return how the console of the running guest is reached. Raises NoSuchThing."""

    def describe(self, instance: InstanceSpec) -> bytes:
        """Return how the running guest is put together, for the driver of the node it goes to.

        In the driver's own words. Raises NoSuchThing if it does not run here.
        """

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
        """This node waits for the guest at `address`, one of its own; its memory is set aside.

        `running`: what `describe` returned on the source; empty: it is as its configuration says.
        """

    def send(
        self, instance: InstanceSpec, *, target: str, address: str, live: bool, scope: TaskScope
    ) -> None:
        """The guest has gone to `target`. A second call finds it gone and does nothing.

        Raises StateMismatch if the target is not ready. Stopped: it still runs here.
        """

    def finish(self, instance: InstanceSpec, *, source: str, target: str, succeeded: bool) -> None:
        """On either side: what the migration left is in order. Raises StateMismatch if the guest
        is not where `succeeded` says."""

    def plug_disk(self, instance: InstanceSpec, disk: str, *, device: Device) -> None:
        """The running guest has this disk (uuid) of the instance, found at `device`.

        Raises NoSuchThing if it does not run, NoRoom, BadCall for what cannot be plugged in.
        """

    def unplug_disk(self, uuid: str, disk: str, *, scope: TaskScope) -> None:
        """The guest does not use this disk (uuid); nothing happens if it does not run.

        Raises StateMismatch if its system does not let go of it.
        """

    def plug_nic(self, instance: InstanceSpec, nic: str, *, interface: str) -> None:
        """The running guest has this NIC (uuid) of the instance, on `interface`. As for disks."""

    def unplug_nic(self, uuid: str, nic: str, *, scope: TaskScope) -> None:
        """The guest does not have this NIC (uuid). As for disks."""

    def set_vcpus(self, uuid: str, *, vcpus: int, scope: TaskScope) -> RunState:
        """The running guest has so many vCPUs. Raises NoSuchThing, NoRoom, BadCall, StateMismatch
        if its system does not let go of one."""

    def balloon(self, uuid: str, *, memory_mib: int) -> RunState:
        """The guest has this much memory. Raises NoSuchThing, NoRoom."""

    def seen(self) -> tuple[InstanceSeen, ...]:
        """Every guest it knows, also those that nobody here started."""

    def uses_disk(self, disk: str) -> bool:
        """Whether a guest here has the disk (uuid) open."""

    def memory(self) -> HostMemory:
        """Memory of the node."""

    def cpus(self) -> HostCpus:
        """Processors of the node."""

    def versions(self) -> dict[str, str]:
        """Versions of its parts, for `NodeStatus.versions`."""

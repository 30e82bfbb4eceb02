"""Calls about an instance on one node (pure)."""

from __future__ import annotations

from typing import ClassVar

from nodeagent.calls.call import Call
from nodeagent.calls.specs import InstanceSpec


class InstallOs(Call, frozen=True, kw_only=True):
    """The OS definition's `create` has run to its end on the instance's disks (active here).

    Source: Ganeti's OS interface, version 20 (docs/os-interface.md).
    """

    NAME: ClassVar[str] = "install-os"

    instance: InstanceSpec
    reinstall: bool = False
    debug_level: int = 0


class RenameOs(Call, frozen=True, kw_only=True):
    """The OS definition's `rename` has run, so that the guest knows its new name."""

    NAME: ClassVar[str] = "rename-os"

    instance: InstanceSpec
    old_name: str


class EnsureRunning(Call, frozen=True, kw_only=True):
    """The instance runs here, with its interfaces up. Its disks must be active.

    Returns `RunState`.
    """

    NAME: ClassVar[str] = "ensure-running"

    instance: InstanceSpec
    paused: bool = False


class EnsureStopped(Call, frozen=True, kw_only=True):
    """The instance does not run here. Asks the guest first, and forces it after `grace_s`."""

    NAME: ClassVar[str] = "ensure-stopped"

    instance: str  # uuid
    name: str
    hypervisor: str
    grace_s: int = 120
    force: bool = False


class Reboot(Call, frozen=True, kw_only=True):
    """The instance was rebooted: by its guest ("soft") or by the hypervisor ("hard").

    `incarnation` is new for each order, so that a call made twice reboots once.
    """

    NAME: ClassVar[str] = "reboot"

    instance: InstanceSpec
    how: str
    incarnation: str


class DescribeConsole(Call, frozen=True, kw_only=True):
    """Nothing changes. Returns `ConsoleSeen`: how the console of the running guest is reached."""

    NAME: ClassVar[str] = "describe-console"

    instance: str  # uuid
    name: str
    hypervisor: str


class DescribeRunning(Call, frozen=True, kw_only=True):
    """Nothing changes. Returns `RunningGuest`: how the running guest is put together."""

    NAME: ClassVar[str] = "describe-running"

    instance: InstanceSpec


class PrepareMigration(Call, frozen=True, kw_only=True):
    """This node, the target, waits for the instance, whose disks are active here.

    Returns `MigrationTarget`.
    """

    NAME: ClassVar[str] = "prepare-migration"

    instance: InstanceSpec
    address: str = ""  # of this node, where it is to wait
    running: bytes = b""  # what `DescribeRunning` returned on the source


class Migrate(Call, frozen=True, kw_only=True):
    """The instance was sent from here to `target`, and runs there. A second call finds it gone."""

    NAME: ClassVar[str] = "migrate"

    instance: InstanceSpec
    target: str  # uuid
    target_address: str
    live: bool = True


class FinishMigration(Call, frozen=True, kw_only=True):
    """On either node: what the migration left is in order. `succeeded`: the target keeps it."""

    NAME: ClassVar[str] = "finish-migration"

    instance: InstanceSpec
    source: str  # uuid
    target: str  # uuid
    succeeded: bool


class PlugDisk(Call, frozen=True, kw_only=True):
    """The running instance has this disk (uuid, one of its disks), which is active here."""

    NAME: ClassVar[str] = "plug-disk"

    instance: InstanceSpec
    disk: str


class UnplugDisk(Call, frozen=True, kw_only=True):
    """The instance does not use this disk (uuid), if it runs at all."""

    NAME: ClassVar[str] = "unplug-disk"

    instance: str  # uuid
    hypervisor: str
    disk: str


class PlugNic(Call, frozen=True, kw_only=True):
    """The running instance has this NIC (uuid, one of its NICs), with its interface up."""

    NAME: ClassVar[str] = "plug-nic"

    instance: InstanceSpec
    nic: str


class UnplugNic(Call, frozen=True, kw_only=True):
    """The instance does not have this NIC (uuid), whose interface here is gone."""

    NAME: ClassVar[str] = "unplug-nic"

    instance: str  # uuid
    hypervisor: str
    nic: str


class SetVcpus(Call, frozen=True, kw_only=True):
    """The running instance has so many vCPUs. Returns `RunState`."""

    NAME: ClassVar[str] = "set-vcpus"

    instance: str  # uuid
    hypervisor: str
    vcpus: int


class BalloonMemory(Call, frozen=True, kw_only=True):
    """The running instance has this much memory."""

    NAME: ClassVar[str] = "balloon-memory"

    instance: str  # uuid
    name: str
    hypervisor: str
    memory_mib: int

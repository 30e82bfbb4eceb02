"""The command lines of DRBD 8.4, one method for each effect (edge).

Names of resources, numbers of minors and addresses are what DRBD knows; disks are the business of
drbd.py.
Checked with drbd 8.4.11 and drbd-utils 9.22, whose `drbdsetup` speaks the language of the module
that is loaded.
"""

from __future__ import annotations

from nodeagent.errors import CommandFailed, Missing
from nodeagent.storage.drbd_metadata import new_metadata
from nodeagent.storage.drbd_options import Params, disk_options, net_options
from nodeagent.storage.drbd_state import MinorState, Resource, read_proc, read_show
from nodeagent.storage.system import System
from nodeagent.task_scope import TaskScope

PROC = "/proc/drbd"
_HELPER = "/sys/module/drbd/parameters/usermode_helper"
_TOOLS = ("drbdsetup", "drbdmeta")
_SECTORS_PER_MIB = 2048
_LAYOUT = ("v08",)
_VERSIONS = ("version: 8.4.", "version: 9.")


class Drbd84:
    """Acts on the DRBD of one node; implements `DrbdTool`. Every effect is one command."""

    layout = "v08"

    def __init__(self, system: System) -> None:
        self._system = system

    def needs(self) -> tuple[str, ...]:
        """See DrbdTool."""
        return orders_left(self._system)

    # --- looking ------------------------------------------------------------------------------

    def states(self) -> dict[int, MinorState]:
        """Return the state of each minor; none if the module is not loaded. No command."""
        try:
            return read_proc(self._system.read(PROC))
        except Missing:
            return {}

    def glance(self) -> dict[int, MinorState]:
        """See DrbdTool."""
        return self.states()

    def resources(self, scope: TaskScope) -> dict[str, Resource]:
        """Return the configuration of each resource."""
        return read_show(self._system.run(["drbdsetup", "show"], scope=scope))

    def size_mib(self, minor: int) -> int:
        """Return the size of a minor, 0 if it has none. No command."""
        return size_mib(self._system, minor)

    def kernel_words(self, resource: str, minor: int, scope: TaskScope) -> str:
        """Return what the kernel said last of a mirror, for a person."""
        lines = self._system.run(["dmesg"], scope=scope).splitlines()
        names = (f"drbd {resource}:", f"block drbd{minor}:")
        return "\n".join([line for line in lines if any(name in line for name in names)][-20:])

    # --- metadata -----------------------------------------------------------------------------

    def create_metadata(self, minor: int, meta: str, scope: TaskScope) -> None:
        """New metadata of a side without data. What was on the device is lost."""
        argv = ["drbdmeta", "--force", str(minor), *_LAYOUT, meta, "flex-external", "create-md"]
        self._system.run(argv, scope=scope)

    def create_filled_metadata(
        self, minor: int, meta: str, *, generation: int, size_mib: int, peer_node: int,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """New metadata of a side whose data are in order. What was on the device is lost.

        `restore-md` leaves the room of the activity log as it is, and without a log in it the side
        could not be attached again after a loss of power; `create-md` writes an empty one.
        """
        self.create_metadata(minor, meta, scope)
        # By way of a file: drbdmeta does not read all of a pipe.
        text = new_metadata(generation, size_mib)
        path = self._system.write(f"drbd{minor}-metadata", text)
        argv = ["drbdmeta", "--force", str(minor), *_LAYOUT, meta, "flex-external", "restore-md"]
        self._system.run([*argv, path], scope=scope)

    def apply_log(self, minor: int, meta: str, scope: TaskScope) -> None:
        """The activity log of earlier use is in the bitmap; without that, `attach` is refused."""
        argv = ["drbdmeta", str(minor), *_LAYOUT, meta, "flex-external", "apply-al"]
        self._system.run(argv, scope=scope)

    # --- resource and disk --------------------------------------------------------------------

    def new_resource(self, resource: str, node_id: int | None, scope: TaskScope) -> None:
        """There is a resource of this name. Nodes have no numbers in this version."""
        self._setup("new-resource", resource, scope=scope)

    def new_minor(self, resource: str, minor: int, scope: TaskScope) -> None:
        """The resource has this minor, as its volume 0."""
        self._setup("new-minor", resource, str(minor), "0", scope=scope)

    def attach(
        self, minor: int, data: str, meta: str, *, size_mib: int, params: Params, scope: TaskScope
    ) -> None:
        """The minor stands on these devices. An error of theirs detaches it: the peer goes on."""
        fixed = ["--on-io-error=detach", f"--size={size_mib}m"]
        options = disk_options(params)
        self._setup("attach", str(minor), data, meta, "flexible", *fixed, *options, scope=scope)

    def set_disk_options(
        self, resource: str, minor: int, peer_node: int | None, params: Params, scope: TaskScope
    ) -> None:
        """The disk has the options of these parameters, and of all others the defaults."""
        fixed = ["--set-defaults", str(minor), "--on-io-error=detach"]
        self._setup("disk-options", *fixed, *disk_options(params), scope=scope)

    def detach(self, minor: int, scope: TaskScope) -> None:
        """The minor has no disk. A primary without a peer loses its data by this: ask first."""
        self._setup("detach", str(minor), scope=scope)

    def resize(self, minor: int, size_mib: int, *, alone: bool, scope: TaskScope) -> None:
        """The mirror has this size on both sides; one must be primary."""
        assume = ["--assume-peer-has-space"] if alone else []
        self._setup("resize", str(minor), f"--size={size_mib}m", *assume, scope=scope)

    def down(self, resource: str, scope: TaskScope) -> None:
        """The resource is gone with its minor. If it is in use this fails half-way: ask first."""
        self._setup("down", resource, scope=scope)

    # --- peer and role ------------------------------------------------------------------------

    def connect(
        self, resource: str, present: Resource, wanted: Resource, *, params: Params, secret: str,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """The resource looks for the peer that is `wanted`."""
        options = net_options(params, secret=secret, two_primaries=present.two_primaries)
        ends = (inet(wanted.own), inet(wanted.peer))
        self._setup("connect", resource, *ends, *options, scope=scope)

    def disconnect(self, resource: str, present: Resource, scope: TaskScope) -> None:
        """The resource has no peer."""
        self._setup("disconnect", inet(present.own), inet(present.peer), scope=scope)

    def allow_two_primaries(
        self, resource: str, present: Resource, *, allow: bool, scope: TaskScope
    ) -> None:
        """Its peer may be primary too, or not."""
        option = f"--allow-two-primaries={'yes' if allow else 'no'}"
        self._setup("net-options", inet(present.own), inet(present.peer), option, scope=scope)

    def promote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """It is primary; returns why not."""
        return self._try("primary", minor, scope)

    def demote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """It is secondary; returns why not."""
        return self._try("secondary", minor, scope)

    def _try(self, order: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        try:
            self._setup(order, str(minor), scope=scope)
        except CommandFailed as failed:
            return failed
        return None

    def _setup(self, *arguments: str, scope: TaskScope) -> None:
        self._system.run(["drbdsetup", *arguments], scope=scope)


def inet(address: str) -> str:
    """Return an address with its port as `drbdsetup` takes it."""
    return f"ipv6:{address}" if address.startswith("[") else f"ipv4:{address}"


def size_mib(system: System, minor: int) -> int:
    """Return the size of a minor, 0 if it has none. No command."""
    try:
        sectors = system.read(f"/sys/block/drbd{minor}/size")
    except Missing:
        return 0
    return int(sectors) // _SECTORS_PER_MIB


def orders_left(system: System) -> tuple[str, ...]:
    """Return what a person has still to do for DRBD to work here, whatever its version."""
    missing = [
        f"{tool} is missing: install the package drbd-utils"
        for tool in _TOOLS
        if not system.has_tool(tool)
    ]
    if not system.exists(PROC):
        return (*missing, "the module drbd is not loaded: modprobe drbd minor_count=128")
    first = system.read(PROC).partition("\n")[0]
    if not first.startswith(_VERSIONS):
        missing.append(f"DRBD 8.4 or 9 is needed, {first} is loaded")
    elif system.read(_HELPER).strip() != "/bin/true":
        missing.append("drbd calls a helper: modprobe drbd usermode_helper=/bin/true")
    return tuple(missing)

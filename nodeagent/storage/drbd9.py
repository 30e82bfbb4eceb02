"""The command lines of DRBD 9, one method for each effect (edge).

What differs from 8.4: nodes have numbers in a resource (the plan gives them, they stay while a side
stays); a peer and the path to it are made before the connection; roles are of the resource; the
speed of a resync belongs to the peer; metadata (v09) are another layout; and states are told by
`drbdsetup status --json`, which is a command, so that they are looked at every few seconds only.

A resource is told not to promote itself when somebody opens it (`auto-promote`): roles are ordered.

Checked against what DRBD 9.2 and drbd-utils 9.22 were seen to take and to print; the driver as a
whole has not run on a machine with this module yet.
Sources: drbdsetup-9.0(8), drbdmeta-9.0(8), drbd.conf-9.0(5).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nodeagent.errors import BadCall, CommandFailed, Missing
from nodeagent.storage.drbd84 import PROC, inet, orders_left, size_mib
from nodeagent.storage.drbd_options import Params, custom_disk, flush_options, net_options, resync
from nodeagent.storage.drbd_state import MinorState, Resource
from nodeagent.storage.drbd_status import read_show9, read_status
from nodeagent.storage.system import System
from nodeagent.task_scope import TaskScope

GLANCE_S = 3.0
_TRANSPORT = "/sys/module/drbd_transport_tcp"
_PEERS = "1"  # for which the metadata have room


class Drbd9:
    """Acts on the DRBD of one node; implements `DrbdTool`."""

    layout = "v09"

    def __init__(self, system: System, *, now: Callable[[], float] = time.monotonic) -> None:
        self._system, self._now = system, now
        self._seen: dict[int, MinorState] = {}
        self._seen_at = -GLANCE_S

    def needs(self) -> tuple[str, ...]:
        """See DrbdTool."""
        missing = orders_left(self._system)
        if not self._system.exists(_TRANSPORT):
            missing = (*missing, "the module drbd_transport_tcp is not loaded: modprobe it")
        return missing

    # --- looking ------------------------------------------------------------------------------

    def states(self) -> dict[int, MinorState]:
        """See DrbdTool. One command."""
        if not self._system.exists(PROC):
            return {}
        text = self._system.run(["drbdsetup", "status", "--json"], scope=TaskScope())
        self._seen, self._seen_at = read_status(text), self._now()
        return self._seen

    def glance(self) -> dict[int, MinorState]:
        """See DrbdTool."""
        if self._now() - self._seen_at < GLANCE_S:
            return self._seen
        return self.states()

    def resources(self, scope: TaskScope) -> dict[str, Resource]:
        """See DrbdTool."""
        return read_show9(self._system.run(["drbdsetup", "show"], scope=scope))

    def size_mib(self, minor: int) -> int:
        """See DrbdTool."""
        return size_mib(self._system, minor)

    def kernel_words(self, resource: str, minor: int, scope: TaskScope) -> str:
        """See DrbdTool."""
        lines = self._system.run(["dmesg"], scope=scope).splitlines()
        names = tuple(f"drbd {resource}{end}" for end in (":", " ", "/"))
        return "\n".join([line for line in lines if any(name in line for name in names)][-20:])

    # --- metadata -----------------------------------------------------------------------------

    def create_metadata(self, minor: int, meta: str, scope: TaskScope) -> None:
        """See DrbdTool."""
        self._meta(minor, meta, "create-md", _PEERS, scope=scope, force=True)

    def create_filled_metadata(
        self, minor: int, meta: str, *, generation: int, size_mib: int, peer_node: int,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """See DrbdTool. In two steps: a crash between them leaves metadata that count as empty."""
        self.create_metadata(minor, meta, scope)
        # current, bitmap and two older ids; consistent; up to date
        ids = f"{generation:016X}:{0:016X}:{0:016X}:{0:016X}:1:1:"
        argv = ["drbdmeta", "--force", "--node-id", str(peer_node), str(minor), self.layout]
        self._system.run([*argv, meta, "flex-external", "set-gi", ids], scope=scope)

    def apply_log(self, minor: int, meta: str, scope: TaskScope) -> None:
        """See DrbdTool."""
        self._meta(minor, meta, "apply-al", scope=scope)

    # --- resource and disk --------------------------------------------------------------------

    def new_resource(self, resource: str, node_id: int | None, scope: TaskScope) -> None:
        """See DrbdTool."""
        if node_id is None:
            raise BadCall(
                f"{resource} was made for DRBD 8.4: this node has no number in it",
                hint="make its disks anew on nodes with DRBD 9",
            )
        self._setup("new-resource", resource, str(node_id), "--auto-promote=no", scope=scope)

    def new_minor(self, resource: str, minor: int, scope: TaskScope) -> None:
        """See DrbdTool."""
        self._setup("new-minor", resource, str(minor), "0", scope=scope)

    def attach(
        self, minor: int, data: str, meta: str, *, size_mib: int, params: Params, scope: TaskScope
    ) -> None:
        """See DrbdTool."""
        fixed = ["--on-io-error=detach", f"--size={size_mib}m"]
        options = [*flush_options(params), *custom_disk(params)]
        self._setup("attach", str(minor), data, meta, "flexible", *fixed, *options, scope=scope)

    def set_disk_options(
        self, resource: str, minor: int, peer_node: int | None, params: Params, scope: TaskScope
    ) -> None:
        """See DrbdTool."""
        options = ["--on-io-error=detach", *flush_options(params), *custom_disk(params)]
        self._setup("disk-options", "--set-defaults", str(minor), *options, scope=scope)
        if peer_node is not None:
            self._set_speed(resource, peer_node, params, scope)

    def detach(self, minor: int, scope: TaskScope) -> None:
        """See DrbdTool."""
        self._setup("detach", str(minor), scope=scope)

    def resize(self, minor: int, size_mib: int, *, alone: bool, scope: TaskScope) -> None:
        """See DrbdTool."""
        assume = ["--assume-peer-has-space"] if alone else []
        self._setup("resize", str(minor), f"--size={size_mib}m", *assume, scope=scope)

    def down(self, resource: str, scope: TaskScope) -> None:
        """See DrbdTool."""
        self._setup("down", resource, scope=scope)

    # --- peer and role ------------------------------------------------------------------------

    def connect(
        self, resource: str, present: Resource, wanted: Resource, *, params: Params, secret: str,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """See DrbdTool."""
        if wanted.peer_node is None:
            raise BadCall(f"the peer of {resource} has no number", hint="make its disks anew")
        peer = str(wanted.peer_node)
        same = (present.peer_node, present.own, present.peer)
        if present.peer_node is not None and same != (wanted.peer_node, wanted.own, wanted.peer):
            self._setup("del-peer", resource, str(present.peer_node), scope=scope)
            present = present._replace(peer_node=None)
        options = net_options(params, secret=secret, two_primaries=present.two_primaries)
        if present.peer_node is None:
            self._setup("new-peer", resource, peer, "--_name=peer", *options, scope=scope)
            path = (inet(wanted.own), inet(wanted.peer))
            self._setup("new-path", resource, peer, *path, scope=scope)
        self._set_speed(resource, wanted.peer_node, params, scope)
        self._setup("connect", resource, peer, scope=scope)

    def disconnect(self, resource: str, present: Resource, scope: TaskScope) -> None:
        """See DrbdTool."""
        if present.peer_node is not None:
            self._setup("disconnect", resource, str(present.peer_node), scope=scope)
            self._setup("del-peer", resource, str(present.peer_node), scope=scope)

    def allow_two_primaries(
        self, resource: str, present: Resource, *, allow: bool, scope: TaskScope
    ) -> None:
        """See DrbdTool."""
        option = f"--allow-two-primaries={'yes' if allow else 'no'}"
        self._setup("net-options", resource, str(present.peer_node), option, scope=scope)

    def promote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """See DrbdTool."""
        return self._try("primary", resource, scope)

    def demote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """See DrbdTool."""
        return self._try("secondary", resource, scope)

    def _try(self, order: str, resource: str, scope: TaskScope) -> CommandFailed | None:
        try:
            self._setup(order, resource, scope=scope)
        except CommandFailed as failed:
            return failed
        return None

    def _set_speed(self, resource: str, peer_node: int, params: Params, scope: TaskScope) -> None:
        which = (resource, str(peer_node), "0")
        self._setup("peer-device-options", "--set-defaults", *which, *resync(params), scope=scope)

    def _meta(
        self, minor: int, meta: str, *order: str, scope: TaskScope, force: bool = False
    ) -> None:
        argv = ["drbdmeta", *(["--force"] if force else []), str(minor), self.layout, meta]
        self._system.run([*argv, "flex-external", *order], scope=scope)

    def _setup(self, *arguments: str, scope: TaskScope) -> None:
        self._system.run(["drbdsetup", *arguments], scope=scope)


def loaded(system: System) -> bool:
    """Say whether the module of this version is the one that is loaded."""
    try:
        return system.read(PROC).startswith("version: 9.")
    except Missing:
        return False

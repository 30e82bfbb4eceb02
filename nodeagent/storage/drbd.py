"""Mirrors by DRBD 8.4 or 9: what each call of the contract takes (edge).

A resource is named after its disk, so DRBD itself knows whose it is; what bears another name is a
stranger's, and its minor and port are taken. States are read from the kernel at no cost; the
configuration is asked for once and kept right over our own changes, and asked for again whenever a
command fails or there are other minors than before.

What the tools would do and this driver does not let them:

- `down` of a mirror that is in use cuts its connection and then fails, `detach` of a primary
  without a peer takes the last good data away. So roles come first, and what is in use is refused.
- New metadata are made only on a volume whose start bears none (see drbd_metadata.py).
- A connection that DRBD dropped because both sides went on alone is tried again when asked for,
  with the same answer until one side has other volumes. No side is ever told to give its data up.

Commands: a new empty side 6 (metadata 2, resource, minor, attach, connect), a role 1, shut down 1
(2 as primary), up again 5, nothing to do 0; one more, once, to learn the configuration.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nodeagent.calls import Device, DiskSeen, DiskSpec
from nodeagent.errors import BadCall, CommandFailed, NodeAgentError, NoSuchThing, StateMismatch
from nodeagent.storage import drbd9, drbd_metadata, listeners
from nodeagent.storage.drbd9 import Drbd9
from nodeagent.storage.drbd84 import PROC, Drbd84
from nodeagent.storage.drbd_options import disk_options
from nodeagent.storage.drbd_state import MinorState, Resource
from nodeagent.storage.drbd_tool import DrbdTool
from nodeagent.storage.system import System
from nodeagent.task_scope import TaskScope

PREFIX = "cairn-"
_LOOK_S = 0.1
_MEET_S = 1.5  # for a peer that is there to answer
_HANDSHAKE_S = 15.0
_DUAL_WAIT_S = 10.0  # for the peer to allow two primaries too; the two orders travel apart
_OPEN_WAIT_S = 3.0  # udev looks at a device that was just closed
_ALONE = ("StandAlone", "Unconfigured")
_LOOKING = ("Unconnected", "WFConnection", "Disconnecting")
_FAILING = ("Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown")
_SHAKING = ("WFReportParams", *_FAILING)


class Drbd:
    """The mirrors of one node; implements `MirrorDriver`.

    `secret`: what both sides of a disk know and nobody else, if the call names the peer's key.
    `route`: the address by which this
    node reaches another, for calls that do not say it.
    """

    def __init__(
        self,
        system: System,
        *,
        secret: Callable[[DiskSpec], str] = lambda _: "",
        route: Callable[[str], str] = lambda _: "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._eight, self._nine = Drbd84(system), Drbd9(system, now=now)
        self._secret, self._route, self._now = secret, route, now
        self._lock = threading.Lock()
        self._known: dict[str, Resource] | None = None
        self._changes = 0  # calls that are changing something now
        self._applied: dict[str, list[str]] = {}  # disk -> the disk options that it has
        self._met: set[str] = set()  # disks that were told to connect, and not to part since

    @property
    def _tool(self) -> DrbdTool:
        """What speaks to the module that is loaded; to none, in the language of 8.4."""
        return self._nine if drbd9.loaded(self._system) else self._eight

    def needs(self) -> tuple[str, ...]:
        """See MirrorDriver."""
        return self._tool.needs()

    # --- the contract -------------------------------------------------------------------------

    def ensure(
        self,
        disk: DiskSpec,
        *,
        data: Device,
        meta: Device | None,
        fresh: bool,
        source: bool,
        scope: TaskScope,
    ) -> None:
        """See MirrorDriver."""
        minor, wanted = self._wanted(disk, data, meta)
        with self._changing(scope) as (states, resources):
            _check_free(disk.uuid, wanted, resources)
            present = resources.get(_name(disk.uuid))
            if present is not None and present.minor not in (None, minor):
                self._take_down(disk.uuid, present, states, scope)
                present = None
            present = self._ensure_minor(disk, minor, present, scope)
            state = self._tool.states().get(minor, MinorState("Unconfigured"))
            present, new = self._ensure_disk(
                disk, present, wanted, state, fresh=fresh, source=source, scope=scope
            )
            self._ensure_peer(disk, present, wanted, state, may_differ=not new, scope=scope)

    def remove(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """See MirrorDriver."""
        self.down(disk, scope=scope)

    def set_role(self, disk: DiskSpec, *, primary: bool, dual: bool, scope: TaskScope) -> Device:
        """See MirrorDriver."""
        with self._changing(scope) as (states, resources):
            resource = resources.get(_name(disk.uuid))
            if resource is None or resource.minor is None or resource.minor not in states:
                raise NoSuchThing(f"the mirror of disk {disk.uuid} is not up here")
            state = states[resource.minor]
            if dual:
                self._allow_two(disk.uuid, resource, allow=True, scope=scope)
            if primary and not state.primary:
                self._promote(disk, resource.minor, dual=dual, scope=scope)
            elif not primary and state.primary:
                self._demote(disk.uuid, resource.minor, scope)
            now = self._tool.states().get(resource.minor, state)
            if not dual and not (now.primary and now.peer_role == "Primary"):
                self._allow_two(disk.uuid, resource, allow=False, scope=scope)
        return Device(path=f"/dev/drbd{resource.minor}")

    def down(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """See MirrorDriver."""
        with self._changing(scope) as (states, resources):
            resource = resources.get(_name(disk.uuid))
            if resource is not None:
                self._take_down(disk.uuid, resource, states, scope)

    def device(self, disk: DiskSpec) -> Device | None:
        """See MirrorDriver."""
        resource = self._look(TaskScope())[1].get(_name(disk.uuid))
        if resource is None or resource.minor is None:
            return None
        return Device(path=f"/dev/drbd{resource.minor}")

    def holds(self, device: Device) -> bool:
        """See MirrorDriver."""
        resources = self._look(TaskScope())[1].values()
        return any(device.path in (each.data, each.meta) for each in resources)

    def minors(self) -> dict[int, str]:
        """See MirrorDriver. A stranger's is taken by its resource's name."""
        resources = self._look(TaskScope())[1]
        return {
            each.minor: name.removeprefix(PREFIX)
            for name, each in resources.items()
            if each.minor is not None
        }

    def seen(self) -> tuple[DiskSeen, ...]:
        """See MirrorDriver. Costs one small file; a command only when minors came or went."""
        try:
            states, resources = self._look(TaskScope(), glance=True)
        except NodeAgentError:
            return ()  # `needs` says what is wrong
        return tuple(
            states[resource.minor].seen(name.removeprefix(PREFIX))
            for name, resource in sorted(resources.items())
            if resource.minor in states and name.startswith(PREFIX)
        )

    # --- what DRBD says -----------------------------------------------------------------------

    def _look(
        self, scope: TaskScope, *, glance: bool = False
    ) -> tuple[dict[int, MinorState], dict[str, Resource]]:
        """Return states, as they are, and the configuration, as it must be.

        Minors that came or went by our own doing are no reason to ask again.
        """
        states = self._tool.glance() if glance else self._tool.states()
        with self._lock:
            known, quiet = self._known, self._changes == 0
        strange = known is not None and states.keys() ^ _minors(known)
        if known is None or (quiet and strange):
            known = self._tool.resources(scope) if self._system.exists(PROC) else {}
            with self._lock:
                self._known = known
        return states, dict(known)

    def _note(self, disk: str, resource: Resource | None) -> None:
        """A change of ours is made."""
        with self._lock:
            if self._known is not None:
                self._known.pop(_name(disk), None)
                if resource is not None:
                    self._known[_name(disk)] = resource

    @contextmanager
    def _changing(
        self, scope: TaskScope
    ) -> Iterator[tuple[dict[int, MinorState], dict[str, Resource]]]:
        """Look, and then change something. If that fails, what was known before may be wrong."""
        looked = self._look(scope)
        with self._lock:
            self._changes += 1
        try:
            yield looked
        except BaseException:
            with self._lock:
                self._known = None
            raise
        finally:
            with self._lock:
                self._changes -= 1

    # --- the parts of `ensure` ----------------------------------------------------------------

    def _wanted(self, disk: DiskSpec, data: Device, meta: Device | None) -> tuple[int, Resource]:
        if disk.minor is None or disk.port is None:
            raise BadCall(f"disk {disk.uuid} has no minor or port", hint="the plan gives both")
        if meta is None:
            raise BadCall(f"disk {disk.uuid} has no metadata volume", hint="the plan gives one")
        own = peer = ""
        if disk.peer is not None:
            address = disk.own_address or self._route(disk.peer_address)
            if not address or not disk.peer_address:
                raise BadCall(f"disk {disk.uuid} does not say where its two sides listen")
            own, peer = _at(address, disk.port), _at(disk.peer_address, disk.port)
        wanted = Resource(disk.minor, data.path, meta.path, own, peer)
        return disk.minor, wanted._replace(peer_node=disk.peer_node_id)

    def _ensure_minor(
        self, disk: DiskSpec, minor: int, present: Resource | None, scope: TaskScope
    ) -> Resource:
        if present is None:
            self._tool.new_resource(_name(disk.uuid), disk.node_id, scope)
        if present is None or present.minor is None:
            self._tool.new_minor(_name(disk.uuid), minor, scope)
            present = (present or Resource())._replace(minor=minor)
            self._note(disk.uuid, present)
        return present

    def _ensure_disk(
        self,
        disk: DiskSpec,
        present: Resource,
        wanted: Resource,
        state: MinorState,
        *,
        fresh: bool,
        source: bool,
        scope: TaskScope,
    ) -> tuple[Resource, bool]:
        """The minor stands on its volumes, has its size and options. Returns also whether the
        volumes were new, so that there is nothing in which the two sides could differ."""
        assert wanted.minor is not None
        minor, options = wanted.minor, disk_options(disk.params)
        on_disk = state.disk not in ("Diskless", "Failed", "Detaching")
        if on_disk and (present.data, present.meta) == (wanted.data, wanted.meta):
            if self._tool.size_mib(minor) < disk.size_mib:
                self._grow(disk, minor, state, scope)
            if self._applied.get(disk.uuid) != options:
                self._tool.set_disk_options(
                    _name(disk.uuid), minor, present.peer_node, disk.params, scope
                )
                self._applied[disk.uuid] = options
            return present, False
        if on_disk:
            self._leave_disk(disk.uuid, minor, state, scope)
        new = self._prepare_metadata(disk, wanted, fresh=fresh, source=source, scope=scope)
        self._tool.attach(
            minor, wanted.data, wanted.meta, size_mib=disk.size_mib, params=disk.params, scope=scope
        )
        self._applied[disk.uuid] = options
        present = present._replace(data=wanted.data, meta=wanted.meta)
        self._note(disk.uuid, present)
        return present, new

    def _leave_disk(self, disk: str, minor: int, state: MinorState, scope: TaskScope) -> None:
        if state.primary and not state.peer_has_data:
            raise StateMismatch(
                f"disk {disk} is primary here and its peer has no good data: "
                f"its volumes cannot be left ({state.connection}, peer {state.peer_disk})",
                hint="wait for the sync, or repair the peer",
            )
        self._tool.detach(minor, scope)

    def _prepare_metadata(
        self, disk: DiskSpec, wanted: Resource, *, fresh: bool, source: bool, scope: TaskScope
    ) -> bool:
        """The metadata volume bears what it must, before it is attached. Returns whether the
        side is new."""
        assert wanted.minor is not None
        head = self._system.head(wanted.meta, drbd_metadata.HEAD_BYTES)
        present = drbd_metadata.read_superblock(head)
        layout = self._tool.layout
        if present is not None and present.layout != layout:
            raise StateMismatch(
                f"{wanted.meta} bears metadata {present.layout} of another DRBD, here it is "
                f"{layout}: they are not converted",
                hint="load the module that made them; or make the disk anew",
            )
        filled = fresh or source
        if present is not None and not (filled and present.empty):
            self._tool.apply_log(wanted.minor, wanted.meta, scope)
            return present.empty
        if filled:
            names = (disk.uuid,) if fresh else (disk.uuid, wanted.data, "source")
            self._tool.create_filled_metadata(
                wanted.minor, wanted.meta, generation=drbd_metadata.generation_of(*names),
                size_mib=disk.size_mib, peer_node=disk.peer_node_id or 0, scope=scope,
            )  # fmt: skip
        else:
            self._tool.create_metadata(wanted.minor, wanted.meta, scope)
        return True

    def _grow(self, disk: DiskSpec, minor: int, state: MinorState, scope: TaskScope) -> None:
        """The mirror has the size of the disk; that of its volumes is larger already.

        DRBD wants one side primary, so this one is, for a moment, if none is.
        """
        alone = disk.peer is None
        lone = not state.primary and state.peer_role != "Primary"
        name = _name(disk.uuid)
        if lone and (failed := self._tool.promote(name, minor, scope)) is not None:
            raise failed
        try:
            self._tool.resize(minor, disk.size_mib, alone=alone, scope=scope)
        except CommandFailed:
            if self._tool.size_mib(minor) < disk.size_mib:  # else the peer's order was quicker
                raise
        finally:
            if lone:
                self._demote(disk.uuid, minor, scope)

    def _ensure_peer(
        self, disk: DiskSpec, present: Resource, wanted: Resource, before: MinorState, *,
        may_differ: bool, scope: TaskScope,
    ) -> None:  # fmt: skip
        """The mirror is connected, or connecting, to its peer and no other. Raises StateMismatch
        on split brain. `before`: its state before its disk was attached."""
        alone = before.connection in _ALONE
        if not alone and (present.own, present.peer) != (wanted.own, wanted.peer):
            self._tool.disconnect(_name(disk.uuid), present, scope)
            self._met.discard(disk.uuid)
            present = present._replace(own="", peer="", peer_node=None)
            alone = True
        if not wanted.peer:
            self._met.discard(disk.uuid)
            self._note(disk.uuid, present._replace(own="", peer="", two_primaries=False))
            return
        dropped = alone and disk.uuid in self._met
        if alone:
            self._expect_free_port(disk, scope)
            secret = self._secret(disk) if disk.peer_key else ""
            self._tool.connect(
                _name(disk.uuid), present, wanted, params=disk.params, secret=secret, scope=scope
            )
            self._met.add(disk.uuid)
            met = present._replace(own=wanted.own, peer=wanted.peer, peer_node=wanted.peer_node)
            self._note(disk.uuid, met)
        if alone and may_differ:
            self._expect_no_split(disk.uuid, wanted, dropped=dropped, scope=scope)

    def _expect_free_port(self, disk: DiskSpec, scope: TaskScope) -> None:
        """Raises StateMismatch if somebody listens there: it is not this mirror, which is alone.

        A connection that was ended just now may take a moment to let go of its port.
        """
        assert disk.port is not None
        until = self._now() + _OPEN_WAIT_S
        while self._listened_on(disk.port):
            if self._now() >= until:
                raise StateMismatch(
                    f"port {disk.port}, of disk {disk.uuid}, is taken by another program here",
                    hint=f"ss -ltnp 'sport = :{disk.port}' names it; end it, or replace the disk",
                )
            scope.wait(_LOOK_S, left="the mirror has no connection")

    def _listened_on(self, port: int) -> bool:
        there = (path for path in listeners.TABLES if self._system.exists(path))
        return any(listeners.is_listened_on(self._system.read(path), port) for path in there)

    def _expect_no_split(
        self, disk: str, wanted: Resource, *, dropped: bool, scope: TaskScope
    ) -> None:
        """Return when the two sides have met in peace, or when the peer does not answer.

        `dropped`: DRBD has ended this connection before; then silence is no peace.
        """
        assert wanted.minor is not None
        began = self._now()
        while True:
            state = self._tool.states().get(wanted.minor, MinorState("Unconfigured"))
            passed_s = self._now() - began
            looking = state.connection in _LOOKING
            if state.connection in _ALONE or (looking and dropped and passed_s > _MEET_S):
                raise self._parted(disk, wanted.minor, scope)
            if not looking and state.connection not in _SHAKING:
                return
            if passed_s > (_MEET_S if looking else _HANDSHAKE_S):
                return
            scope.wait(_LOOK_S, left="the mirror is connecting")

    def _parted(self, disk: str, minor: int, scope: TaskScope) -> StateMismatch:
        words = self._tool.kernel_words(_name(disk), minor, scope)
        if "Split-Brain detected" in words:
            return StateMismatch(
                f"split brain on disk {disk}: both sides went on alone",
                hint="choose the side whose data are to stay; replace the disk on the other one",
            )
        last = words.splitlines()[-3:]
        return StateMismatch(
            f"disk {disk}: the two sides do not agree to connect: {' | '.join(last)}",
            hint="their parameters or their data do not belong together: see the kernel's log",
        )

    # --- roles --------------------------------------------------------------------------------

    def _promote(self, disk: DiskSpec, minor: int, *, dual: bool, scope: TaskScope) -> None:
        until = self._now() + _DUAL_WAIT_S
        while (failed := self._tool.promote(_name(disk.uuid), minor, scope)) is not None:
            state = self._tool.states().get(minor, MinorState("Unconfigured"))
            if state.peer_role != "Primary" or not state.connected:
                raise self._no_data(disk.uuid, state, failed)
            if not dual or self._now() >= until:
                raise StateMismatch(
                    f"disk {disk.uuid} is primary on its peer {disk.peer}",
                    hint="make that secondary",
                )
            scope.wait(_LOOK_S, left="the mirror is secondary here")

    def _no_data(self, disk: str, state: MinorState, failed: CommandFailed) -> NodeAgentError:
        if state.disk == "UpToDate":
            return failed
        where = "on either side" if state.connected else "here and its peer is not reached"
        return StateMismatch(
            f"disk {disk} has no good data {where} ({state.disk}, peer {state.peer_disk})",
            hint="start the other node, or replace the disk",
        )

    def _demote(self, disk: str, minor: int, scope: TaskScope) -> None:
        until = self._now() + _OPEN_WAIT_S
        while (failed := self._tool.demote(_name(disk), minor, scope)) is not None:
            if "held open" not in failed.output:
                raise failed
            if self._now() >= until:
                raise StateMismatch(f"disk {disk} is in use here", hint="stop its guest first")
            scope.wait(_LOOK_S, left="the mirror is still primary here")

    def _allow_two(self, disk: str, resource: Resource, *, allow: bool, scope: TaskScope) -> None:
        present = self._look(scope)[1].get(_name(disk), resource)
        if present.two_primaries != allow and present.peer:
            self._tool.allow_two_primaries(_name(disk), present, allow=allow, scope=scope)
            self._note(disk, present._replace(two_primaries=allow))

    def _take_down(
        self, disk: str, resource: Resource, states: dict[int, MinorState], scope: TaskScope
    ) -> None:
        state = states.get(resource.minor) if resource.minor is not None else None
        if state is not None and state.primary and resource.minor is not None:
            self._demote(disk, resource.minor, scope)
        self._tool.down(_name(disk), scope)
        self._met.discard(disk)
        self._applied.pop(disk, None)
        self._note(disk, None)


def _minors(resources: dict[str, Resource]) -> set[int]:
    return {each.minor for each in resources.values() if each.minor is not None}


def _name(disk: str) -> str:
    return PREFIX + disk


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _check_free(disk: str, wanted: Resource, resources: dict[str, Resource]) -> None:
    """Raises StateMismatch if the minor or the port is another's."""
    port = wanted.own.rpartition(":")[2]
    for name, other in resources.items():
        if name == _name(disk):
            continue
        for what, mine, taken in (
            ("minor", str(wanted.minor), str(other.minor)),
            ("port", port, other.own.rpartition(":")[2]),
        ):
            if mine and mine == taken:
                raise StateMismatch(
                    f"{what} {mine} is in use by disk {name.removeprefix(PREFIX)}",
                    hint="verify the node",
                )

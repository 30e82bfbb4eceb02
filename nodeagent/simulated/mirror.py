"""Simulated mirrors: what DRBD would say and do, by arithmetic (edge).

Each side keeps its own state; a side learns of the other by reading the other's file. They are
**connected** when both agents live, both mirrors are up and each names the other and the same port.

Each side's data bear a generation id and the ids that came before it (DRBD calls them UUIDs):

    equal ids                      in sync
    mine is empty, or in its past  I am the target of a sync
    its is empty, or in my past    I am the source
    anything else, or both primary split brain: both went on alone; nobody guesses

A side that is written to (it, or its peer over the wire, is primary) while the other side does not
get the writes (not connected, or unreadable) takes a new id, once for each such time. A target
gains `rate` MiB each second while connected; at the end it takes over the id and the past of the
source. A quick resync of data with a common past moves a tenth.

Time is given in from outside and only differences count: a sync stands still while the target's
agent is down.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from nodeagent.calls import Device, DiskSeen, DiskSpec
from nodeagent.errors import BadCall, NoSuchThing, StateMismatch
from nodeagent.simulated.lab import Lab
from nodeagent.simulated.state_file import Counted, StateFile
from nodeagent.task_scope import TaskScope

_DUAL_WAIT_S = 10.0  # for the peer to allow two primaries too; the two orders travel apart
_LOOK_S = 0.05
_PAST = 32  # ids that are remembered; an older copy counts as a stranger's


class Side(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One side of a mirror, as its node keeps it."""

    minor: int
    port: int
    peer: str
    size_mib: int
    path: str  # of the data
    meta: str = ""  # of the metadata
    file_id: int  # inode of the data: another volume of the same name has other data
    id: str = ""  # generation of the data, empty if there are none
    past: list[str] = []
    up: bool = True
    primary: bool = False
    dual: bool = False
    apart: bool = False  # has taken a new id for the present time alone
    synced_mib: float = 0.0  # of the sync under way
    faulty: bool = False


class MirrorState(Counted, kw_only=True):
    """The sides on one node, by disk uuid. `drawn` numbers generation ids."""

    node: str = ""
    sides: dict[str, Side] = {}
    drawn: int = 0


class _View(NamedTuple):
    """How a side stands to its peer."""

    peer: Side | None  # None: not connected
    relation: str  # alone, equal, target, source, split, faulty


class SimulatedMirrors:
    """The mirrors of one node; implements `MirrorDriver`."""

    def __init__(
        self,
        lab: Lab,
        node: str,
        *,
        broken: Callable[[], frozenset[str]],
        in_use: Callable[[str], bool],
        rate_mib_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lab, self._node = lab, node
        self._broken, self._in_use = broken, in_use
        self._rate_mib_s = rate_mib_s
        self._now = now
        self._file = StateFile(lab.home / "mirror.json", MirrorState)
        self._peers: dict[str, StateFile[MirrorState]] = {}
        self._looked_at: float | None = None

    def needs(self) -> tuple[str, ...]:
        """Nothing is missing: it is simulated."""
        return ()

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
        if disk.minor is None or disk.port is None:
            raise BadCall(f"disk {disk.uuid} has no minor or port", hint="the plan gives both")
        minor, port = disk.minor, disk.port
        with self._file.change() as state:
            state.node = self._node
            self._check_free(state, disk.uuid, minor, port)
            side = state.sides.get(disk.uuid)
            file_id = os.stat(data.path).st_ino
            if side is None or (side.path, side.file_id) != (data.path, file_id):
                side = self._attach(state, disk, side, data, file_id)
            side.meta = meta.path if meta is not None else ""
            if not side.id and (fresh or source):
                side.id = f"fresh:{disk.uuid}" if fresh else f"{self._node}:{disk.uuid}"
            if not side.up:
                side.up = True
                state.effect("up-mirror", disk.uuid)
            if disk.size_mib > side.size_mib:
                side.size_mib = disk.size_mib
                state.effect("grow-mirror", disk.uuid)
            if side.peer != (disk.peer or "") or (side.minor, side.port) != (minor, port):
                side.peer, side.minor, side.port = disk.peer or "", minor, port
                side.apart, side.synced_mib = False, 0.0
                state.effect("connect-mirror", disk.uuid)
        self._advance()
        if self._view(disk.uuid).relation == "split":
            raise StateMismatch(
                f"split brain on disk {disk.uuid}: both sides went on alone",
                hint="choose the side whose data are to stay; replace the disk on the other one",
            )

    def remove(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """See MirrorDriver."""
        self._refuse_in_use(disk.uuid)
        with self._file.change() as state:
            if state.sides.pop(disk.uuid, None) is not None:
                state.effect("remove-mirror", disk.uuid)

    def set_role(self, disk: DiskSpec, *, primary: bool, dual: bool, scope: TaskScope) -> Device:
        """See MirrorDriver."""
        self._advance()
        side = self._file.read().sides.get(disk.uuid)
        if side is None or not side.up:
            raise NoSuchThing(f"the mirror of disk {disk.uuid} is not up here")
        if primary and not side.primary:
            with self._file.change() as state:
                state.sides[disk.uuid].dual = dual
            self._await_promotion(disk.uuid, scope)
            self._copy_content(disk.uuid)
        elif not primary and side.primary:
            self._refuse_in_use(disk.uuid)
        with self._file.change() as state:
            side = state.sides[disk.uuid]
            if side.primary != primary:
                state.effect("promote-mirror" if primary else "demote-mirror", disk.uuid)
            side.primary, side.dual = primary, dual
        self._advance()
        return Device(path=side.path)

    def down(self, disk: DiskSpec, *, scope: TaskScope) -> None:
        """See MirrorDriver."""
        self._refuse_in_use(disk.uuid)
        self._advance()
        with self._file.change() as state:
            side = state.sides.get(disk.uuid)
            if side is not None and side.up:
                side.up, side.primary, side.dual, side.apart = False, False, False, False
                state.effect("down-mirror", disk.uuid)

    def device(self, disk: DiskSpec) -> Device | None:
        """See MirrorDriver."""
        side = self._file.read().sides.get(disk.uuid)
        return Device(path=side.path) if side is not None and side.up else None

    def holds(self, device: Device) -> bool:
        """See MirrorDriver."""
        sides = self._file.read().sides.values()
        return any(side.up and device.path in (side.path, side.meta) for side in sides)

    def minors(self) -> dict[int, str]:
        """See MirrorDriver."""
        return {side.minor: disk for disk, side in self._file.read().sides.items()}

    def seen(self) -> tuple[DiskSeen, ...]:
        """See MirrorDriver."""
        self._advance()
        return tuple(self._seen(disk) for disk in sorted(self._file.read().sides))

    # What only simulated mirrors have.

    def lose_power(self) -> None:
        """Nothing is up any more."""
        with self._file.change() as state:
            for side in state.sides.values():
                side.up, side.primary, side.dual, side.apart = False, False, False, False

    def effects(self) -> dict[str, int]:
        """How often each effect happened."""
        return dict(self._file.read().effects)

    # --- changes ------------------------------------------------------------------------------

    def _check_free(self, state: MirrorState, disk: str, minor: int, port: int) -> None:
        for other, side in state.sides.items():
            for what, mine, taken in (("minor", minor, side.minor), ("port", port, side.port)):
                if other != disk and mine == taken:
                    raise StateMismatch(
                        f"{what} {mine} is in use by disk {other}", hint="verify the node"
                    )

    def _attach(
        self, state: MirrorState, disk: DiskSpec, old: Side | None, data: Device, file_id: int
    ) -> Side:
        assert disk.minor is not None
        assert disk.port is not None
        side = Side(
            minor=disk.minor, port=disk.port, peer=disk.peer or "", size_mib=disk.size_mib,
            path=data.path, file_id=file_id,
        )  # fmt: skip
        if old is not None:  # new data under a mirror that may be in use
            side.primary, side.dual = old.primary, old.dual
        state.sides[disk.uuid] = side
        state.effect("attach-mirror", disk.uuid)
        return side

    def _refuse_in_use(self, disk: str) -> None:
        side = self._file.read().sides.get(disk)
        if side is not None and side.up and self._in_use(disk):
            raise StateMismatch(f"disk {disk} is in use by a guest here", hint="stop it first")

    def _await_promotion(self, disk: str, scope: TaskScope) -> None:
        """Return once this side may become primary. Raises StateMismatch if it may not."""
        until = self._now() + _DUAL_WAIT_S
        while True:
            side, view = self._file.read().sides[disk], self._view(disk)
            peer = view.peer
            if view.relation == "split":
                raise StateMismatch(f"split brain on disk {disk}", hint="replace one of its sides")
            if peer is None and (side.faulty or not side.id or side.synced_mib > 0):
                raise StateMismatch(
                    f"disk {disk} has no good data here and its peer is not reached",
                    hint="start the other node, or replace the disk",
                )
            if peer is not None and side.faulty and (peer.faulty or not peer.id):
                raise StateMismatch(f"disk {disk} has no good data on either side")
            if peer is None or not peer.primary or (side.dual and peer.dual):
                return
            if not side.dual or self._now() >= until:
                raise StateMismatch(
                    f"disk {disk} is primary on its peer {side.peer}", hint="make that secondary"
                )
            scope.wait(_LOOK_S)

    def _copy_content(self, disk: str) -> None:
        """Bring over what was written on the other side: real mirrors do it block by block."""
        side = self._file.read().sides[disk]
        other = self._peer_file(side.peer).read().sides.get(disk) if side.peer else None
        if other is None or other.id != side.id or other.faulty or other.path == side.path:
            return
        if Path(other.path).exists() and Path(side.path).exists():
            shutil.copyfile(other.path, side.path)

    def _advance(self) -> None:
        """Let time pass: notice failures, gain on syncs, take new ids where writes went astray."""
        now = self._now()
        passed_s = 0.0 if self._looked_at is None else max(now - self._looked_at, 0.0)
        self._looked_at = now
        if not any(side.up for side in self._file.read().sides.values()):
            return
        broken = self._broken()
        with self._file.change() as state:
            for disk, side in state.sides.items():
                side.faulty = side.path in broken
                if side.up:
                    self._advance_side(state, disk, side, passed_s)

    def _advance_side(self, state: MirrorState, disk: str, side: Side, passed_s: float) -> None:
        view = self._relate(disk, side)
        peer = view.peer
        replicating = peer is not None and not peer.faulty
        written = side.primary or (peer is not None and peer.primary)
        if replicating:
            side.apart = False
        elif written and side.id and not side.faulty and not side.apart:
            state.drawn += 1
            side.past = [*side.past[1 - _PAST :], side.id]
            side.id, side.apart = f"{self._node}:{disk}:{state.drawn}", True
        if view.relation != "target" or peer is None:
            return
        side.synced_mib += passed_s * self._rate_mib_s
        if side.synced_mib >= _to_sync_mib(side):
            side.id, side.past, side.synced_mib = peer.id, list(peer.past), 0.0
            state.effect("sync-mirror", disk)

    # --- looking ------------------------------------------------------------------------------

    def _peer_file(self, node: str) -> StateFile[MirrorState]:
        if node not in self._peers:
            self._peers[node] = StateFile(self._lab.peer(node) / "mirror.json", MirrorState)
        return self._peers[node]

    def _view(self, disk: str) -> _View:
        return self._relate(disk, self._file.read().sides[disk])

    def _relate(self, disk: str, side: Side) -> _View:
        if not side.peer or not side.up:
            return _View(None, "alone")
        peer = self._peer_file(side.peer).read().sides.get(disk)
        if peer is None or not peer.up or peer.peer != self._node or peer.port != side.port:
            return _View(None, "alone")
        if not self._lab.alive(side.peer):
            return _View(None, "alone")
        return _View(peer, _relation(side, peer))

    def _seen(self, disk: str) -> DiskSeen:
        side = self._file.read().sides[disk]
        if not side.up:
            return DiskSeen(disk, "inactive", "")
        role = "primary" if side.primary else "secondary"
        view = self._relate(disk, side)
        if side.faulty:
            return DiskSeen(disk, "faulty", role)
        if view.peer is not None and view.relation in ("target", "source"):
            target = side if view.relation == "target" else view.peer
            total = _to_sync_mib(target)
            left_s = max(total - target.synced_mib, 0.0) / self._rate_mib_s
            percent = min(100.0 * target.synced_mib / total, 99.9)
            return DiskSeen(disk, "syncing", role, round(percent, 1), round(left_s, 3))
        if view.relation == "equal":
            return DiskSeen(disk, "ok", role)
        return DiskSeen(disk, "degraded", role, words=view.relation)


def _relation(side: Side, peer: Side) -> str:
    if side.faulty or peer.faulty:
        return "faulty"
    if side.id == peer.id:
        return "equal" if side.id else "faulty"
    if side.primary and peer.primary:
        return "split"  # both were written to, whatever their past says
    if not side.id or side.id in peer.past:
        return "target"
    if not peer.id or peer.id in side.past:
        return "source"
    return "split"


def _to_sync_mib(target: Side) -> float:
    return float(target.size_mib) if not target.id else max(target.size_mib / 10, 1.0)

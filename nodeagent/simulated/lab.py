"""The directory in which the simulated nodes of a lab meet (edge).

    <lab>/<node>/          what simulates one node, written by its agent only
        volumes.json mirror.json hypervisor.json network.json faults.json
        volumes/           one small file for each volume, so that OS scripts have a path
        boot-id            drawn anew when power was cut
        power-cut          laid down by the lab: at its next start the node has lost its memory
        alive              locked as long as the agent's process lives
    <lab>/by-uuid/<uuid>   link to the directory of that node
    <lab>/shared/          volumes that every node sees

A node whose agent's process is dead counts as a node without power: its mirrors are not connected.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

_CLAIM_TRIES = 20


class SimulatedNode(msgspec.Struct, frozen=True, kw_only=True):
    """How large and how fast a simulated node is."""

    memory_mib: int = 65_536
    own_memory_mib: int = 1024
    disk_mib: int = 2_097_152  # of the volume group
    file_mib: int = 1_048_576
    shared_mib: int = 4_194_304
    cpus: int = 8
    sync_mib_s: float = 20_480.0  # of a mirror
    migration_mib_s: float = 4096.0
    links: tuple[str, ...] = ()  # bridges that exist; none named: all that are asked for


class Lab:
    """One node's place in a lab."""

    def __init__(self, directory: Path, name: str) -> None:
        self.root = directory
        self.home = directory / name
        self.home.mkdir(parents=True, exist_ok=True)
        self._alive = -1
        cut = self.home / "power-cut"
        self.power_was_cut = cut.exists()
        if self.power_was_cut or not (self.home / "boot-id").exists():
            (self.home / "boot-id").write_text(str(uuid.uuid4()))
        self.boot_id = (self.home / "boot-id").read_text().strip()

    def power_restored(self) -> None:
        """Every driver has lost what a node loses with its power: do not do it again."""
        (self.home / "power-cut").unlink(missing_ok=True)
        self.power_was_cut = False

    def name_node(self, node: str) -> None:
        """Let peers find this node by its uuid."""
        links = self.root / "by-uuid"
        links.mkdir(exist_ok=True)
        draft = links / f".{node}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("..") / self.home.name)
        os.rename(draft, links / node)

    def peer(self, node: str) -> Path:
        """Return the directory of another node (which need not exist yet)."""
        return self.root / "by-uuid" / node

    def claim(self) -> None:
        """Be alive, until `release` or the end of the process. Raises BlockingIOError if another
        process is this node."""
        handle = os.open(self.home / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for attempt in range(_CLAIM_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A peer that just looks (`alive`) holds it for some microseconds.
                if attempt == _CLAIM_TRIES - 1:
                    os.close(handle)
                    raise
                time.sleep(0.01)
        self._alive = handle

    def release(self) -> None:
        """Be dead, to the peers."""
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1

    def alive(self, node: str) -> bool:
        """Whether the process of that node's agent lives."""
        return _lives(self.peer(node))

    def others(self) -> Iterator[Path]:
        """Yield the directories of all other nodes whose agents live."""
        for mark in sorted(self.root.glob("*/alive")):
            if mark.parent != self.home and _lives(mark.parent):
                yield mark.parent


def _lives(home: Path) -> bool:
    try:
        handle = os.open(home / "alive", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

"""What the driver knows of its guests when it is gone: files (edge).

    <run>/<uuid>/guest.json     how this guest was started; gone after a boot, with the guest
    <run>/<uuid>/qmp            QEMU's monitor; beside it its other sockets, see `Place`
    <state>/history.json        highest generation of each instance, where each was sent; synced

A record is written before what it tells of happens, where a restart in between would otherwise
forget a guest: first the record, then the process. It is replaced whole (`rename`).
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from eventstore.durable_file import replace
from nodeagent.calls import Device, InstanceSpec
from nodeagent.hypervisor.kvm.layout import Layout

T = TypeVar("T")
_log = logging.getLogger(__name__)
_SOCKET_BYTES = 107  # unix(7), sun_path


class Place:
    """The directory of one guest. Nobody but root may look into it: it holds its consoles."""

    def __init__(self, run_directory: Path, uuid: str) -> None:
        self.directory = run_directory / uuid
        self.record = self.directory / "guest.json"
        self.monitor = self.directory / "qmp"
        self.serial = self.directory / "serial"
        self.agent = self.directory / "agent"
        self.pid_file = self.directory / "pid"
        self.root = self.directory / "root"  # empty, for use_chroot

    def make(self) -> None:
        """Make the directory."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.directory, ignore_errors=True)


def longest_socket(run_directory: Path) -> int:
    """Return how many bytes too long the paths of sockets would be; 0: none is."""
    longest = len(os.fsencode(Place(run_directory, "x" * 36).serial))
    return max(longest - _SOCKET_BYTES, 0)


class Process(msgspec.Struct, frozen=True):
    """A process that is told from a later one of the same id by when it began."""

    pid: int
    began: int  # clock ticks since the boot, /proc/PID/stat field 22


class GuestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guest as it was started here."""

    instance: InstanceSpec
    layout: Layout
    devices: tuple[Device, ...]  # one for each disk
    interfaces: tuple[str, ...]  # one for each NIC
    process: Process | None = None  # None: about to be started
    incarnation: str = ""  # of the reboot that this start is
    incoming: bool = False  # made to receive the guest, which has not come yet
    ended: str = ""  # how it ended without an order: crashed, user-down
    user: str = ""  # of the pool, as whom it runs
    rebooting: str = ""  # the incarnation for which it is about to end
    # a migration was begun: to which node, under which generation
    sent_to: tuple[str, int] | None = None


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What outlives a boot."""

    generations: dict[str, int] = {}  # instance -> the highest seen
    sent: dict[str, tuple[str, int]] = {}  # instance -> to which node, under which generation


# Made at the start, as threads read records: docs/decisions/0206.
_GUEST = msgspec.json.Decoder(GuestRecord)
_HISTORY = msgspec.json.Decoder(History)


class HistoryFile:
    """The history, on disk before it counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.now = _read(path, _HISTORY) or History()

    def note_generation(self, uuid: str, generation: int) -> None:
        """The instance is at this generation now."""
        with self._lock:
            if self.now.generations.get(uuid) != generation:
                generations = {**self.now.generations, uuid: generation}
                self._write(msgspec.structs.replace(self.now, generations=generations))

    def note_sent(self, uuid: str, target: str, generation: int) -> None:
        """The instance has gone to `target`, under `generation`."""
        with self._lock:
            self._write(
                History(
                    generations={**self.now.generations, uuid: generation},
                    sent={**self.now.sent, uuid: (target, generation)},
                )
            )

    def note_here(self, uuid: str) -> None:
        """The instance is here (again)."""
        with self._lock:
            if uuid in self.now.sent:
                sent = {key: goal for key, goal in self.now.sent.items() if key != uuid}
                self._write(msgspec.structs.replace(self.now, sent=sent))

    def _write(self, history: History) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(self._path, msgspec.json.encode(history))
        self.now = history


def read_record(place: Place) -> GuestRecord | None:
    """Return what is known of a guest; None if there is nothing, or it cannot be read."""
    return _read(place.record, _GUEST)


def write_record(place: Place, record: GuestRecord) -> None:
    """Replace what is known of a guest."""
    place.make()
    replace(place.record, msgspec.json.encode(record))


def _read(path: Path, decoder: msgspec.json.Decoder[T]) -> T | None:
    try:
        return decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as bad:
        _log.error("%s cannot be read and is left out: %s", path, bad)
        return None

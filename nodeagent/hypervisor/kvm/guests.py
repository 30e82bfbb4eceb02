"""The guests of this node: those that run, those that are expected, those that have ended (edge).

One instance is dealt with by one thread at a time; this table is the only thing that several share.
What an agent before this one left is taken up when the table is made: guests that run, one that it
was about to start (whose half-made process is ended), one that arrived elsewhere meanwhile.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from nodeagent.calls import InstanceSpec
from nodeagent.errors import NodeAgentError, NoSuchThing, StateMismatch
from nodeagent.hypervisor.kvm import processes, sending
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.records import GuestRecord, HistoryFile, Place, read_record
from nodeagent.hypervisor.kvm.settings import KvmSettings
from nodeagent.hypervisor.kvm.starting import Starter
from nodeagent.task_scope import TaskScope

_log = logging.getLogger(__name__)


class Guests:
    """The table. `history` outlives the guests."""

    def __init__(self, settings: KvmSettings, starter: Starter) -> None:
        self.history = HistoryFile(Path(settings.state_directory) / "history.json")
        self._starter = starter
        self._lock = threading.Lock()
        self._guests: dict[str, Guest] = {}
        run = Path(settings.run_directory)
        for directory in sorted(run.iterdir()) if run.is_dir() else ():
            self._take_up(Place(run, directory.name))

    def every(self) -> list[Guest]:
        """Every guest that is known."""
        with self._lock:
            return [self._guests[uuid] for uuid in sorted(self._guests)]

    def get(self, uuid: str) -> Guest | None:
        """The guest, if it is known. One that was sent and has arrived is let go first."""
        guest = self._guests.get(uuid)
        if guest is None or not guest.has_gone or guest.record.sent_to is None:
            return guest
        self.history.note_sent(uuid, *guest.record.sent_to)
        self.forget(uuid)
        return None

    def running(self, uuid: str) -> Guest:
        """The guest, which runs here and can be spoken to. Raises NoSuchThing, MonitorLost."""
        guest = self.get(uuid)
        if guest is None or not guest.alive or guest.record.incoming:
            name = uuid if guest is None else guest.record.instance.name
            raise NoSuchThing(f"instance {name} does not run here")
        guest.hear()
        return guest

    def start(self, record: GuestRecord, scope: TaskScope) -> Guest:
        """Start a guest, which waits; see `Starter`."""
        users = frozenset(guest.record.user for guest in self.every() if not guest.dead)
        guest = self._starter.start(record, taken_users=users, scope=scope)
        with self._lock:
            self._guests[record.instance.uuid] = guest
        return guest

    def forget(self, uuid: str) -> None:
        """The guest has no process here and is not known. Raises NodeAgentError."""
        guest = self._guests.get(uuid)
        if guest is not None:
            guest.end()
            guest.place.remove()
            with self._lock:
                del self._guests[uuid]

    def note_generation(self, instance: InstanceSpec) -> None:
        """Remember the generation of an order. Raises StateMismatch for one that is over."""
        highest = self.history.now.generations.get(instance.uuid, 0)
        if instance.generation < highest:
            raise StateMismatch(
                f"{instance.name}: generation {instance.generation} is over, "
                f"this node has seen {highest}",
                hint="the order is late; the instance has moved on",
            )
        self.history.note_generation(instance.uuid, instance.generation)

    def _take_up(self, place: Place) -> None:
        record = read_record(place)
        if record is None:
            return
        if record.process is None:
            _log.warning("%s was about to be started", record.instance.name)
            processes.end_daemon(place.pid_file)
            place.remove()
            return
        uuid = record.instance.uuid
        guest = self._guests[uuid] = self._starter.take_up(place, record)
        try:
            guest.attach()
            if record.sent_to is not None and not guest.has_gone:
                sending.let_go(guest)
            self.get(uuid)
        except NodeAgentError as lost:
            _log.warning("%s: %s", record.instance.name, lost)

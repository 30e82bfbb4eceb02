"""A guest while its QEMU lives: its record, its monitor, what was last heard of it (edge).

    start:    record -> QEMU waits -> told what it needs -> runs
    found:    record, process -> monitor -> what happened while nobody listened

What QEMU says arrives on the watching thread and is noted there; workers wait for it, and `seen`
reads it without asking, so that a QEMU that hangs does not hold up the agent.

How a guest ends is told apart by what was heard before its process ended: it shut itself down
(SHUTDOWN with `guest`), it was ordered to (`leaving`), or neither: then it crashed. QEMU pauses at
a shutdown until it is told to go (`-no-shutdown`), so an agent that was away learns of it too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from nodeagent.errors import NodeAgentError
from nodeagent.hypervisor.kvm.errors import MonitorLost
from nodeagent.hypervisor.kvm.guest_agent import ask_to_shut_down
from nodeagent.hypervisor.kvm.monitor import Event, Monitor, Watch
from nodeagent.hypervisor.kvm.processes import kill, open_process
from nodeagent.hypervisor.kvm.records import GuestRecord, Place, write_record
from nodeagent.task_scope import TaskScope

RUNNING, PAUSED, CRASHED, USER_DOWN = "running", "paused", "crashed", "user-down"
INMIGRATE, POSTMIGRATE, SHUTDOWN = "inmigrate", "postmigrate", "shutdown"
_END_S = 10.0  # that QEMU may take to end once it was told to
# QEMU's run states (QAPI, RunState) in which the guest's processors do not run although its own
# power is on. `finish-migrate` is not one: the guest runs again in a moment, here or there.
_PAUSED = ("paused", "prelaunch", "io-error", "watchdog", "debug", "save-vm", "restore-vm")
_GONE_BY_ITSELF = (SHUTDOWN, "internal-error", "guest-panicked")
_log = logging.getLogger(__name__)


class Guest:
    """One guest. `on_news` is called, on any thread, when what is seen of it may have changed."""

    def __init__(
        self,
        place: Place,
        record: GuestRecord,
        watch: Watch,
        *,
        tells_user_down: bool,
        on_news: Callable[[], None],
    ) -> None:
        self.place, self.record = place, record
        self._watch, self._on_news = watch, on_news
        self._tells_user_down = tells_user_down
        self._changed = threading.Condition()
        self.monitor = Monitor(watch, record.instance.name, self._on_event)
        self.status = ""  # QEMU's run state, as last heard
        self.migration_round = 0
        self.migration: list[str] = []  # the states that a migration has gone through
        self.deleted: set[str] = set()  # ids of devices that the guest has let go
        self.balloon_mib: int | None = None
        self.dead = False
        self.leaving = False  # it was ordered to end
        self.sending = False  # it is on its way to another node
        self._keeping = threading.Lock()

    # --- what is seen -------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it has a process, and its power on."""
        return not self.dead and not self.record.ended

    @property
    def is_shown(self) -> bool:
        """Whether it is a guest of this node to whoever looks: neither on its way here or away, nor
        just ended by order."""
        ended_by_order = self.dead and self.leaving and not self.record.ended
        return not self.record.incoming and not self.has_gone and not ended_by_order

    @property
    def has_gone(self) -> bool:
        """Whether it was sent to another node, and what is here is empty."""
        return self.status == POSTMIGRATE and self.record.sent_to is not None

    @property
    def state(self) -> str:
        """running, paused, crashed or user-down."""
        if self.record.ended or self.dead:
            return self.record.ended or CRASHED
        return PAUSED if self.status in _PAUSED else RUNNING

    @property
    def memory_mib(self) -> int:
        """The memory that it has."""
        layout = self.record.layout
        whole = layout.memory_mib + sum(layout.dimms_mib)
        return whole if self.balloon_mib is None else min(self.balloon_mib, whole)

    @property
    def vcpus(self) -> int:
        """The virtual processors that it has."""
        return self.record.layout.vcpus + len(self.record.layout.plugged_vcpus)

    # --- its beginning ------------------------------------------------------------------------

    def attach(self) -> None:
        """Watch its process and connect to its monitor. Raises MonitorLost."""
        process = self.record.process
        assert process is not None, self.record.instance.uuid
        handle = open_process(process)
        if handle is None:
            self._on_end()
            raise MonitorLost(f"the QEMU of {self.record.instance.name} has ended")
        self._watch.on_end(handle, self._on_end)
        self.monitor.connect(self.place.monitor)
        self.look()

    def hear(self) -> None:
        """Be connected to its monitor. Raises MonitorLost.

        The connection may have been lost, or not been made by an agent that found QEMU hanging.
        """
        if not self.dead and not self.monitor.connected:
            self.monitor.connect(self.place.monitor)
            self.look()

    def look(self) -> None:
        """Ask QEMU for its state, and note it."""
        answer = self.ask("query-status")
        self._note_status(str(answer["status"]))

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return QEMU's answer to a command that answers with an object."""
        return cast(dict[str, object], self.monitor.execute(command, arguments))

    def keep(self, **changes: object) -> None:
        """Change its record, on disk first."""
        with self._keeping:
            record = msgspec.structs.replace(self.record, **changes)
            write_record(self.place, record)
            self.record = record

    # --- waiting ------------------------------------------------------------------------------

    def wait(
        self, until: Callable[[], bool], *, timeout_s: float, scope: TaskScope | None = None
    ) -> bool:
        """Wait until something holds, which only what is heard of the guest can make true.

        Returns whether it does; earlier if the task is to stop.
        """
        due = time.monotonic() + timeout_s

        def over() -> bool:
            return until() or (scope is not None and scope.stopping)

        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        def wait() -> bool:
            with self._changed:
                self._changed.wait_for(over, max(due - time.monotonic(), 0.0))
                return until()

        if scope is None:
            return wait()
        with scope.on_stop(wake):
            return wait()

    # --- its end ------------------------------------------------------------------------------

    def power_down(self, grace_s: float, scope: TaskScope) -> bool:
        """Ask it to shut down; return whether it did within `grace_s`.

        Through the agent in the guest, if there is one, else by its power button. Raises Stopped:
        then it may still be at it.
        """
        self.leaving = True
        try:
            if not self._is_down() and not ask_to_shut_down(self.place.agent):
                self.monitor.execute("system_powerdown")
            down = self.wait(self._is_down, timeout_s=grace_s, scope=scope)
        finally:
            self.leaving = self._is_down()
        if not down:
            scope.check(left="the guest was asked to shut down and may still do so")
        return down

    def end(self) -> None:
        """End its process: told to, or killed. Raises NodeAgentError if that has no effect."""
        self.leaving = True
        process = self.record.process
        if process is None or self.dead:
            return
        try:
            self.monitor.execute("quit", timeout_s=_END_S)
        except NodeAgentError as lost:
            _log.info("%s: %s", self.record.instance.name, lost)
        if not self.wait(lambda: self.dead, timeout_s=_END_S):
            kill(process)
            if not self.wait(lambda: self.dead, timeout_s=_END_S):
                raise NodeAgentError(
                    f"the QEMU of {self.record.instance.name} (process {process.pid}) "
                    "does not end, even killed",
                    hint="it hangs in the kernel, usually on its storage; look at dmesg",
                )

    def _is_down(self) -> bool:
        return self.dead or self.status == SHUTDOWN

    # --- on the watching thread ---------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event.name:
            case "SHUTDOWN":
                _log.info("%s shut down: %s", self.record.instance.name, event.data.get("reason"))
                self._note_status(SHUTDOWN)
            case "STOP" if self.status == RUNNING and not self.sending:
                self._note_status(PAUSED)
            case "RESUME":
                self._note_status(RUNNING)
            case "GUEST_PANICKED":
                self._note_status("guest-panicked")
            case "BLOCK_IO_ERROR":
                _log.warning("%s: I/O error on %s", self.record.instance.name, event.data)
            case "MIGRATION":
                self.migration.append(str(event.data["status"]))
                if self.migration[-1] == "completed" and self.record.sent_to is not None:
                    self.status = POSTMIGRATE
            case "DEVICE_DELETED" if "device" in event.data:
                self.deleted.add(str(event.data["device"]))
            case "MIGRATION_PASS":
                self.migration_round = int(cast(int, event.data["pass"]))
            case "BALLOON_CHANGE":
                self.balloon_mib = int(cast(int, event.data["actual"])) >> 20
        self._notify()

    def _note_status(self, status: str) -> None:
        if self.record.incoming and status in (RUNNING, *_PAUSED):
            self.keep(incoming=False)  # it has come
        self.status = status
        if status in _GONE_BY_ITSELF and not self.leaving and not self.record.ended:
            by_user = status == SHUTDOWN and self._tells_user_down
            self.keep(ended=USER_DOWN if by_user else CRASHED)
            self.monitor.post("quit")

    def _on_end(self) -> None:
        self.dead = True
        self.monitor.close()
        try:
            if not self.leaving and not self.record.ended and not self.record.incoming:
                _log.warning("the QEMU of %s has died", self.record.instance.name)
                self.keep(ended=CRASHED)
        finally:
            self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._on_news()

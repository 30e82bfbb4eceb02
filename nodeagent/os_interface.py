"""Running an OS definition's scripts: bounds, logs, one at a time (edge).

Source: Ganeti's OS interface (docs/os-interface.md).

A script changes an instance's disks, so two must never run for one instance. An agent that dies
leaves its script running; the next one finds the script's lock held (every process of the script
inherits it, the kernel drops it with the last of them), ends the processes that hold it, and only
then starts anew.
"""

from __future__ import annotations

import fcntl
import glob
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nodeagent.calls import Device, InstanceSpec, OsStatus
from nodeagent.errors import BadCall, CommandFailed, StateMismatch
from nodeagent.os_definition import OsDefinition, find_os, list_os
from nodeagent.os_environment import disk_environment, instance_environment, os_environment
from nodeagent.runner import run_process
from nodeagent.task_scope import TaskScope

_ORPHAN_S = 10.0
_SCRIPT_S = 3600.0 * 24  # the task's own timeout is the real bound
_VERIFY_S = 60.0
# For a script to unmount the guest's disk when it is told to end; an agent gives a call up ten
# seconds after its time (core.py), and this must be over by then.
_GRACE_S = 8.0
_FEEDBACK_BYTES = 2000
_END_BYTES = 16_384  # of what a script prints; all of it is in its log
_LEFT = {
    "create": "the disks are half done",
    "rename": "the guest may have its old name in some places, and the new one in others",
    "export": "the dump is not whole",
    "import": "the disk is half done",
}


class OsRun(NamedTuple):
    """What came of a script."""

    log: Path
    output: str  # its end


class Exported(NamedTuple):
    """What came of an export. `expected_bytes`: what the script said of its size beforehand."""

    run: OsRun
    expected_bytes: int | None


class OsInterface:
    """The OS definitions of one node. Logs go to `log_directory`, locks to `lock_directory`."""

    def __init__(
        self, search_path: Sequence[Path], *, log_directory: Path, lock_directory: Path
    ) -> None:
        self._search_path = tuple(search_path)
        self._logs, self._locks = log_directory, lock_directory

    def definitions(self) -> tuple[OsStatus, ...]:
        """Every definition on the node, valid or with its problem."""
        return list_os(self._search_path)

    def create(
        self,
        instance: InstanceSpec,
        devices: Sequence[Device],
        *,
        reinstall: bool,
        debug_level: int,
        scope: TaskScope,
    ) -> OsRun:
        """Have the parameters verified, then run `create` on the instance's disks.

        Raises CommandFailed with the end of what the script printed.
        """
        definition = find_os(self._search_path, instance.os)
        if definition.untrusted:
            raise BadCall(
                f"OS {definition.name} has only create_untrusted",
                hint="it needs a helper VM and an install image; use an OS with a create script",
            )
        environment = instance_environment(definition, instance, devices, debug_level=debug_level)
        if reinstall:
            environment["INSTANCE_REINSTALL"] = "1"
        self.verify(instance.os, instance.osparams, scope=scope)
        return self._run(definition, "create", instance, environment, scope)

    def rename(
        self, instance: InstanceSpec, devices: Sequence[Device], *, old_name: str, scope: TaskScope
    ) -> OsRun:
        """Run `rename`, so that the guest knows its new name."""
        definition = find_os(self._search_path, instance.os)
        environment = instance_environment(definition, instance, devices)
        environment["OLD_INSTANCE_NAME"] = old_name
        return self._run(definition, "rename", instance, environment, scope)

    def export_disk(
        self,
        instance: InstanceSpec,
        devices: Sequence[Device],
        *,
        index: int,
        copy: Device,
        sink: int,
        scope: TaskScope,
    ) -> Exported:
        """Run `export` for one disk; the dump goes to the descriptor `sink`.

        `copy` is what is dumped: a snapshot of the disk, or the disk itself while it is not in use.
        """
        definition = find_os(self._search_path, instance.os)
        environment = instance_environment(definition, instance, devices)
        environment |= disk_environment("EXPORT", index, copy)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            environment["EXP_SIZE_FD"] = str(writing)
            ran = self._run(
                definition, "export", instance, environment, scope, sink=sink, inherit=(writing,)
            )
            return Exported(ran, _size_said(reading))
        finally:
            os.close(reading)
            os.close(writing)

    def import_disk(
        self,
        instance: InstanceSpec,
        devices: Sequence[Device],
        *,
        index: int,
        source: int,
        scope: TaskScope,
    ) -> OsRun:
        """Run `import` for one disk; the dump comes from the descriptor `source`."""
        definition = find_os(self._search_path, instance.os)
        environment = instance_environment(definition, instance, devices)
        environment |= disk_environment("IMPORT", index, devices[index])
        return self._run(definition, "import", instance, environment, scope, source=source)

    def verify(self, name: str, parameters: Mapping[str, str], *, scope: TaskScope) -> str:
        """Ask the definition whether these parameters are right; returns what it says.

        Raises BadCall for one that it does not have, CommandFailed if it refuses them. Definitions
        older than version 20 have no parameters to ask about.
        """
        definition = find_os(self._search_path, name)
        if definition.api_version < 20:
            return ""
        unknown = sorted(set(parameters) - set(definition.parameters))
        if unknown:
            known = ", ".join(definition.parameters) or "none"
            raise BadCall(f"OS {name} has no parameter {unknown[0]!r}", hint=f"it has: {known}")
        environment = os_environment(definition, name, parameters, debug_level=0)
        argv = [str(definition.directory / "verify"), "parameters"]
        ran = run_process(
            argv, scope=scope, timeout_s=_VERIFY_S, environment=environment,
            directory=definition.directory, merged=True,
        )  # fmt: skip
        output = ran.stdout.decode(errors="replace")
        if scope.stopping:
            raise scope.stopped(left="nothing was changed", output=output)
        if ran.exit_status != 0:
            hint = f"it was killed: {_VERIFY_S:.0f} s were over" if ran.late else ""
            raise CommandFailed(argv, exit_status=ran.exit_status, output=output, hint=hint)
        return output

    def _run(
        self,
        definition: OsDefinition,
        script: str,
        instance: InstanceSpec,
        environment: Mapping[str, str],
        scope: TaskScope,
        *,
        source: int | None = None,
        sink: int | None = None,
        inherit: tuple[int, ...] = (),
    ) -> OsRun:
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{script}-{definition.name}-{instance.name}-{instance.uuid[:8]}.log"
        argv = [str(definition.directory / script)]
        lock = self._lock(instance)
        end = bytearray()
        try:
            with path.open("ab") as log:

                def on_output(piece: bytes) -> None:
                    log.write(piece)
                    log.flush()
                    end.extend(piece)
                    del end[:-_END_BYTES]
                    _speak(scope, piece)

                ran = run_process(
                    argv, scope=scope, timeout_s=_SCRIPT_S, environment=environment,
                    directory=definition.directory, merged=sink is None, source=source, sink=sink,
                    grace_s=_GRACE_S, inherit=(lock, *inherit),
                    on_start=lambda group: _write_group(lock, group), on_output=on_output,
                )  # fmt: skip
        finally:
            os.close(lock)
        output = end.decode(errors="replace")
        if scope.stopping:
            raise scope.stopped(left=f"{script} was killed; {_LEFT[script]}", output=output)
        if ran.exit_status != 0:
            raise CommandFailed(
                argv, exit_status=ran.exit_status, output=output, hint=f"all of it: {path}"
            )
        return OsRun(path, output)

    def _lock(self, instance: InstanceSpec) -> int:
        """Return the locked descriptor that the script inherits; ends an orphan first."""
        self._locks.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._locks / instance.uuid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _ORPHAN_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                _end_orphan(handle)
            if time.monotonic() > until:
                os.close(handle)
                raise StateMismatch(
                    f"a script for {instance.name} of an earlier agent cannot be ended",
                    hint="look for processes that hang on the disks of this instance",
                )
            time.sleep(0.02)


def _size_said(reading: int) -> int | None:
    """Return the number that an export wrote, None if it wrote none. Never waits for one."""
    try:
        said = os.read(reading, 64).decode(errors="replace").strip()
    except BlockingIOError:
        return None
    return int(said) if said.isascii() and said.isdigit() else None


def _speak(scope: TaskScope, piece: bytes) -> None:
    lines = piece.decode(errors="replace").strip().splitlines()
    if lines:
        scope.feedback("\n".join(lines)[-_FEEDBACK_BYTES:])


def _write_group(lock: int, group: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(group).encode(), 0)


def _end_orphan(lock: int) -> None:
    """Kill what holds the lock: the process group that it names, which it still is, as the lock is
    held; where it names none that is there, the groups of those that have the lock open. An agent
    may die before it has written the name, and a script's child may have left its group."""
    text = os.pread(lock, 20, 0)
    if text.isdigit() and _killed(int(text)):
        return
    for group in set(_holders(lock)):
        _killed(group)


def _killed(group: int) -> bool:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _holders(lock: int) -> Iterator[int]:
    """Yield the process groups, but our own, in which a process has the lock's file open."""
    wanted = os.fstat(lock)
    own = os.getpgrp()
    for opened in glob.iglob("/proc/[0-9]*/fd/*"):  # that of pathlib fails if a process ends
        try:
            if os.path.samestat(wanted, os.stat(opened)):
                group = os.getpgid(int(opened.split("/")[2]))
                if group != own:
                    yield group
        except OSError:
            continue  # it has ended, or was closed meanwhile

"""QEMU's processes: who they are, how they are ended and bound to CPUs (edge)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from nodeagent.errors import NoSuchThing
from nodeagent.hypervisor.kvm.records import Process

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def identify(pid: int) -> Process:
    """Return the process that has this id now. Raises NoSuchThing."""
    began = _began(pid)
    if began is None:
        raise NoSuchThing(f"there is no process {pid}")
    return Process(pid, began)


def open_process(process: Process) -> int | None:
    """Return a pidfd of the process; None if it has ended, even if its id was given anew."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if _began(process.pid) != process.began:
        os.close(handle)
        return None
    return handle


def kill(process: Process) -> None:
    """End it at once, if it still is."""
    handle = open_process(process)
    if handle is not None:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def end_daemon(pid_file: Path) -> None:
    """End a QEMU that names this file on its command line, if there is one."""
    try:
        process = identify(int(pid_file.read_text()))
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, NoSuchThing):
        return
    if os.fsencode(pid_file) in words:
        kill(process)


def bind(pid: int, cpus: frozenset[int]) -> None:
    """Let all threads of a process run on these CPUs only."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        bind_thread(int(task.name), cpus)


def bind_thread(thread: int, cpus: Iterable[int]) -> None:
    """Let one thread run on these CPUs only. One that has just ended is left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(thread, cpus)


def resident_mib(pid: int) -> int:
    """Return the memory that a process holds for itself; 0 if it has ended. Source: proc(5)."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES >> 20


def owners() -> frozenset[int]:
    """Return the ids of the users who have processes on this machine."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.add(entry.stat().st_uid)
    return frozenset(found)


def _began(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the boot. Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    if fields[0] == "Z":
        return None
    return int(fields[19])

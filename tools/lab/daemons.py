"""Daemons of a lab: started in the background, found by their pid, ended by a signal (edge).

A pid file may outlive its process, and the pid may be a stranger's by then; so a pid counts only if
that process was started with the daemon's own directory among its arguments.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.lab.layout import LabError

ENDED_WITHIN_S = 10.0


def start(command: list[str], *, output: Path) -> int:
    """Start `command` detached, its output appended to a file; return its pid."""
    with output.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    return process.pid


def script(name: str) -> str:
    """Return the path of one of our console scripts, beside this Python. Raises LabError."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise LabError(f"{path} is missing: `make venv` installs it")
    return str(path)


def running(pid_file: Path) -> int | None:
    """Return the pid in this file if that process lives and was started for its directory."""
    try:
        pid = int(pid_file.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    ours = os.fsencode(pid_file.parent) in arguments and state != "Z"
    return pid if ours else None


def send(pid: int, signum: int) -> None:
    """Send a signal; a process that is gone is no error."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def end(pid: int, signum: int = signal.SIGTERM, *, within_s: float = ENDED_WITHIN_S) -> None:
    """Ask a process to end and wait until it has; kill it if it does not in time."""
    with _watched(pid) as watched:
        if watched is None:
            return
        send(pid, signum)
        send(pid, signal.SIGCONT)  # a stopped process does not hear SIGTERM
        if not ended(watched, within_s):
            send(pid, signal.SIGKILL)
            ended(watched, within_s)
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # another's child: its parent collects it


def ended(pidfd: int, within_s: float) -> bool:
    """Say whether the process of `pidfd` has ended, waiting at most `within_s`."""
    return bool(select.select([pidfd], [], [], within_s)[0])


@contextmanager
def _watched(pid: int) -> Iterator[int | None]:
    """Give a pidfd of the process, None if it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)

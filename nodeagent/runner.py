"""External commands: argument lists, bounded in time, ended with all their children (edge).

Each command is the leader of its own process group. When its time is over, or the task that runs it
is stopped, the group gets SIGTERM and, a second later, SIGKILL. Output is read as it comes, so that
no pipe fills up; what a driver gets is bounded, what a log file gets is not.

A command never inherits the agent's environment (which may name a debug file or a proxy), nor its
locale: what tools print is parsed.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from nodeagent.errors import OUTPUT_BYTES, CommandFailed, Missing
from nodeagent.task_scope import TaskScope

PATH = "/sbin:/bin:/usr/sbin:/usr/bin"
ENVIRONMENT: Mapping[str, str] = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
_KEEP_BYTES = 1 << 20  # of each stream, for the driver
_TERM_S = 1.0  # between SIGTERM and SIGKILL
_SECRET = re.compile(r"(--[a-z-]*(?:secret|password)[a-z-]*=).+", re.DOTALL)
_log = logging.getLogger(__name__)


class Ran(NamedTuple):
    """How a command ended. `exit_status` is negative for a signal, as in `subprocess`."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    late: bool  # its time was over


class Runner(Protocol):
    """How drivers run a tool; a test passes a scripted one."""

    def __call__(
        self, argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> str:
        """Run it and return what it printed. Raises CommandFailed, Missing or Stopped."""


def run_command(
    argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
) -> str:
    """Run a tool and return its standard output. The `Runner` of real drivers.

    Raises Missing if there is no such program, CommandFailed with argv, exit status and stderr if
    it fails or is late, Stopped if the task is ended.
    """
    began = time.monotonic()
    shown = _shown(argv)
    ran = run_process(argv, scope=scope, timeout_s=timeout_s, stdin=stdin)
    took_ms = (time.monotonic() - began) * 1000
    _log.info("%s: exit %d in %.0f ms", " ".join(shown), ran.exit_status, took_ms)
    stderr = ran.stderr.decode(errors="replace")
    if scope.stopping:
        raise scope.stopped(left=f"{argv[0]} was killed half-way", output=stderr)
    if ran.exit_status != 0:
        _log.warning("%s failed: %s", argv[0], stderr[-OUTPUT_BYTES:])
        hint = f"it was killed: {timeout_s:.0f} s were over" if ran.late else ""
        raise CommandFailed(shown, exit_status=ran.exit_status, output=stderr, hint=hint)
    return ran.stdout.decode(errors="replace")


def _shown(argv: Sequence[str]) -> list[str]:
    """Return a command line as it may be logged and told to others: secrets are stars."""
    return [_SECRET.sub(r"\1***", word) for word in argv]


def run_process(
    argv: Sequence[str],
    *,
    scope: TaskScope,
    timeout_s: float,
    environment: Mapping[str, str] = ENVIRONMENT,
    directory: Path = Path("/"),
    stdin: bytes = b"",
    merged: bool = False,
    source: int | None = None,
    sink: int | None = None,
    grace_s: float = _TERM_S,
    inherit: tuple[int, ...] = (),
    on_start: Callable[[int], None] = lambda _: None,
    on_output: Callable[[bytes], None] = lambda _: None,
) -> Ran:
    """Run one command to its end, or to that of its time or its task; never raises for how it ends.

    `merged`: stderr goes where stdout goes. `source` and `sink`: descriptors that it reads from and
    writes to, past this process. `on_output` gets every piece of stdout and stderr that comes here.
    `grace_s`: between SIGTERM and SIGKILL. `on_start` gets the process group's id. Raises Missing
    if it cannot be started.
    """
    assert source is None or not stdin, "either given, or read from a descriptor"
    assert sink is None or not merged, "what goes to a descriptor must not have words in it"
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL if source is None else source,
            stdout=subprocess.PIPE if sink is None else sink,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            pass_fds=inherit,
        )
    except OSError as failed:
        hint = f"install or repair {argv[0]}"
        raise Missing(f"{argv[0]}: {failed.strerror}", hint=hint) from None
    on_start(process.pid)
    with process:
        return _attend(process, scope, timeout_s, grace_s, stdin, on_output)


def _attend(
    process: subprocess.Popen[bytes],
    scope: TaskScope,
    timeout_s: float,
    grace_s: float,
    stdin: bytes,
    on_output: Callable[[bytes], None],
) -> Ran:
    out, err = (stream.fileno() if stream else -1 for stream in (process.stdout, process.stderr))
    reading = _Reading(process.pid, {handle: bytearray() for handle in (out, err) if handle >= 0})
    try:
        if process.stdin is not None:
            _feed(process.stdin.fileno(), stdin)
            process.stdin.close()
        with scope.on_stop(reading.stop):
            reading.run(timeout_s, grace_s, on_output)
        process.wait()
    finally:
        reading.close()
    kept = reading.kept
    return Ran(
        process.returncode, bytes(kept.get(out, b"")), bytes(kept.get(err, b"")), reading.late
    )


def _feed(handle: int, stdin: bytes) -> None:
    """Give a command its small input; one that ends without reading it is not our failure."""
    assert len(stdin) <= select.PIPE_BUF, "larger inputs would need the poll loop"
    try:
        os.write(handle, stdin)
    except BrokenPipeError:
        _log.info("a command did not read its input")


class _Reading:
    """Reads a process's pipes until it has ended, and ends it when it must."""

    def __init__(self, group: int, kept: dict[int, bytearray]) -> None:
        self.kept = kept
        self.late = False
        self._group = group
        self._ended = os.pidfd_open(group)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._poller = select.poll()
        for handle in (*kept, self._ended, self._stop):
            self._poller.register(handle, select.POLLIN)

    def stop(self) -> None:
        """End it now. From any thread."""
        os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        os.close(self._ended)
        os.close(self._stop)

    def run(self, timeout_s: float, grace_s: float, on_output: Callable[[bytes], None]) -> None:
        """Return when the process has ended and its pipes are empty.

        A grandchild that outlives it and holds a pipe open is not waited for.
        """
        until = time.monotonic() + timeout_s
        signals = [signal.SIGTERM, signal.SIGKILL]
        pipes, over = set(self.kept), False
        while pipes or not over:
            left_s = 0.0 if over else max(until - time.monotonic(), 0.0)
            ready = [handle for handle, _ in self._poller.poll(left_s * 1000)]
            if not ready and over:
                return
            if self._stop in ready:
                self._poller.unregister(self._stop)
                until = 0.0
            if not over and time.monotonic() >= until:
                self.late = True
                _signal_group(self._group, signals.pop(0) if len(signals) > 1 else signals[0])
                until = time.monotonic() + grace_s
            if self._ended in ready:
                self._poller.unregister(self._ended)
                over = True
            for handle in pipes.intersection(ready):
                piece = os.read(handle, 1 << 16)
                if piece:
                    on_output(piece)
                    self.kept[handle] += piece[: _KEEP_BYTES - len(self.kept[handle])]
                else:
                    self._poller.unregister(handle)
                    pipes.discard(handle)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        _log.debug("group %d is gone", group)

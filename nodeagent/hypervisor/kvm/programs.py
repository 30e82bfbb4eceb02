"""The QEMU of this node: where it is, which version, which machines (edge)."""

from __future__ import annotations

import os
import re
import threading

from nodeagent.errors import BadCall, CommandFailed, Missing
from nodeagent.runner import Runner
from nodeagent.task_scope import TaskScope

DEFAULT = "/usr/bin/kvm"
OLDEST = (7, 0)  # -netdev, -device and the migration's capabilities as they are used here
NEWEST_MAJOR = 11  # what later ones have dropped is not known
INSTALL = "install qemu-system-x86"
_VERSION = re.compile(r"^QEMU emulator version (\d+)\.(\d+)(\.\d+)?", re.M)
_ALIAS = re.compile(r"^(\S+) .*\(alias of (\S+)\)$", re.M)
_MACHINE = re.compile(r"^(\S+) .*?(\(default\))?$", re.M)


class Programs:
    """Asks each QEMU once for as long as its file stays the same."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, float, str], str] = {}

    def version(self, program: str) -> tuple[int, int]:
        """Return the version. Raises Missing for one that this driver cannot use."""
        answer = self._ask(program, "-version")
        match = _VERSION.search(answer)
        if match is None:
            raise Missing(f"{program} is no QEMU: it says {answer[:80]!r}", hint=INSTALL)
        version = int(match[1]), int(match[2])
        if version < OLDEST or version[0] > NEWEST_MAJOR:
            raise Missing(
                f"QEMU {version[0]}.{version[1]} is not known to this agent, which works with "
                f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}",
                hint=f"{INSTALL}, or upgrade the agent",
            )
        return version

    def machine(self, program: str, wanted: str) -> str:
        """Return the full name of a machine type; of the default one if `wanted` is empty.

        Raises BadCall if there is none of that name.
        """
        self.version(program)
        answer = self._ask(program, "-machine", "help")
        aliases: dict[str, str] = dict(_ALIAS.findall(answer))
        names: dict[str, str] = dict(_MACHINE.findall(answer))
        names.pop("Supported", None)
        name = wanted or next((name for name, mark in names.items() if mark), "")
        name = aliases.get(name, name)
        if name not in names:
            raise BadCall(
                f"machine_version: {program} has no machine {name!r}",
                hint=f"it has {', '.join(sorted(aliases))}, and {len(names)} with a version",
            )
        return name

    def _ask(self, program: str, *arguments: str) -> str:
        try:
            stamp = os.stat(program).st_mtime
        except OSError:
            raise Missing(f"there is no {program} on this node", hint=INSTALL) from None
        key = (program, stamp, arguments[0])
        with self._lock:
            if key not in self._answers:
                try:
                    answer = self._run([program, *arguments], scope=TaskScope(), timeout_s=20.0)
                except CommandFailed as failed:
                    raise Missing(
                        f"{program} does not start: {failed.output.strip()[:200]}", hint=INSTALL
                    ) from None
                self._answers[key] = answer
            return self._answers[key]


def find_missing(programs: Programs) -> tuple[str, ...]:
    """Return what is missing for guests to be run, one sentence each."""
    try:
        programs.version(DEFAULT)
    except Missing as missing:
        return (f"{missing}: {missing.hint}",)
    return ()

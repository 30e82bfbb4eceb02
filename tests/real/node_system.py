"""A node of the test bed as a machine that drivers act on: the driver here, its commands there."""

from __future__ import annotations

from collections.abc import Sequence

from nodeagent.errors import CommandFailed, Missing
from nodeagent.task_scope import TaskScope
from tools.testbed.machine import Machine


class NodeSystem:
    """Implements `System` on a node VM, and `Content` of its devices. `commands`: what was run."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.commands: list[tuple[str, ...]] = []

    def run(
        self, argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> str:
        """See Runner."""
        scope.check()
        self.commands.append(tuple(argv))
        ended = self._machine.run(argv, stdin=stdin, timeout_s=timeout_s)
        if ended.status:
            said = ended.stderr.decode(errors="replace")
            raise CommandFailed(argv, exit_status=ended.status, output=said)
        return ended.text

    def exists(self, path: str) -> bool:
        """See System."""
        return self._machine.run(["test", "-e", path]).status == 0

    def read(self, path: str) -> str:
        """See System."""
        ended = self._machine.run(["cat", path])
        if ended.status:
            raise Missing(f"{path}: {ended.stderr.decode()}")
        return ended.text

    def head(self, path: str, size: int) -> bytes:
        """See System."""
        argv = ["dd", f"if={path}", f"bs={size}", "count=1", "iflag=direct", "status=none"]
        ended = self._machine.run(argv)
        if ended.status:
            raise Missing(f"{path}: {ended.stderr.decode()}")
        return ended.stdout

    def write(self, name: str, text: str) -> str:
        """See System."""
        path = f"/run/{name}"
        self._machine.check("sh", "-c", f"cat >{path}", stdin=text.encode())
        return path

    def has_tool(self, name: str) -> bool:
        """See System."""
        return self._machine.run(["sh", "-c", f"command -v {name}"]).status == 0


class NodeContent:
    """Implements `Content` of the devices of a node VM."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def write(self, path: str, data: bytes) -> None:
        """See Content."""
        self._machine.check("dd", f"of={path}", "conv=notrunc,fsync", "status=none", stdin=data)

    def read(self, path: str, size: int) -> bytes:
        """See Content."""
        argv = ["dd", f"if={path}", "bs=4096", "count=1", "status=none"]
        return self._machine.run(argv).stdout[:size]

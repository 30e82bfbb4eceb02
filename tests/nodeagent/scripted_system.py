"""A machine that is a script: what its tools answer, which files it has. Nothing is executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nodeagent.errors import CommandFailed, Missing
from nodeagent.task_scope import TaskScope

Answer = str | Exception | Callable[[], str]


def failed(tool: str, output: str, status: int = 5) -> CommandFailed:
    """What a tool says when it fails."""
    return CommandFailed([tool], exit_status=status, output=output)


class ScriptedSystem:
    """Implements `System`. A command is answered by the longest key of `answers` that it starts
    with (words, joined by spaces), and by nothing if there is none."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.files: dict[str, str] = {}
        self.heads: dict[str, bytes] = {}
        self.written: dict[str, str] = {}
        self.tools = {"lvm", "drbdsetup", "drbdmeta"}
        self.commands: list[str] = []

    def run(
        self, argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> str:
        """See Runner."""
        line = " ".join(argv)
        self.commands.append(line)
        fitting = [key for key in self.answers if line.startswith(key)]
        answer = self.answers[max(fitting, key=len)] if fitting else ""
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else answer()

    def exists(self, path: str) -> bool:
        """See System."""
        return path in self.files

    def read(self, path: str) -> str:
        """See System."""
        if path not in self.files:
            raise Missing(f"{path}: No such file or directory")
        return self.files[path]

    def head(self, path: str, size: int) -> bytes:
        """See System."""
        return self.heads.get(path, bytes(size))

    def write(self, name: str, text: str) -> str:
        """See System."""
        self.written[name] = text
        return f"/run/{name}"

    def has_tool(self, name: str) -> bool:
        """See System."""
        return name in self.tools

    def ran(self) -> list[str]:
        """Return the commands since the last time: tool and first argument that is no option."""
        lines, self.commands = self.commands, []
        return [line.split()[0] for line in lines]

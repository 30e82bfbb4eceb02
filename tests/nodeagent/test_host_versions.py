"""Versions of what is under the real drivers."""

from __future__ import annotations

from collections.abc import Sequence

from nodeagent.errors import CommandFailed
from nodeagent.host_versions import HostVersions
from nodeagent.storage.system import LocalSystem
from nodeagent.task_scope import TaskScope

SAID = """\
  LVM version:     2.03.16(2) (2022-05-18)
  Library version: 1.02.185 (2022-05-18)
  Driver version:  4.47.0
"""


class Machine(LocalSystem):
    """A machine where `lvm version` says something."""

    def __init__(self, said: str | None, *, fails: bool = False) -> None:
        self._said, self._fails = said, fails
        self.asked = 0

    def has_tool(self, name: str) -> bool:
        return self._said is not None

    def run(  # type: ignore[override]  # a method here, a function there
        self, argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> str:
        self.asked += 1
        assert self._said is not None
        if self._fails:
            raise CommandFailed(argv, exit_status=5, output="")
        return self._said


def test_lvm_is_asked_once() -> None:
    """Its version is told from then on."""
    machine = Machine(SAID)
    versions = HostVersions(machine)
    versions.asking.join()
    assert [versions().get("lvm") for _ in range(3)] == ["2.03.16(2)"] * 3
    assert machine.asked == 1


def test_what_is_not_there_has_no_version() -> None:
    """No LVM, one that fails, one that says something else."""
    for machine in (Machine(None), Machine(SAID, fails=True), Machine("hello")):
        versions = HostVersions(machine)
        versions.asking.join()
        assert "lvm" not in versions()

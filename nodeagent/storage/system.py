"""What real storage drivers ask of the machine: commands, and a look at its files (edge).

A look costs microseconds, a command a second on a slow machine. So drivers look where they can: a
symbolic link of udev's says whether a volume is active, `/proc/drbd` what a mirror does.
"""

from __future__ import annotations

import mmap
import os
import shutil
from pathlib import Path
from typing import Protocol

from nodeagent.errors import Missing
from nodeagent.runner import PATH, Runner, run_command

_RUN = Path("/run/cairn")


class System(Protocol):
    """The machine that a driver acts on; a test passes another one."""

    @property
    def run(self) -> Runner:
        """Runs a command."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or device of this name."""

    def read(self, path: str) -> str:
        """Return a small text file of the kernel's. Raises Missing."""

    def head(self, path: str, size: int) -> bytes:
        """Return the first `size` bytes of a device, as they are on it, not in a cache. A multiple
        of 4096. Raises Missing."""

    def write(self, name: str, text: str) -> str:
        """Write a small file that lasts until the next boot; returns its path."""

    def has_tool(self, name: str) -> bool:
        """Whether there is such a program."""


class LocalSystem:
    """The machine that this process runs on."""

    run: Runner = staticmethod(run_command)

    def exists(self, path: str) -> bool:
        """See System."""
        return Path(path).exists()

    def read(self, path: str) -> str:
        """See System."""
        try:
            return Path(path).read_text(errors="replace")
        except OSError as failed:
            raise Missing(f"{path}: {failed.strerror}") from None

    def head(self, path: str, size: int) -> bytes:
        """See System."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as failed:
            raise Missing(f"{path}: {failed.strerror}") from None
        try:
            with mmap.mmap(-1, size) as aligned:
                return aligned[: os.preadv(handle, [aligned], 0)]
        except OSError as failed:
            raise Missing(f"{path} cannot be read: {failed.strerror}") from None
        finally:
            os.close(handle)

    def write(self, name: str, text: str) -> str:
        """See System."""
        _RUN.mkdir(mode=0o700, exist_ok=True)
        path = _RUN / name
        path.write_text(text)
        return str(path)

    def has_tool(self, name: str) -> bool:
        """See System."""
        return shutil.which(name, path=PATH) is not None

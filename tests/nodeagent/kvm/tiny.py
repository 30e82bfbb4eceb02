"""A disk with the guest of `tiny.s` on it, and what it says on its console."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path

_SOURCE = Path(__file__).with_name("tiny.s")
_DISK_BYTES = 1 << 20
_SECTOR_BYTES = 512
_TICK = re.compile(rb"TINY (\d{6})\r\n")


def make_disk(path: Path) -> None:
    """Assemble the guest onto a new disk of 1 MiB. Needs binutils."""
    unlinked, sector = path.with_suffix(".o"), path.with_suffix(".boot")
    subprocess.run(["as", "--32", _SOURCE, "-o", unlinked], check=True)
    subprocess.run(
        ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", unlinked, "-o", sector],
        check=True,
    )
    boot = sector.read_bytes()
    assert len(boot) == _SECTOR_BYTES, len(boot)
    counter = b"0000\0".ljust(_SECTOR_BYTES, b"\0")
    path.write_bytes((boot + counter).ljust(_DISK_BYTES, b"\0"))


def boots(disk: Path) -> int:
    """How often the guest has booted from this disk, by its own count."""
    return int(disk.read_bytes()[_SECTOR_BYTES : _SECTOR_BYTES + 4])


class Console:
    """The serial console of a guest: one connection to its socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self.heard = b""

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until(self, sign: bytes | re.Pattern[bytes], *, timeout_s: float = 30.0) -> re.Match[bytes]:
        """Read until the guest has said `sign`; what it said before that is forgotten."""
        pattern = re.compile(re.escape(sign)) if isinstance(sign, bytes) else sign
        due = time.monotonic() + timeout_s
        while (match := pattern.search(self.heard)) is None:
            self._socket.settimeout(max(due - time.monotonic(), 0.01))
            piece = self._socket.recv(4096)
            assert piece, f"the console closed; before that: {self.heard!r}"
            self.heard += piece
        self.heard = self.heard[match.end() :]
        return match

    def tick(self) -> int:
        """Return the next number that it counts."""
        return int(self.until(_TICK)[1])

    def type(self, text: bytes) -> None:
        """Send it something."""
        self._socket.sendall(text)

"""A disk that remembers what was written and synced, so that power can be cut at any point of it.

Between two syncs of a file the kernel may have brought any part of its writes to the disk, in any
order, in units of a sector. An image of a cut is what was synced, and a choice from the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR = 512
Choice = Literal["none", "all", "some", "torn"]


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes went to the kernel. `data` None: the file was cut at `offset`."""

    file: str
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was written to the file before is on the disk."""

    file: str


@dataclass(frozen=True, slots=True)
class Marked:
    """The ack mark was written and synced; this is the whole file."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Acked:
    """Somebody was told that everything up to `seq` is durable."""

    seq: int


Step = Wrote | Synced | Marked | Acked


class RecordingDisk(apsw.VFS):
    """Open the log with `vfs=name`; every write and sync of it is appended to `steps`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.steps: list[Step] = []

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        """Open a file whose writes are noted."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _File(self, Path(path).name, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: RecordingDisk, file: str, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._steps, self._file = disk.steps, file

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._steps.append(Wrote(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._steps.append(Wrote(self._file, newsize, None))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._steps.append(Synced(self._file))


def image(
    start: dict[str, bytes], steps: list[Step], choice: Choice, draw: random.Random
) -> dict[str, bytes]:
    """Return the files as a cut after `steps` may leave them."""
    durable = {name: bytearray(content) for name, content in start.items()}
    pending: dict[str, list[Wrote]] = {}
    for step in steps:
        match step:
            case Wrote():
                pending.setdefault(step.file, []).append(step)
            case Synced():
                for wrote in pending.pop(step.file, []):
                    _apply(durable.setdefault(step.file, bytearray()), wrote)
            case Marked():
                durable["ack-mark"] = bytearray(step.content)
            case Acked():
                pass
    keep: dict[Choice, Callable[[Wrote], Wrote | None]] = {
        "none": lambda wrote: None,
        "all": lambda wrote: wrote,
        "some": lambda wrote: wrote if draw.random() < 0.5 else None,
        "torn": lambda wrote: _torn(wrote, draw),
    }
    for file, writes in pending.items():
        for wrote in writes:
            kept = keep[choice](wrote)
            if kept:
                _apply(durable.setdefault(file, bytearray()), kept)
    return {name: bytes(content) for name, content in durable.items()}


def _torn(wrote: Wrote, draw: random.Random) -> Wrote:
    """Return the write as far as some sector."""
    if wrote.data is None:
        return wrote
    sectors = draw.randint(0, len(wrote.data) // SECTOR)
    return Wrote(wrote.file, wrote.offset, wrote.data[: sectors * SECTOR])


def _apply(content: bytearray, wrote: Wrote) -> None:
    if wrote.data is None:
        del content[wrote.offset :]
        return
    end = wrote.offset + len(wrote.data)
    content.extend(bytes(max(0, end - len(content))))
    content[wrote.offset : end] = wrote.data

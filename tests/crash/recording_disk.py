"""A disk that remembers what was written and synced, so that power can be cut at any point of it.

What may then be there is in images.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


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


Step = Wrote | Synced


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

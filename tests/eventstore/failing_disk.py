"""A disk that can be told to fail: an APSW VFS around the system's own (for tests)."""

from __future__ import annotations

from typing import Any

import apsw


class FailingDisk(apsw.VFS):
    """Register it under a name, open the log with `vfs=name`, then make it fail and heal."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self._write_error: Exception | None = None
        self._sync_error: Exception | None = None
        self._writes_left = 0

    def __enter__(self) -> FailingDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def fail_writes(self, error: Exception, *, after: int = 0) -> None:
        """Raise `error` from every write after so many more."""
        self._write_error, self._writes_left = error, after

    def fail_syncs(self, error: Exception) -> None:
        """Raise `error` from every sync."""
        self._sync_error = error

    def heal(self) -> None:
        """Work again."""
        self._write_error = self._sync_error = None

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        """Open a file that asks this disk before it writes."""
        return _File(self, name, flags)

    def before_write(self) -> None:
        """Raise if writes fail now."""
        self._writes_left -= 1
        if self._write_error and self._writes_left < 0:
            raise self._write_error

    def before_sync(self) -> None:
        """Raise if syncs fail now."""
        if self._sync_error:
            raise self._sync_error


class _File(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.before_write()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.before_sync()
        super().xSync(flags)

"""At most one process writes a log: a lock that the kernel drops when its holder dies (edge).

`flock` rather than a pid file: a pid can be reused, and a killed holder leaves no lock behind. The
pid in the file is only for the error message.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from eventstore.errors import LogInUse


class WriterLock:
    """Held from construction until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises LogInUse, naming the holder's pid, if another process has it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise LogInUse(
                f"{path.parent} is open for writing by process {holder}",
                hint=f"stop process {holder} first; reading does not need the lock",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

"""A second file with what is in a first: cloned in a moment, or copied in time (edge).

A clone (FICLONE) shares all blocks until one of the two is written to; XFS and Btrfs can do it,
ext4 cannot. A copy reads and writes what is not a hole, so it stays sparse.
Sources: ioctl_ficlone(2), copy_file_range(2), lseek(2) on SEEK_DATA.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from nodeagent.task_scope import TaskScope

_FICLONE = 0x40049409
_CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS)
_MIB = 1 << 20
_PIECE_MIB = 16  # between two looks whether to stop


def clone(source: Path, target: Path) -> bool:
    """Make `target` anew as a clone; False if the file system cannot. Raises OSError."""
    with source.open("rb") as old, target.open("wb") as new:
        os.fchmod(new.fileno(), 0o600)
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError as failed:
            if failed.errno in _CANNOT:
                return False
            raise
        return True


def copy(source: Path, target: Path, scope: TaskScope) -> None:
    """Make `target` anew as a copy, and say how far it is. Raises OSError, Stopped."""
    with source.open("rb") as old, target.open("wb") as new:
        os.fchmod(new.fileno(), 0o600)
        size = os.fstat(old.fileno()).st_size
        os.ftruncate(new.fileno(), size)
        at, began = 0, time.monotonic()
        while at < size:
            scope.check(left=f"{target.name} is copied up to {at // _MIB} of {size // _MIB} MiB")
            at = _copy_piece(old.fileno(), new.fileno(), at, size)
            scope.feedback(
                f"{target.name}: {at // _MIB} of {size // _MIB} MiB copied",
                percent=100.0 * at / size,
                eta_s=(time.monotonic() - began) * (size - at) / at,
            )
        os.fsync(new.fileno())


def _copy_piece(old: int, new: int, at: int, size: int) -> int:
    """Copy the next data from `at` on, at most a piece; return where to go on."""
    try:
        start = os.lseek(old, at, os.SEEK_DATA)
    except OSError as failed:
        if failed.errno == errno.ENXIO:  # only a hole is left
            return size
        raise
    end = min(os.lseek(old, start, os.SEEK_HOLE), start + _PIECE_MIB * _MIB)
    while start < end:
        copied = os.copy_file_range(old, new, end - start, start, start)
        if copied == 0:
            return size  # the source was cut meanwhile
        start += copied
    return start

"""Making a disk empty before anybody gets it: what stood on it before cannot be read (edge).

The kernel is asked for zeros (BLKZEROOUT), a piece at a time: it hands that on to devices which can
do it themselves, and writes where they cannot; through a mirror both sides get it. A file needs no
writing: what is cut off and given back reads as zeros, and stays sparse.

What can go wrong: the device fails (Missing, with the kernel's words); the call is stopped in the
middle, so that a part is wiped and the rest is not. Doing it again does all of it again.
Source: the kernel's include/uapi/linux/fs.h (BLKZEROOUT takes start and length, in bytes).
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable

from nodeagent.errors import Missing
from nodeagent.task_scope import TaskScope

_BLKZEROOUT = 0x127F
_MIB = 1 << 20
_PIECE_MIB = 16  # between two looks whether to stop


def wipe(
    path: str,
    *,
    name: str,
    from_mib: int,
    scope: TaskScope,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Every byte of the device or file from `from_mib` on is zero. `name`: as people know it.

    Says how far it is and how long it will take. Raises Missing, Stopped.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.lseek(handle, 0, os.SEEK_END)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                _cut(handle, from_mib * _MIB, size)
            else:
                _zero(handle, name, from_mib * _MIB, size, scope, now)
                os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as failed:
        raise Missing(
            f"{name} ({path}) cannot be wiped: {failed.strerror}", hint="look at the kernel's log"
        ) from None


def _cut(handle: int, start: int, size: int) -> None:
    if start < size:
        os.ftruncate(handle, start)
        os.ftruncate(handle, size)


def _zero(
    handle: int, name: str, start: int, size: int, scope: TaskScope, now: Callable[[], float]
) -> None:
    began = now()
    for at in range(start, size, _PIECE_MIB * _MIB):
        scope.check(left=f"{name} is wiped up to {at // _MIB} of {size // _MIB} MiB")
        length = min(_PIECE_MIB * _MIB, size - at)
        fcntl.ioctl(handle, _BLKZEROOUT, struct.pack("QQ", at, length))
        done, rest = at + length - start, size - at - length
        scope.feedback(
            f"{name}: {(at + length) // _MIB} of {size // _MIB} MiB wiped",
            percent=100.0 * done / (size - start),
            eta_s=(now() - began) * rest / done,
        )

"""Small files that are replaced whole: after a crash there is the old one, or the new one (edge).

A file that is written in place is empty for a moment, and half written for another; a crash in one
of them, or a full disk, leaves a daemon that cannot start. So, in this order:

    write a draft beside it  ->  fsync(draft)  ->  rename(draft, name)  ->  fsync(directory)

Without the first sync the name may come to the disk before the bytes do (an empty file after a
power cut); without the second, the answer "it is written" may be forgotten. See rename(2) and
fsync(2).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o600, draft: str = "new") -> None:
    """Let `path` hold `content`, durably, or be as it was. Its mode is `mode`, less the umask.

    The draft is `<path>.<draft>`, so that one left over by a crash is used again: processes that
    may write at the same moment must each name their own. Raises OSError.
    """
    new = path.with_name(f"{path.name}.{draft}")
    new.unlink(missing_ok=True)  # with its mode, and whatever it links to
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # on a full disk its room is wanted
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

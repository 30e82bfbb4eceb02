"""What a voter has fetched of a segment so far: one file, gone on with after a restart (edge).

`<log>/incoming/<first>.part` holds the beginning of the stream (source.py) of the records
from `first` on. It bears no name of a leader or of an end: whoever offers that stream, or a longer
one from the same record, is asked for the rest. It is never believed: size, SHA-256 and every hash
are checked when it is whole, and it is not synced, since a wrong one is only fetched again.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore.errors import DiskFull, StorageFailed

_PIECE = 256 << 10
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SegmentPart:
    """The file of one segment that is being fetched."""

    def __init__(self, directory: Path, first: int) -> None:
        """Open it, or make it; what was fetched of other segments is removed. Raises DiskFull or
        StorageFailed, as every method does."""
        with _translated(directory):
            directory.mkdir(exist_ok=True, mode=0o700)
            self._path = directory / f"{first}.part"
            for other in directory.glob("*.part"):
                if other != self._path:
                    other.unlink()
            self._file = self._path.open("ab+")
            self.size = self._path.stat().st_size

    def append(self, piece: bytes) -> None:
        """Add what comes next."""
        with _translated(self._path):
            self._file.write(piece)
            self._file.flush()
            self.size += len(piece)

    def cut(self, size: int) -> None:
        """Let go of everything beyond `size`."""
        if size < self.size:
            with _translated(self._path):
                self._file.truncate(size)
                self.size = size

    def pieces(self) -> Iterator[bytes]:
        """Yield what is there, in order, in pieces of bounded size."""
        with _translated(self._path), self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def sha256(self) -> bytes:
        """Return the hash of what is there."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.digest()

    def close(self) -> None:
        """Close the file; it stays, to be gone on with."""
        self._file.close()

    def discard(self) -> None:
        """Close and remove it."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise DiskFull or StorageFailed in place of an error of the file system."""
    try:
        yield
    except OSError as error:
        told = f"{path}: {error.strerror}"
        if error.errno in _NO_ROOM:
            raise DiskFull(told, hint="free some space") from error
        raise StorageFailed(told, hint="see the kernel's log for the disk") from error

"""The ack mark: what this voter has acknowledged, kept outside SQLite (edge).

SQLite drops a torn transaction at the end of its WAL, which is right after a crash. But one flipped
bit looks the same, and then acknowledged records vanish without a word (474 of 768 flips, measured;
REPLICATION 2.2). So after the sync of the log, and before anybody is told, this file says up to
where the log must reach:

    sync of the WAL  ->  write and fdatasync of the mark  ->  the acknowledgement

At start, a mark ahead of the log means that something said is gone; a log ahead of the mark is
normal (a crash between the two). The file is preallocated and has two slots that are written in
turn, each with a counter and a CRC: a crash while one is written leaves the other. No rename, which
would cost a sync of the directory on the way of every vote.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec

from eventstore.durable_file import sync_directory
from eventstore.errors import CorruptLog, DiskFull, StorageFailed
from eventstore.record import Epoch

SLOT_BYTES = 4096  # a slot never shares a sector or page with the other
_MAGIC = b"CMRK"
_HEAD = len(_MAGIC) + 2 + 4  # magic, length, CRC


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What has been said: the last acknowledged record, the epoch and the vote."""

    seq: int
    hash: bytes  # of record `seq`; of the genesis if 0
    gen: int
    term: int
    voted_for: str
    voted_inc: bytes
    inc: bytes  # of this storage

    @property
    def epoch(self) -> Epoch:
        """The highest epoch this voter has spoken in."""
        return Epoch(self.gen, self.term)


class AckMark:
    """The open file. One process, one thread at a time."""

    def __init__(self, fd: int, counter: int, mark: Mark) -> None:
        self._fd = fd
        self._counter = counter
        self.mark = mark

    @classmethod
    def create(cls, path: Path, mark: Mark) -> AckMark:
        """Make the file, durable with its name in the directory, and put `mark` into it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, 2 * SLOT_BYTES)
            os.fsync(fd)
            sync_directory(path.parent)
            made = cls(fd, 0, mark)
            made.write(mark)
        except OSError as error:
            os.close(fd)
            raise DiskFull(f"no room for {path}: {error}") from error
        return made

    @classmethod
    def open(cls, path: Path) -> AckMark:
        """Open the file. Raises CorruptLog if it is missing or neither slot can be trusted."""
        newest = None
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = -1
        else:
            newest = _newest(os.pread(fd, 2 * SLOT_BYTES, 0))
        if newest is None:
            if fd >= 0:
                os.close(fd)
            raise CorruptLog(
                f"the ack mark {path} is missing or unreadable: what was acknowledged is not known",
                hint="gnt-log verify shows what is there; gnt-log accept-loss takes it as it is",
            )
        return cls(fd, newest[0], newest[1])

    def write(self, mark: Mark) -> None:
        """Make `mark` durable. Raises StorageFailed, after which nothing more may be written."""
        counter = self._counter + 1
        payload = msgspec.msgpack.encode((counter, mark))
        slot = _MAGIC + len(payload).to_bytes(2, "big")
        slot += zlib.crc32(payload).to_bytes(4, "big") + payload
        assert len(slot) <= SLOT_BYTES, "a voter's name is far shorter than a slot"
        try:
            os.pwrite(self._fd, slot.ljust(SLOT_BYTES, b"\0"), (counter % 2) * SLOT_BYTES)
            os.fdatasync(self._fd)
        except OSError as error:
            hint = "free room or repair the disk, then start the daemon again"
            raise StorageFailed(f"the ack mark cannot be written: {error}", hint=hint) from error
        self._counter, self.mark = counter, mark

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_mark(path: Path) -> Mark | None:
    """Return the mark as it is on disk, None if missing or unreadable. For readers."""
    try:
        newest = _newest(path.read_bytes()[: 2 * SLOT_BYTES])
    except FileNotFoundError:
        return None
    return newest[1] if newest else None


def _newest(content: bytes) -> tuple[int, Mark] | None:
    slots = [_slot(content[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
    return max((slot for slot in slots if slot), key=lambda slot: slot[0], default=None)


def _slot(content: bytes) -> tuple[int, Mark] | None:
    """Return (counter, mark), or None if the slot was torn, flipped or never written."""
    if content[: len(_MAGIC)] != _MAGIC or len(content) < _HEAD:
        return None
    size = int.from_bytes(content[4:6], "big")
    payload = content[_HEAD : _HEAD + size]
    if len(payload) != size or zlib.crc32(payload) != int.from_bytes(content[6:10], "big"):
        return None
    try:
        counter, mark = msgspec.msgpack.decode(payload, type=tuple[int, Mark])
    except (msgspec.MsgspecError, ValueError):
        return None  # a CRC that fits by chance
    return counter, mark

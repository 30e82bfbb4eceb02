"""Folded states on disk: a cache that is checked before it is believed (edge).

A snapshot is opaque bytes, the state of one fold at one seq, with what tells whether it may be
used: the version of the fold, the hash of the log's record at that seq (a log that was cut back
and went on is another log), and the digest of the state. Layout of a file, all in one directory per
fold and version:

    CSNP | MessagePack head | zstd-compressed state | CRC-32 of all before

A damaged file is skipped and reported, never trusted, and never a reason not to start: an older
one, or the log from its beginning, gives the same state.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from eventstore.durable_file import replace
from eventstore.errors import DecodeError
from eventstore.storage.thinning import kept

_MAGIC = b"CSNP"
_LEVEL = 3
_MAX_STATE_BYTES = 4 << 30


class Snapshot(NamedTuple):
    """A state at a seq. `hash` is that of the log's record `seq`, `digest` that of the state."""

    seq: int
    hash: bytes
    digest: bytes
    state: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    fold: str
    version: int
    seq: int
    hash: bytes
    digest: bytes
    state_bytes: int


class SnapshotStore:
    """The snapshots of one fold in one version.

    `report(path, why)` hears of each damaged file, once per call that meets it.
    """

    def __init__(
        self, directory: Path, *, fold: str, version: int, report: Callable[[Path, str], None]
    ) -> None:
        """`directory` is that of all snapshots (`Layout.snapshots`); the folds share it."""
        self._fold, self._version, self._report = fold, version, report
        self.directory = directory / f"{fold}-{version}"
        self.directory.mkdir(parents=True, exist_ok=True)
        for unfinished in self.directory.glob("*.new"):
            unfinished.unlink()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="snapshots")

    def seqs(self) -> list[int]:
        """Return the seqs of the snapshots that are there, in order, unchecked."""
        return sorted(int(path.stem) for path in self.directory.glob("*.snapshot"))

    def save(self, snapshot: Snapshot) -> None:
        """Write the snapshot durably, all or nothing, and thin out the older ones."""
        head = _Head(
            self._fold,
            self._version,
            snapshot.seq,
            snapshot.hash,
            snapshot.digest,
            len(snapshot.state),
        )
        packed = msgspec.msgpack.encode(head)
        content = _MAGIC + len(packed).to_bytes(4, "big") + packed
        content += zstandard.ZstdCompressor(level=_LEVEL).compress(snapshot.state)
        content += zlib.crc32(content).to_bytes(4, "big")
        replace(self._path(snapshot.seq), content)
        self._thin(snapshot.seq)

    def save_soon(self, make: Callable[[], Snapshot]) -> Future[None]:
        """Make and write a snapshot on a thread of its own, one after the other.

        `make` encodes a state that does not change (folds return new values). The future raises
        OSError if there is no room; nothing depends on it.
        """
        return self._worker.submit(lambda: self.save(make()))

    def nearest(self, seq: int, hash_at: Callable[[int], bytes | None]) -> Snapshot | None:
        """Return the newest sound snapshot at or below `seq`, None if there is none.

        `hash_at` gives the hash of a record of the log, None if it has no such record; a snapshot
        of another history is reported and skipped.
        """
        for candidate in reversed([s for s in self.seqs() if s <= seq]):
            path = self._path(candidate)
            try:
                snapshot = self._read(path)
            except (DecodeError, OSError) as error:
                self._report(path, str(error))
                continue
            if hash_at(candidate) == snapshot.hash:
                return snapshot
            self._report(path, "it belongs to another history of this log")
        return None

    def close(self) -> None:
        """Finish what is being written."""
        self._worker.shutdown()

    def _path(self, seq: int) -> Path:
        return self.directory / f"{seq:020d}.snapshot"

    def _thin(self, head: int) -> None:
        seqs = self.seqs()
        for seq in set(seqs) - kept(seqs, max(head, *seqs)):
            self._path(seq).unlink(missing_ok=True)

    def _read(self, path: Path) -> Snapshot:
        content = path.read_bytes()
        body, crc = content[:-4], content[-4:]
        if content[:4] != _MAGIC or zlib.crc32(body).to_bytes(4, "big") != crc:
            raise DecodeError("the file is damaged (CRC)")
        size = int.from_bytes(body[4:8], "big")
        try:
            head = msgspec.msgpack.decode(body[8 : 8 + size], type=_Head)
            if (head.fold, head.version) != (self._fold, self._version):
                raise DecodeError(f"it is one of {head.fold} version {head.version}")
            if head.state_bytes > _MAX_STATE_BYTES or head.seq != int(path.stem):
                raise DecodeError("its head does not fit the file")
            state = zstandard.ZstdDecompressor().decompress(
                body[8 + size :], max_output_size=head.state_bytes or 1
            )
        except (msgspec.MsgspecError, ValueError, zstandard.ZstdError) as error:
            raise DecodeError(f"the file is damaged: {error}") from error
        if len(state) != head.state_bytes:
            raise DecodeError("the state is not as long as its head says")
        return Snapshot(head.seq, head.hash, head.digest, state)

"""The state of a simulated driver: one JSON file, changed under a lock, replaced whole (edge).

Every change of the simulated world and the count of the effect that made it stand in the same file
and become true at the same moment (`rename`), so a process that is killed leaves either none or
both. Nothing is synced: a simulated node loses its simulated disks when the machine that runs the
lab does. Reading takes no lock and parses again only what has changed.

A file belongs to one agent; other agents of the lab only read it. (The shared directory's volumes
are the exception, which is why the lock is one between processes.)
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec


class Counted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A state that counts its effects: "create-volume xenvg/a" -> 1."""

    effects: dict[str, int] = {}

    def effect(self, what: str, subject: str) -> None:
        """Count one effect; call it in the same change as the effect itself."""
        key = f"{what} {subject}"
        self.effects[key] = self.effects.get(key, 0) + 1


S = TypeVar("S", bound=Counted)


class StateFile(Generic[S]):
    """One state of type `S` in one file."""

    def __init__(self, path: Path, kind: type[S]) -> None:
        self._path = path
        self._new = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._encoder = msgspec.json.Encoder()
        self._mutex = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._cached: S = kind()

    def read(self) -> S:
        """Return the present state, not to be changed; an empty one if there is no file."""
        with self._mutex:
            return self._current()

    @contextmanager
    def change(self) -> Iterator[S]:
        """Yield the state to be changed in place; written when the block ends without an error.

        A block that has changed nothing writes nothing.
        """
        with self._mutex, self._locked():
            before = self._encoder.encode(self._current())
            state = self._decoder.decode(before)
            yield state
            after = self._encoder.encode(state)
            if after != before:
                self._write(after)

    def _current(self) -> S:
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._stamp, self._cached = None, self._new()
            return self._cached
        with os.fdopen(handle, "rb") as file:
            stat = os.fstat(handle)
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._cached = self._decoder.decode(file.read())
                self._stamp = stamp
        return self._cached

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, encoded: bytes) -> None:
        # Only the lock's holder writes, so one name for the new file is enough.
        draft = f"{self._path}.new"
        with open(draft, "wb") as file:
            file.write(encoded)
        os.rename(draft, self._path)

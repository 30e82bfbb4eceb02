"""What a client writes down while it works: what it asked for, and what it was told (edge).

One JSON object a line, in a file of its own for each client. All clients of a run share one clock,
CLOCK_MONOTONIC of the machine; a note is written after the fact that it tells of, except `invoked`
and `asked`, which are written before the request is sent. So the time between two notes contains
the request, and never less. A client that is killed leaves an `invoked` without an end: unknown.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["invoked", "acked", "refused", "unknown", "asked", "read"]


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One note. A write is known by its idempotency key, a read by any text of its own.

    A repeat of a write has its key; it may be invoked as often as the client likes.
    """

    time_ns: int
    client: str
    what: What
    key: str
    seq: int = 0  # acked: of the record; read: as of which the answer was
    sha256: str = ""  # invoked: of the event's bytes as they must stand in the record's `data`


class Notebook:
    """Notes of one client, appended to a file that survives the client."""

    def __init__(self, path: Path, client: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._client = client

    def write(self, what: What, key: str, *, seq: int = 0, data: bytes | None = None) -> None:
        """Note what happens now."""
        note = Note(
            time_ns=time.monotonic_ns(),
            client=self._client,
            what=what,
            key=key,
            seq=seq,
            sha256="" if data is None else hashlib.sha256(data).hexdigest(),
        )
        self._file.write(msgspec.json.encode(note) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_notes(path: Path) -> Iterator[Note]:
    """Yield the notes of a file; a last line that was cut off in mid-write is none."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line, type=Note)

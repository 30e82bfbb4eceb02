"""How much room a voter's disk has left (R14, edge).

A disk that gets full stops a voter from acknowledging. So before it comes to that, with less than a
twentieth free and less than 1 GiB, a leader hands over to a voter with more room, and no voter is
taken in or sent segments on such a disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from eventstore.raft.state import DiskState

LEAST_SHARE = 20  # one in so many blocks must be free ...
ENOUGH_BYTES = 1 << 30  # ... unless so many bytes are


def room_on(directory: Path) -> DiskState:
    """Return LOW or OK; that a disk is FULL, only a write can tell."""
    found = os.statvfs(directory)
    free, all_blocks = found.f_bavail, found.f_blocks
    low = free * LEAST_SHARE < all_blocks and free * found.f_frsize < ENOUGH_BYTES
    return DiskState.LOW if low else DiskState.OK

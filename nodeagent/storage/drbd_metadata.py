"""The metadata of a mirror's side: what it holds, and what a new side starts with (pure).

A new volume's first 4 KiB are zero, so a valid superblock is always that of the volume's own
mirror. Superblock of DRBD 8.4 (v08), big-endian, at the start of an external metadata device; that
of DRBD 9 (v09) has the current generation id and the magic number at the same places:

     0  size of the data, sectors      8  generation ids: current, bitmap, two older ones
    40  device id, reserved           56  flags        60  magic number

Two sides that are new and empty count as equal: they start with the same generation id, derived
from the disk's uuid, and a clean bitmap, so that nothing is synced, neither now nor after the first
interruption. (By hand, `new-current-uuid --clear-bitmap` does that, once both are connected. All
bits of new metadata are set, so that without this the first interruption would cost a full sync.)
A side that holds the data of a disk which becomes a mirror starts with an id of its own; the other
side has none, so it gets everything.

Metadata are written by `drbdmeta restore-md` from text, in the form of `dump-md`; its fields must
stand in this order.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

HEAD_BYTES = 4096
# In 8.4 there is a second one, for what is to be cleaned by `apply-al`
_LAYOUTS = {0x8374026B: "v08", 0x8374026C: "v08", 0x8374026D: "v09"}
_JUST_CREATED = 4  # generation id of `create-md`: there are no data yet
_FLAGS = 0x91  # consistent, up to date, activity log clean
_BIT_KIB = 4  # of data for each bit of the bitmap


class Superblock(NamedTuple):
    """What the start of a metadata device says."""

    generation: int
    layout: str = "v08"

    @property
    def empty(self) -> bool:
        """Whether the side has never had data."""
        return self.generation == _JUST_CREATED


def read_superblock(head: bytes) -> Superblock | None:
    """Return the superblock at the start of a metadata device, None if there is none."""
    if len(head) < 64:
        return None
    (magic,) = struct.unpack_from(">I", head, 60)
    (generation,) = struct.unpack_from(">Q", head, 8)
    return Superblock(generation, _LAYOUTS[magic]) if magic in _LAYOUTS else None


def generation_of(*names: str) -> int:
    """Return a generation id for a side that starts with data, the same for the same names.

    The lowest bit says whether the side is primary; 0 and 4 have meanings of their own.
    """
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return (int.from_bytes(digest[:8], "big") | 1 << 63) & ~1


def new_metadata(generation: int, size_mib: int) -> str:
    """Return the text of metadata for a side with data that are in order, and a clean bitmap."""
    words = -(-size_mib * 1024 // _BIT_KIB // 64)
    return (
        'version "v08";\n'
        "uuid {\n"
        f"    0x{generation:016X}; {' '.join(['0x0000000000000000;'] * 3)}\n"
        f"    flags 0x{_FLAGS:08X};\n"
        "}\n"
        f"la-size-sect {size_mib * 2048};\n"
        "bm-byte-per-bit 4096;\n"
        "device-uuid 0x0000000000000000;\n"
        "la-peer-max-bio-size 0;\n"
        "al-stripes 1;\n"
        "al-stripe-size-4k 8;\n"
        "bm {\n"
        f"    {words} times 0x0000000000000000;\n"
        "}\n"
    )

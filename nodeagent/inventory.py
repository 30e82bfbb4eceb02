"""What a node holds, told briefly: sums of all of it, lists only of what was asked for (pure).

An answer has to fit into a record (64 KiB), and a node may hold thousands of volumes. In a sound
cluster the sums of eventstore/set_sums.py are all that is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from eventstore.set_sums import bucket_of, sums_of
from nodeagent.calls import Inventory, OwnedVolume, minor_entry

MAX_BYTES = 55_000  # of an answer, but for the sums


def inventory(
    volumes: Sequence[OwnedVolume],
    minors: Mapping[int, str],
    buckets: Collection[int],
    *,
    beside_bytes: int,
) -> Inventory:
    """Return the sums of what this cluster made here, and whole buckets while there is room.

    A volume that has no owner is in no sum, but is listed with its bucket. `beside_bytes`: what
    the rest of the answer takes (the node's status, its OS definitions).
    """
    mine = [volume.name for volume in volumes if volume.owner]
    mine += [minor_entry(minor, disk) for minor, disk in minors.items()]
    listed: list[int] = []
    found: list[OwnedVolume] = []
    taken: dict[int, str] = {}
    room = MAX_BYTES - beside_bytes
    for bucket in sorted(buckets):
        here = [volume for volume in volumes if bucket_of(volume.name) == bucket]
        up = {at: disk for at, disk in minors.items() if bucket_of(minor_entry(at, disk)) == bucket}
        room -= len(msgspec.msgpack.encode((here, up)))
        if room < 0:
            break
        listed.append(bucket)
        found += here
        taken.update(up)
    return Inventory(sums=sums_of(mine), listed=tuple(listed), volumes=tuple(found), minors=taken)

"""Where two sets of names differ, told without listing them (pure).

Names fall into BUCKETS by their hash; the sum of a bucket is the exclusive or of 64 bits of the
hashes of its names. Who holds one set sends its sums (0.6 KiB), who holds the other compares, and
asks for the names of those buckets alone in which something differs. Equal sums of different sets
are as likely as 2^-64 for names that nobody chose to that end; this finds drift, not forgery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

BUCKETS = 64


def bucket_of(name: str) -> int:
    """Return the bucket that a name falls into: 0 to BUCKETS - 1."""
    return _hash(name) % BUCKETS


def sums_of(names: Iterable[str]) -> tuple[int, ...]:
    """Return the sum of each bucket of a set of names. A name must not occur twice."""
    sums = [0] * BUCKETS
    for name in names:
        hashed = _hash(name)
        sums[hashed % BUCKETS] ^= hashed
    return tuple(sums)


def differing(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Return the buckets in which two sets differ. Raises ValueError if one is no list of sums."""
    pairs = zip(one, other, strict=True)
    return tuple(bucket for bucket, (mine, yours) in enumerate(pairs) if mine != yours)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")

"""Which snapshots to keep: close together near the head, further apart with age (pure).

A state at an old seq costs the fold from the nearest snapshot below it. With `allowed_gap` between
neighbours, that is at most 10,000 records for the newest 320,000, and at most 1/32 of the age
beyond; the number of snapshots grows with the logarithm of the log: about 32, and 32 more for each
time that the log grows e-fold.
"""

from __future__ import annotations

from collections.abc import Iterable

EVERY = 10_000  # records between snapshots when they are made
GROWTH = 32


def allowed_gap(age: int) -> int:
    """Return how many records may lie between two neighbours, the newer of which has this age."""
    return max(EVERY, age // GROWTH)


def kept(seqs: Iterable[int], head: int) -> set[int]:
    """Return those of the snapshots at `seqs` to keep when the log is at `head`.

    The newest is always kept. Seq 0, the empty state, counts as a snapshot that costs nothing.
    """
    newest_first = sorted(set(seqs), reverse=True)
    keep: set[int] = set()
    newer = None
    for seq, older in zip(newest_first, [*newest_first[1:], 0], strict=True):
        if newer is None or newer - older > allowed_gap(head - newer):
            keep.add(seq)
            newer = seq
    return keep

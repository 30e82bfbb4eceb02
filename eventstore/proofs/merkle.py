"""The Merkle tree over the log: RFC 6962, incremental, with proofs (pure).

    leaf(bytes)  = SHA-256(0x00 || bytes)          the exact bytes of a record
    node(l, r)   = SHA-256(0x01 || l || r)
    root of n    = node(root of the first k, root of the rest), k the largest power of 2 below n

A growing tree needs only its *frontier*: the roots of the complete subtrees that its size is the
sum of, one per set bit, about 20 hashes for a million records. A proof needs inner hashes; whoever
asks for one passes a function that gives the root of any complete subtree, (level, number) being
the leaves number << level up to the next. The proofs are those of RFC 6962, section 2.1; they are
checked by the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

SubtreeRoot = Callable[[int, int], bytes]  # (level, number) -> root of that complete subtree


class Subtree(NamedTuple):
    """A complete subtree: the 2**level leaves from number << level on."""

    level: int
    number: int
    root: bytes


def leaf_hash(encoded: bytes) -> bytes:
    """Return the hash of a leaf with these bytes."""
    return hashlib.sha256(b"\x00" + encoded).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that leaves are added to; it keeps its frontier and nothing else."""

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        """Take up a tree of `size` leaves at its frontier, largest subtree first."""
        if len(frontier) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has a frontier of {size.bit_count()} hashes")
        self.size = size
        self._frontier = list(frontier)

    @property
    def frontier(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, largest first: all that is needed to go on."""
        return tuple(self._frontier)

    def append(self, leaf: bytes, *, least: int = 0) -> list[Subtree]:
        """Add a leaf by its hash; return the subtrees that it completes, smallest first.

        Only those of level `least` and above: the small ones are many, and few have use for them.
        """
        frontier, completed = self._frontier, list[Subtree]()
        level, number = 0, self.size
        while number & 1:
            if level >= least:
                completed.append(Subtree(level, number, leaf))
            level, number = level + 1, number >> 1
            leaf = node_hash(frontier.pop(), leaf)
        if level >= least:
            completed.append(Subtree(level, number, leaf))
        frontier.append(leaf)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._frontier:
            return EMPTY_ROOT
        root = self._frontier[-1]
        for left in reversed(self._frontier[:-1]):
            root = node_hash(left, root)
        return root


def inclusion_proof(index: int, size: int, subtree: SubtreeRoot) -> list[bytes]:
    """Return the proof that leaf `index` (from 0) is in the tree of the first `size` leaves."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return _path(index, 0, size, subtree)


def consistency_proof(old: int, new: int, subtree: SubtreeRoot) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with that of `old` leaves."""
    if not 0 < old <= new:
        raise ValueError(f"no proof from {old} leaves to {new}")
    return _subproof(old, 0, new, subtree, whole=True)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether `proof` shows that the leaf with this hash is number `index` under `root`."""
    if not 0 <= index < size:
        return False
    place, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            computed = node_hash(sibling, computed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and computed == root


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Say whether `proof` shows that the tree of `new` leaves begins with that of `old` leaves."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    from_old = from_new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            from_old, from_new = node_hash(sibling, from_old), node_hash(sibling, from_new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            from_new = node_hash(from_new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and from_old == old_root and from_new == new_root


def range_root(first: int, size: int, subtree: SubtreeRoot) -> bytes:
    """Return the root of the `size` leaves from `first` on, as they stand within a tree."""
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtree(level, first >> level)
    left = _split(size)
    right = range_root(first + left, size - left, subtree)
    return node_hash(range_root(first, left, subtree), right)


def _path(index: int, first: int, size: int, subtree: SubtreeRoot) -> list[bytes]:
    if size == 1:
        return []
    left = _split(size)
    if index < left:
        beside = range_root(first + left, size - left, subtree)
        return [*_path(index, first, left, subtree), beside]
    beside = range_root(first, left, subtree)
    return [*_path(index - left, first + left, size - left, subtree), beside]


def _subproof(old: int, first: int, size: int, subtree: SubtreeRoot, *, whole: bool) -> list[bytes]:
    """`whole`: the old tree is the subtree itself, so its root is known to who checks."""
    if old == size:
        return [] if whole else [range_root(first, size, subtree)]
    left = _split(size)
    if old <= left:
        beside = range_root(first + left, size - left, subtree)
        return [*_subproof(old, first, left, subtree, whole=whole), beside]
    beside = range_root(first, left, subtree)
    rest = _subproof(old - left, first + left, size - left, subtree, whole=False)
    return [*rest, beside]


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)

"""Digests of a state: equal on every voter whose folds agree (pure).

The digest of a projection is the sum modulo 2^256 of SHA-256(key, value) over its objects, each as
deterministic MessagePack. A sum does not depend on the order in which a persistent map happens to
iterate, and a change of one object costs one hash: subtract its old leaf, add the new one. A digest
is compared only with one of the same version of the fold.

What is derived (names, indexes, the lock table) is left out: it follows from what is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from projections.cluster import DUTY, PARKED, RESERVED, Cluster, Key, OpKey

_MODULUS = 1 << 256
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """What two voters compare. The three digests are 64 hex digits each."""

    seq: int
    fold: str  # FOLD_VERSION; digests of different folds say nothing about each other
    configuration: str
    jobs: str
    changes: str


def leaf(key: object, value: object) -> int:
    """Return the leaf of one object. Both must be what MessagePack can hold."""
    return int.from_bytes(hashlib.sha256(_encode((key, value))).digest(), "big")


def add(total: int, part: int) -> int:
    """Return the sum of two digests as numbers."""
    return (total + part) % _MODULUS


def as_hex(total: int) -> str:
    """Return a digest as people and peers see it."""
    return total.to_bytes(32, "big").hex()


class Sum:
    """A digest that follows its objects: remembers each leaf, so that a change costs one hash."""

    def __init__(self) -> None:
        self._leaves: dict[object, int] = {}
        self.total = 0

    def set(self, key: Any, value: object | None) -> None:
        """Note that the object under `key` is now `value`; None: there is none. Any: hashable."""
        new = 0 if value is None else leaf(key, value)
        old = self._leaves.pop(key, 0)
        if value is not None:
            self._leaves[key] = new
        self.total = (self.total - old + new) % _MODULUS


def object_at(cluster: Cluster, key: Key) -> object | None:
    """Return what stands under a key of `Cluster.touched`, None if nothing does any more."""
    table, name = key
    if table == RESERVED:
        return cluster.reserved.get(_op_of(name))
    if table == PARKED:
        return cluster.parked.get(_op_of(name))
    if table == DUTY:
        return cluster.duties.get(name)
    found: object | None = cluster.table(table).get(name)
    return found


def keys_of(cluster: Cluster) -> Iterator[Key]:
    """Yield the key of everything in the configuration."""
    for table in ("cluster", "group", "node", "instance"):
        for uuid in cluster.table(table):
            yield table, uuid
    for job, op in cluster.reserved:
        yield RESERVED, f"{job}/{op}"
    for job, op in cluster.parked:
        yield PARKED, f"{job}/{op}"
    for duty in cluster.duties:
        yield DUTY, duty


def touched_keys(cluster: Cluster) -> Iterable[Key]:
    """Return the keys in the chain `touched`, each once."""
    found: dict[Key, None] = {}
    touched = cluster.touched
    while touched is not None:
        found[touched.key] = None
        touched = touched.before
    return found


def _op_of(name: str) -> OpKey:
    job, op = name.split("/")
    return int(job), int(op)

"""The inner hashes of the Merkle tree that proofs need: from the index, else from the log (edge).

The index keeps the subtrees of 256 leaves and up; smaller ones, and those that the index lacks, are
computed from the records. Nothing here has to be trusted: a proof made from a damaged hash fails
when it is checked against the signed root.
"""

from __future__ import annotations

from eventstore.proofs.merkle import Tree, leaf_hash, node_hash
from eventstore.storage.index import SUBTREE_LEVEL
from eventstore.storage.index_reader import IndexReader
from eventstore.storage.log_reader import LogReader


class Subtrees:
    """`SubtreeRoot` over a log: call it with (level, number)."""

    def __init__(self, log: LogReader, index: IndexReader | None) -> None:
        self._log, self._index = log, index

    def __call__(self, level: int, number: int) -> bytes:
        """Return the root of the leaves from number << level on. They must be in the log."""
        if level < SUBTREE_LEVEL:
            return self._from_records(number << level, 1 << level)
        if self._index and (root := self._index.subtree(level, number)):
            return root
        if level == SUBTREE_LEVEL:
            return self._from_records(number << level, 1 << level)
        return node_hash(self(level - 1, 2 * number), self(level - 1, 2 * number + 1))

    def _from_records(self, first: int, size: int) -> bytes:
        """Leaf n is record n + 1."""
        tree = Tree()
        for row in self._log.rows(first + 1, first + size):
            tree.append(leaf_hash(row.encoded))
        if tree.size != size:
            raise ValueError(f"the log does not reach to record {first + size}")
        return tree.root()

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from eventstore.proofs.merkle import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots that the implementations of Certificate Transparency test with.
CT_LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(count: int) -> list[bytes]:
    return [b"record %d" % n for n in range(count)]


def grown(count: int) -> Tree:
    tree = Tree()
    for leaf in leaves(count):
        tree.append(leaf_hash(leaf))
    return tree


def subtree(level: int, number: int) -> bytes:
    if level == 0:
        return leaf_hash(b"record %d" % number)
    return node_hash(subtree(level - 1, 2 * number), subtree(level - 1, 2 * number + 1))


def test_known_vectors() -> None:
    """The roots are those that Certificate Transparency's implementations agree on."""
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        tree.append(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root


@pytest.mark.property
@given(st.integers(1, 130), st.data())
def test_roots_and_proofs_agree_with_pymerkle(size: int, data: st.DataObject) -> None:
    """Another implementation of RFC 6962 computes the same roots and the same proofs."""
    other = InmemoryTree(algorithm="sha256")
    for leaf in leaves(size):
        other.append_entry(leaf)
    assert grown(size).root() == other.get_root()
    index = data.draw(st.integers(0, size - 1))
    theirs = other.prove_inclusion(index + 1, size).serialize()["path"]
    ours = [node.hex() for node in inclusion_proof(index, size, subtree)]
    assert ours == theirs[1:]  # pymerkle's path begins with the leaf itself


@pytest.mark.property
@given(st.integers(1, 130), st.data())
def test_inclusion_proofs_hold_and_hold_for_nothing_else(size: int, data: st.DataObject) -> None:
    """A proof verifies for its leaf and place, and for no other leaf, place or changed proof."""
    index = data.draw(st.integers(0, size - 1))
    root, leaf = grown(size).root(), leaf_hash(b"record %d" % index)
    proof = inclusion_proof(index, size, subtree)
    assert verify_inclusion(leaf, index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, [*proof, bytes(32)], root)
    assert not verify_inclusion(leaf, size, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    assert verify_inclusion(leaf, other, size, proof, root) == (other == index)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        proof[at] = bytes(32)
        assert not verify_inclusion(leaf, index, size, proof, root)


@pytest.mark.property
@given(st.integers(1, 130), st.data())
def test_consistency_proofs_hold_and_hold_for_nothing_else(new: int, data: st.DataObject) -> None:
    """A tree that grew is shown to begin with the old one; a changed past is not."""
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, subtree)
    old_root, new_root = grown(old).root(), grown(new).root()
    assert verify_consistency(old, new, proof, old_root, new_root)
    assert not verify_consistency(old, new, proof, bytes(32), new_root)
    assert not verify_consistency(old, new, proof, old_root, bytes(32))
    assert not verify_consistency(old, new, [*proof, bytes(32)], old_root, new_root)


@pytest.mark.property
@given(st.integers(0, 130), st.integers(0, 130))
def test_a_tree_taken_up_at_its_frontier_goes_on_as_if_never_left(first: int, more: int) -> None:
    """The frontier is all that a restart needs."""
    before = grown(first)
    tree = Tree(before.size, before.frontier)
    for leaf in leaves(first + more)[first:]:
        tree.append(leaf_hash(leaf))
    assert tree.root() == grown(first + more).root()


@pytest.mark.property
@given(st.integers(1, 130), st.integers(0, 7))
def test_append_names_each_complete_subtree_once(size: int, least: int) -> None:
    """What is completed on the way is what proofs will ask for, with the right roots."""
    tree = Tree()
    completed = [
        done for leaf in leaves(size) for done in tree.append(leaf_hash(leaf), least=least)
    ]
    assert len({(done.level, done.number) for done in completed}) == len(completed)
    assert all(done.root == subtree(done.level, done.number) for done in completed)
    assert len(completed) == sum(size >> level for level in range(least, 8))
    assert tree.root() == grown(size).root()


def test_a_frontier_that_does_not_fit_its_size_is_refused() -> None:
    """A tree is not taken up at a frontier that cannot be its own."""
    with pytest.raises(ValueError, match="frontier of 2 hashes"):
        Tree(5, [bytes(32)])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3)])
def test_there_is_no_proof_of_a_leaf_outside_the_tree(index: int, size: int) -> None:
    """Asking for one is an error, not an empty proof."""
    with pytest.raises(ValueError):
        inclusion_proof(index, size, subtree)

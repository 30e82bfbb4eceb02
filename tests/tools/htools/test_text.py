"""The text format: what is written reads the same, and faults are named by line and column."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.placement.frame import build_frame
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_cluster
from tools.htools.errors import DataError
from tools.htools.text import cluster_text, parse_cluster

GOOD = """\
g|uuid|preferred||

n1|4096|0|4096|1000|1000|4|M|uuid|1
n2|4096|0|4096|1000|1000|4|N|uuid|1

i1|128|10|1|running|Y|n1|n2|drbd|a,b|1

htools:iextags:a

|128,1,1,1,1,1|128,1,1,1,1,1;4096,8,900,16,8,12|drbd,plain|4.0|32.0
"""


def written(text: str) -> str:
    cluster = parse_cluster(text)
    return cluster_text(cluster, Placement(build_frame(cluster)))


@pytest.mark.property
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_written_reads_the_same(seed: int) -> None:
    """Writing a cluster and reading it gives the cluster, and writing that the same text."""
    cluster = random_cluster(seed)
    text = cluster_text(cluster, Placement(build_frame(cluster)))
    read = parse_cluster(text)
    assert read.instances == cluster.instances
    assert read.tags == cluster.tags
    assert read.groups == cluster.groups
    assert written(text) == text


FAULTS = [
    ("n1|4096", "n1|40x96", "n1: leftover characters when parsing '40x96': 'x96'", 3, 4),
    ("n1|4096", "n1|", "n1: cannot parse string ''", 3, 4),
    ("n1|4096", "n1|-5", "n1: value '-5' is out of range", 3, 4),
    ("|4096|1000|1000|4|M", "|99999999999999999999|1000|1000|4|M", "out of range", 3, 11),
    ("n2|4096|0|4096|1000|1000|4|N|uuid|1", "n2|4096|0", "Invalid/incomplete node data", 4, 10),
    ("|n1|n2|", "|n1|n1|", "Instance i1 has same primary and secondary node - n1", 6, 26),
    ("running", "walking", "Invalid status 'walking' for i1", 6, 13),
    ("|Y|", "|?|", "Invalid auto_balance value '?' for instance i1", 6, 21),
    ("drbd|a", "tape|a", "Invalid disk template 'tape' for i1", 6, 29),
    ("preferred", "best", "Invalid alloc policy 'best' for g", 1, 8),
    ("|4.0|", "|four|", "/vcpu_ratio: cannot parse string 'four'", 10, 60),
    (";4096,8,900,16,8,12", "", "Odd number of min/max specs for", 10, 16),
    ("n2|4096", "n1|4096", "Duplicate node name 'n1'", 4, 1),
    ("\n|128", "\nx|128", "Wrong number of elems found with name x", 10, 1),
]

STRANGERS = [
    ("4|N|uuid", "4|N|other", "Unknown group 'other' for node n2"),
    ("|n1|n2|", "|n3|n2|", "Unknown node 'n3' for instance i1"),
    ("|n1|n2|", "|n1|n3|", "Unknown node 'n3' for instance i1"),
]


@pytest.mark.parametrize(("old", "new", "problem", "line", "column"), FAULTS)
def test_faults_are_named(old: str, new: str, problem: str, line: int, column: int) -> None:
    """Each fault gives its reason in the original's words, with line and column."""
    assert GOOD.count(old) >= 1
    with pytest.raises(DataError) as caught:
        parse_cluster(GOOD.replace(old, new, 1))
    assert problem in str(caught.value)
    assert str(caught.value).endswith(f"(line {line}, column {column})")


@pytest.mark.parametrize(("old", "new", "problem"), STRANGERS)
def test_unknown_names_are_told_by_both_ends(old: str, new: str, problem: str) -> None:
    """Who refers to nobody is told in the original's words, to the last byte."""
    with pytest.raises(DataError) as caught:
        parse_cluster(GOOD.replace(old, new, 1))
    assert str(caught.value) == problem


@pytest.mark.property
@given(st.integers(0, len(GOOD)), st.text(max_size=3))
def test_damaged_text_is_refused_or_read(cut: int, noise: str) -> None:
    """Cut off or garbled anywhere, the text gives a cluster or a DataError, nothing else."""
    for text in (GOOD[:cut], GOOD[:cut] + noise + GOOD[cut:]):
        found: list[str] = []
        try:
            parse_cluster(text)
        except DataError as problem:
            found.append(str(problem))
        assert all("(line " in problem or "Unknown " in problem for problem in found)


def test_an_unknown_amount_means_offline() -> None:
    """A question mark in a numeric column marks a node that is down."""
    cluster = parse_cluster(GOOD.replace("n2|4096", "n2|?"))
    assert cluster.nodes[1].offline
    assert cluster.nodes[1].total_memory == 0.0

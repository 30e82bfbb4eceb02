"""`gnt-instance add -t drbd` survives a master that dies at any of its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.killing import Undisturbed, disturbed, undisturbed
from tests.acceptance.prepared_lab import PreparedLab

ADD = ("gnt-instance", "add", "-n", "node3:node1", "-t", "drbd", "-B", "memory=512",
       "-s", "20G", "-o", "redhat", "mail.example.net")  # fmt: skip

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedLab]:
    """A cluster of three nodes without instances."""
    prepared = PreparedLab(Path(tmp_path_factory.mktemp("add")))
    try:
        prepared.prepare()
        yield prepared
    finally:
        prepared.stop()


@pytest.fixture(scope="module")
def calm(lab: PreparedLab) -> Undisturbed:
    """What it leaves undisturbed."""
    return undisturbed(lab, ADD)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_master_dies_at_every_record(lab: PreparedLab, calm: Undisturbed, when: str) -> None:
    """Before and after each record, the outcome is that of the undisturbed run."""
    seqs = range(calm.first, calm.last + 1)
    died = [disturbed(lab, ADD, f"kill:{when}:{seq}", calm) for seq in seqs]
    assert len(seqs) >= 15
    assert sum(died) >= len(seqs) - 3, "the faults did not reach the job"

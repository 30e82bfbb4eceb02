"""The test bed, anew for each module. These tests run by `make test-real`, as root.

When one fails, what its cluster was told and answered is in the captured output, and what is to be
seen in the nodes at that moment is added to it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tools.testbed.ability import lacking
from tools.testbed.bed import Bed
from tools.testbed.cluster import RealCluster
from tools.testbed.evidence import evidence
from tools.testbed.layout import default_layout

_BED = pytest.StashKey[Bed]()
_TIMEOUT_S = 1800  # of a test: the first one may have to make the image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this directory the time that node VMs take."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="module")
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Three fresh nodes."""
    layout = default_layout()
    if reason := lacking(layout):
        pytest.skip(reason)
    bed = request.config.stash[_BED] = Bed(layout, print)
    with (layout.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests has these nodes
        try:
            bed.up()
            yield bed
        finally:
            bed.down()
            del request.config.stash[_BED]


@pytest.fixture(scope="module")
def cluster(bed: Bed) -> RealCluster:
    """The nodes in a cluster, without instances."""
    cluster = RealCluster(bed, print)
    cluster.found()
    return cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    bed = item.config.stash.get(_BED, None)
    if report.failed and bed is not None:
        report.sections += evidence(bed)
    return report

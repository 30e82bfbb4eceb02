"""One lab for each module that asks for one, and the check that every log must stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.state import Projector
from tests.acceptance.live_lab import LiveLab
from tests.replaycheck import check_records, check_replay

LAB = "lab"


@pytest.fixture(scope="module", name=LAB)
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A cluster of three nodes, shared by the tests of a module."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("lab")) / "lab")
    try:
        lab.up()
        yield lab
        lab.stop()
        check_replay(lab.log)  # with its snapshots, which a daemon that runs may be writing
    finally:
        lab.down()


@pytest.fixture(autouse=True)
def _replay_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, the log of its lab, as it is then, folds to the same however it is cut."""
    yield
    if LAB not in request.fixturenames:
        return
    lab = request.getfixturevalue(LAB)
    if isinstance(lab, LiveLab) and lab.log.exists():
        records = lab.records()
        whole = Projector()
        whole.apply(records)
        check_records(records, whole.digest())

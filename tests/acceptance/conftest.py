"""One lab for each module that asks for one, and the check that every log must stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.replaycheck import check_replay

LAB = "lab"


@pytest.fixture(scope="module", name=LAB)
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A cluster of three nodes, shared by the tests of a module."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("lab")) / "lab")
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture(autouse=True)
def _replay_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, the log of its lab folds to the same digests in every way."""
    yield
    if LAB not in request.fixturenames:
        return
    lab = request.getfixturevalue(LAB)
    if isinstance(lab, LiveLab) and lab.log.exists():
        check_replay(lab.log)

"""The test bed, anew for each module. These tests run by `make test-real`, as root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.testbed.bed import Bed
from tools.testbed.layout import default_layout


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """Three fresh nodes."""
    bed = Bed(default_layout(), print)
    bed.up()
    yield bed
    bed.down()

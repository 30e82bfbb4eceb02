"""Half of the 5,000 seeds of every run of the tests; `python -m tests.simulation` runs more.

In two files, so that two processes share them.
"""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import flaw_of
from tests.simulation.scenario import Run

BLOCK = 100

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.mark.parametrize("first", range(2500, 5000, BLOCK))
def test_no_seed_violates_an_invariant(first: int) -> None:
    """Whole clusters under faults: every invariant holds after each step, and they come back."""
    for seed in range(first, first + BLOCK):
        assert not flaw_of(Run(seed)), f"seed {seed}"

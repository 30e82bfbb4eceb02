"""The world in which the stories of the engine begin."""

from __future__ import annotations

import pytest

from tests.commands.engine.world import World


@pytest.fixture
def world() -> World:
    """A leader that every node has promised to."""
    made = World()
    made.lead()
    return made

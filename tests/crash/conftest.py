"""A place for images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")  # the disk under test is a simulated one: images need no real one


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for one image after the other, in memory where there is some."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield Path(directory)

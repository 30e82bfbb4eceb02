"""Real nodes, for all tests of the driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodeagent.kvm.real_node import RealNode
from tests.nodeagent.kvm.tiny import make_disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The guest's disk."""
    path = tmp_path / "disk"
    make_disk(path)
    return path


@pytest.fixture
def pair(tmp_path: Path, disk: Path) -> Iterator[tuple[RealNode, RealNode]]:
    """Two nodes on this machine."""
    nodes = RealNode(tmp_path, disk, 1), RealNode(tmp_path, disk, 2)
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def node(pair: tuple[RealNode, RealNode]) -> RealNode:
    """The first of them."""
    return pair[0]

"""The network of a test bed that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.testbed import network
from tools.testbed.layout import BedError, Layout


def test_test_beds_do_not_meet(tmp_path: Path) -> None:
    """Each directory has a network of its own; one that is down is told from a node that is."""
    one, two = Layout(tmp_path / "one"), Layout(tmp_path / "two")
    assert network.namespace(one) != network.namespace(two)
    with pytest.raises(BedError, match=r"tools\.testbed up"):
        network.connect(one, 2000, timeout_s=1.0)

"""Whether a machine can have a test bed, and what it is told if it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.testbed import ability
from tools.testbed.layout import BedError, Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A test bed on a machine that has all tools and rights."""
    monkeypatch.setattr("tools.testbed.image.require_tools", lambda: None)
    monkeypatch.setattr(ability, "may_unshare", lambda: "")
    monkeypatch.setattr(ability, "TUN", tmp_path)
    set_memory(monkeypatch, tmp_path, 8192)
    return Layout(tmp_path / "bed")


def set_memory(monkeypatch: pytest.MonkeyPatch, directory: Path, free_mib: int) -> None:
    """Have so much memory free."""
    path = directory / "meminfo"
    path.write_text(f"MemTotal:  16384000 kB\nMemAvailable: {free_mib * 1024} kB\n")
    monkeypatch.setattr(ability, "MEMORY", path)


def test_a_machine_that_has_all(layout: Layout) -> None:
    """Nothing is lacking."""
    assert ability.lacking(layout) == ""


def test_what_is_lacking_is_named(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, rights, the device for interfaces, tools: in words."""
    set_memory(monkeypatch, tmp_path, 100)
    assert ability.lacking(layout) == "the test bed needs 3072 MiB of free memory; there are 100"
    monkeypatch.setattr(ability, "may_unshare", lambda: "Operation not permitted")
    assert "may unshare and mount: Operation not permitted" in ability.lacking(layout)
    monkeypatch.setattr(ability, "TUN", tmp_path / "none")
    assert "modprobe tun" in ability.lacking(layout)

    def lack() -> None:
        raise BedError("missing tools: apt-get install mmdebstrap")

    monkeypatch.setattr("tools.testbed.image.require_tools", lack)
    assert ability.lacking(layout) == "missing tools: apt-get install mmdebstrap"

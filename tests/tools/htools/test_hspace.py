"""hspace on small clusters, held against what ganeti-htools prints for the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.placement import redundancy
from commands.placement.allocate import all_nodes
from commands.placement.frame import build_frame
from commands.placement.options import Options
from commands.placement.state import Placement
from tests.commands.placement.clusters import random_cluster
from tools.htools.main import run

SPECS = "|128,1,1024,1,1,1|128,1,1024,1,1,1;4096,8,20480,16,8,12|drbd,plain,ext|1.0|32.0"


def cluster(*nodes: tuple[int, int]) -> str:
    """A cluster of one group without instances; nodes by memory and CPUs."""
    lines = [
        f"n{index}|{memory}|0|{memory}|100000|100000|{cpus}|N|u|1||N|0|0|1.0\n"
        for index, (memory, cpus) in enumerate(nodes)
    ]
    return f"g|u|preferred||\n\n{''.join(lines)}\n\n\n{SPECS}\ng{SPECS}\n"


def tiers(text: str, folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines of a tiered allocation: how many of which size."""
    (folder / "data").write_text(text)
    assert run("hspace", ["-t", str(folder / "data"), *words]) == 0
    return [line.strip() for line in capsys.readouterr().out.splitlines() if "of spec" in line]


@pytest.mark.parametrize("template", ["plain", "drbd"])
def test_a_minor_reason_shrinks_to_all_but_its_last_size(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most nodes lack memory; fewer CPUs help on the others, one CPU is not tried, as in htools."""
    text = cluster((100, 16), (100, 16), (100, 16), (16384, 1), (16384, 2))
    words = ("--no-capacity-checks", f"--disk-template={template}", "--tiered-alloc=1g,128m,4,1")
    assert tiers(text, tmp_path, capsys, *words) == [
        "-   1 instances of spec MEM 128, DSK 1024, CPU 2"
    ]


def test_a_smaller_instance_may_survive_the_loss_of_a_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On shared storage sizes that fit by themselves shrink on until a lost node is survived."""
    text = cluster((4096, 16), (1024, 16))
    found = tiers(text, tmp_path, capsys, "--disk-template=ext", "--tiered-alloc=1g,4g,8,1")
    assert found == ["-   1 instances of spec MEM 960, DSK 1024, CPU 8"]


def test_one_node_is_not_enough_for_two_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no group has two nodes, DRBD instances are refused with status 1."""
    (tmp_path / "data").write_text(cluster((4096, 16)))
    assert run("hspace", ["-t", str(tmp_path / "data"), "--disk-template=drbd"]) == 1
    assert "Not enough online nodes" in capsys.readouterr().err


@pytest.mark.property
@pytest.mark.parametrize("seed", range(60))
def test_bounds_say_what_trying_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a bound settles whether a node may fail, moving everything away says the same."""
    placement = Placement(build_frame(random_cluster(seed, nodes=5, instances=40)))
    scope = all_nodes(placement)
    quick = redundancy.evacuable(placement, scope).tolist()
    whole = redundancy.redundant(placement, scope, Options())
    monkeypatch.setattr(redundancy, "_bounded", lambda *_: None)
    assert redundancy.evacuable(placement, scope).tolist() == quick
    assert whole == all(quick)

"""Instances change their group on a lab with two groups of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import CLUSTER, LiveLab

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t drbd -o debian -B memory=512 -s 1G"


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """node1 and node2 are in the first group, node3 and node4 in `rack2`."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("groups")) / "lab")
    try:
        lab.up(nodes=4, cluster="")
        lab.ok(f"gnt-cluster init --candidate-pool-size=1 {CLUSTER}")
        lab.wait_for_kind("node.joined")
        lab.ok("gnt-group add rack2")
        lab.ok("gnt-node add node2")
        for node in ("node3", "node4"):
            lab.ok(f"gnt-node add -g rack2 {node}")
        yield lab
    finally:
        lab.down()


def where(lab: LiveLab) -> dict[str, set[str]]:
    """Return the nodes of every instance."""
    rows = lab.rows("gnt-instance list -o name,pnode,snodes")
    return {name: {primary, *secondaries.split()} for name, primary, secondaries in rows}


def test_instances_go_to_another_group_and_back(lab: LiveLab) -> None:
    """One by itself, then all of a group; each runs on, with both of its copies in one group."""
    first, second = {"node1", "node2"}, {"node3", "node4"}
    for number in (1, 2):
        lab.ok(f"{ADD} -g default web{number}.example.net")
    assert list(where(lab).values()) == [first, first]
    told = lab.ok("gnt-instance change-group --to rack2 web1.example.net")
    assert told.endswith("Instance web1.example.net changed its group successfully.\n")
    assert where(lab) == {"web1.example.net": second, "web2.example.net": first}
    told = lab.ok("gnt-group evacuate rack2")
    assert told.endswith("All instances evacuated successfully.\n")
    assert list(where(lab).values()) == [first, first]
    lab.ok("gnt-group evacuate --sequential --force-failover --to rack2 default")
    assert list(where(lab).values()) == [second, second]
    assert {row[0] for row in lab.rows("gnt-instance list -o status")} == {"running"}


def test_an_unknown_group_is_answered_with_the_nearest(lab: LiveLab) -> None:
    """As target, or as the one that is left."""
    lab.refuses("gnt-group evacuate --to rack3 default", "rack3", hint="rack2")
    lab.refuses("gnt-group evacuate rack3", "rack3", hint="rack2")
    lab.refuses(
        "gnt-group evacuate --to rack2 rack2", "is the one that is left", hint="other groups"
    )

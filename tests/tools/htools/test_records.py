"""Requests and clusters in the notation of Ganeti's debugging output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tools.htools.test_golden import CLUSTERS
from tools.htools.iallocator import parse_request
from tools.htools.main import run
from tools.htools.records import cluster_record, question_text

REQUEST: dict[str, Any] = json.loads((CLUSTERS / "hail-change-group.json").read_text())
FIRST, SECOND = list(REQUEST["instances"])[:2]
NODE = next(iter(REQUEST["nodes"]))
GROUP = list(REQUEST["nodegroups"])[-1]
NEW = {
    **REQUEST["instances"][FIRST],
    "name": 'say "new"',
    "disk_template": "drbd",
    "required_nodes": 2,
}

QUESTIONS: list[tuple[dict[str, Any], str]] = [
    ({"type": "allocate", **NEW}, "(AllocDetails 2 Nothing) Nothing"),
    (
        {"type": "allocate", **NEW, "group_name": "default", "restrict-to-nodes": ["b", "a"]},
        '(AllocDetails 2 (Just "default")) (Just ["a","b"])',
    ),
    ({"type": "multi-allocate", "instances": [NEW]}, ",AllocDetails 2 Nothing)]"),
    ({"type": "allocate-secondary", "name": SECOND}, "AllocateSecondary 1"),
    (
        {"type": "relocate", "name": FIRST, "required_nodes": 1, "relocate_from": [NODE]},
        "Relocate 0 1 [0]",
    ),
    (
        {"type": "node-evacuate", "instances": [FIRST, SECOND], "evac_mode": "all"},
        "NodeEvacuate [0,1] ChangeAll",
    ),
    (
        {"type": "change-group", "instances": [SECOND], "target_groups": [GROUP]},
        f"ChangeGroup [{len(REQUEST['nodegroups']) - 1}] [1]",
    ),
]


@pytest.mark.parametrize(("question", "ending"), QUESTIONS)
def test_questions_are_shown_with_numbers(question: dict[str, Any], ending: str) -> None:
    """Each kind of question is named as Ganeti names it; what is there is told by its number."""
    asked = {"tags": [], "nics": [], **question}
    request = parse_request(json.dumps({**REQUEST, "request": asked}))
    assert question_text(request.question, request.cluster).endswith(ending)


def test_a_cluster_is_shown_in_full() -> None:
    """Every group, node and instance has its record, under its number."""
    cluster = parse_request(json.dumps(REQUEST)).cluster
    text = cluster_record(cluster)
    assert text.startswith("ClusterData {cdGroups = fromList [(0,Group {name = ")
    assert text.count("Node {name = ") == len(cluster.nodes)
    assert text.count("Instance {name = ") == len(cluster.instances)
    assert text.count(",runSt = ") == 0
    assert text.count(" runSt = ") == len(cluster.instances)
    assert text.count("{") == text.count("}")


def test_quotes_in_a_name_are_escaped() -> None:
    """A name stands between quotes, its own are escaped."""
    asked = {"type": "allocate", "tags": [], "nics": [], **NEW}
    request = parse_request(json.dumps({**REQUEST, "request": asked}))
    assert 'name = "say \\"new\\""' in question_text(request.question, request.cluster)


def test_hail_shows_what_it_received(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once more verbose hail shows the question, twice also the cluster, both on stderr."""
    path = str(CLUSTERS / "hail-change-group.json")
    for flags, lines in (([], 0), (["-v"], 1), (["-v", "-v"], 2)):
        assert run("hail", [*flags, path]) == 0
        assert capsys.readouterr().err.count("Received ") == lines

"""The programs as functions: bad input ends with a message and a status, never a traceback."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.htools.test_text import GOOD
from tools.htools.errors import DataError
from tools.htools.iallocator import parse_request
from tools.htools.main import run
from tools.htools.rapi import load_cluster

CLUSTERS = Path(__file__).parents[2] / "data" / "htools" / "cluster"
FILE_PROGRAMS = ("hbal", "hcheck", "hinfo", "hroller", "hspace", "hsqueeze")
QUIET = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("program", FILE_PROGRAMS)
def test_missing_and_malformed_files(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is absent, binary, empty or cut off gives one line on stderr and status 1."""
    path = tmp_path / "cluster.data"
    cases = {
        b"\xff\xfe\x00": "not a text file",
        b"": "0 sections instead of 4 or more",
        GOOD[:100].encode(): "(line ",
        b"a|b\n\nc\n\nd\n\ne\n": "Invalid/incomplete group data",
    }
    assert run(program, ["-t", str(path)]) == 1
    assert "does not exist" in capsys.readouterr().err
    for content, problem in cases.items():
        path.write_bytes(content)
        assert run(program, ["-t", str(path)]) == 1
        error = capsys.readouterr().err
        assert problem in error
        assert error.startswith("Error: ")
        assert error.count("\n") == 1


@pytest.mark.parametrize("program", FILE_PROGRAMS)
@pytest.mark.parametrize("change", ["no instances", "all offline", "no nodes", "no memory"])
def test_degenerate_clusters(
    program: str, change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, offline and unusable clusters are reported on, or refused with a message."""
    sections = GOOD.split("\n\n")
    if change == "no instances":
        sections[2] = ""
    elif change == "all offline":
        sections[1] = sections[1].replace("|M|", "|Y|").replace("|N|", "|Y|")
    elif change == "no nodes":
        sections[1] = sections[2] = ""
    else:
        sections[1] = (
            sections[1].replace("|4096", "|0").replace("|1000", "|0").replace("|4|", "|0|")
        )
    path = tmp_path / "cluster.data"
    text = "\n\n".join(sections)
    path.write_text(text)
    status = run(program, ["-t", str(path)])
    assert status in (0, 1)
    captured = capsys.readouterr()
    assert captured.out or captured.err.startswith("Error: ")


def test_coefficients_need_a_node_that_is_online(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one the table has its header alone, as the original prints it, and the score is 0."""
    path = tmp_path / "cluster.data"
    path.write_text(GOOD.replace("|M|", "|Y|").replace("|N|", "|Y|"))
    assert run("hinfo", ["-t", str(path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-3:] == [
        "Cluster coefficients:",
        "   Field Value Weight",
        "Cluster score: 0.00000000",
    ]


@QUIET
@given(cut=st.integers(0, 4000), word=st.sampled_from(["null", "-1", "[]", '"x"', "1e99", "{}"]))
@pytest.mark.property
def test_damaged_requests_are_refused_or_read(cut: int, word: str) -> None:
    """A request cut off, or with a value replaced, is read or refused with a DataError."""
    text = (CLUSTERS / "hail-change-group.json").read_text()
    record = json.loads(text)
    keys = sorted(record)
    key = keys[cut % len(keys)]
    damaged = json.dumps({**record, key: json.loads(word)})
    inner = json.dumps(
        {
            **record,
            "nodes": {
                name: {**node, "free_disk": json.loads(word)}
                for name, node in record["nodes"].items()
            },
        }
    )
    for candidate in (text[:cut], damaged, inner):
        with contextlib.suppress(DataError):
            assert parse_request(candidate).cluster.nodes


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ({"type": "guess"}, "Invalid request type 'guess'"),
        ({"type": "relocate", "name": "nobody"}, "Unknown instance 'nobody'"),
        ({"type": "node-evacuate", "instances": ["x"]}, "Wrong number of elems found with name x"),
        ({"type": "allocate", "name": 5}, "key 'name': Unable to read String"),
    ],
)
def test_bad_questions(question: dict[str, object], problem: str) -> None:
    """Questions that make no sense are refused in the original's words."""
    record = json.loads((CLUSTERS / "hail-change-group.json").read_text())
    with pytest.raises(DataError, match=problem):
        parse_request(json.dumps({**record, "request": question}))


def test_malformed_json_is_located() -> None:
    """The message says in which line and column JSON went wrong."""
    with pytest.raises(DataError, match=r"\(line 2, column \d+\)"):
        parse_request('{"a": 1,\n "b" 2}')


def test_a_directory_of_answers_is_read_like_the_remote_api(tmp_path: Path) -> None:
    """`file://` reads the four answers; a missing one and a missing master are named."""
    cluster = load_cluster(f"file://{CLUSTERS}/rapi")
    assert len(cluster.nodes) == 4
    assert sum(node.master for node in cluster.nodes) == 1
    with pytest.raises(DataError, match=r"groups\.json"):
        load_cluster(f"file://{tmp_path}")


def test_contradictory_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sources, unknown instances and unknown nodes are refused."""
    path = tmp_path / "cluster.data"
    path.write_text(GOOD)
    cases = {
        ("-t", str(path), "-m", "host"): "Only one of the rapi, luxi, and data files",
        ("-t", str(path), "--select-instances", "nobody"): 'Unknown instance(s): ["nobody"]',
        ("-t", str(path), "-O", "nowhere"): "wrong node name(s) set as offline: nowhere",
        ("-t", str(path), "-G", "other"): "Aborting.",
    }
    for argv, problem in cases.items():
        assert run("hbal", list(argv)) == 1
        assert problem in capsys.readouterr().err


def test_explanations_schedules_and_plots_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outputs beyond Ganeti's: JSON of an explanation, a drawing, a schedule."""
    why, drawing = tmp_path / "why.json", tmp_path / "load.svg"
    assert run("hail", [f"--explain={why}", str(CLUSTERS / "hail-alloc-nlocation.json")]) == 0
    found = json.loads(why.read_text())
    assert found[0]["chosen"] == ["node3", "node2"]
    assert {one["node"] for one in found[0]["candidates"]} == {"node1", "node2", "node3"}
    capsys.readouterr()
    data = str(CLUSTERS / "hbal-migration-2.data")
    assert run("hbal", ["-t", data, "--schedule", f"--plot={drawing}"]) == 0
    assert "Schedule: 4 moves, about 0:" in capsys.readouterr().out
    assert drawing.read_text().startswith("<svg")


def monitored(tmp_path: Path, loads: dict[str, float]) -> list[str]:
    """Options that give nodes these CPU loads through a file of monitoring reports."""
    data, reports = tmp_path / "cluster.data", tmp_path / "mond.json"
    data.write_text(GOOD)
    answers = [
        {"node": node, "reports": [{"name": "cpu-avg-load", "data": {"cpu_total": load}}]}
        for node, load in loads.items()
    ]
    reports.write_text(json.dumps(answers))
    return ["-t", str(data), "--mond", f"--mond-data={reports}"]


def test_loads_of_monitoring_daemons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All nodes' loads are shared out to instances; if one is missing none is used."""
    options = monitored(tmp_path, {"n1": 4.0, "n2": 1.0})
    assert run("hinfo", [*options, "-pname,cload", "--print-instances"]) == 0
    error = capsys.readouterr().err
    assert " n1   4.000\n n2   1.000\n" in error
    assert "2.000 1.000 1.000 1.000" in error  # half of the two virtual CPUs in use on n1
    options = monitored(tmp_path, {"n1": 4.0})
    assert run("hinfo", [*options, "-pname,cload"]) == 0
    error = capsys.readouterr().err
    assert "Didn't receive an answer by all MonDs" in error
    assert " n1   1.000\n" in error
    assert run("hbal", [*options, "--exit-on-missing-mond-data"]) == 1
    assert "Error: Not all required data available" in capsys.readouterr().err

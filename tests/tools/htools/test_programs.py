"""The programs as functions: bad input ends with a message and a status, never a traceback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.htools.test_text import GOOD
from tools.htools.errors import DataError
from tools.htools.iallocator import parse_request
from tools.htools.json_reader import decode
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


def test_a_named_group_is_held_to_survive_the_loss_of_a_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An instance that could not be made anew forbids new ones, whatever its number is.

    The original overlooks it if its number is how many instances the named group has.
    """
    data, request = tmp_path / "cluster.data", tmp_path / "request.json"
    node = "{0}|4096|0|4096|1000|1000|4|N|{1}|1"
    nodes = [node.format(name, uuid) for name, uuid in (("a", "u"), ("b", "u"), ("c", "v"))]
    instance = "{}|128|10|1|running|Y|{}||{}||1"
    sections = [
        ["here|u|preferred||", "there|v|preferred||"],
        nodes,
        [instance.format("far", "c", "plain"), instance.format("stuck", "a", "file")],
        ["tag"],
        ["|128,1,1,1,1,1|128,1,1,1,1,1;4096,8,900,16,8,12|drbd,plain|4.0|32.0"],
    ]
    sections[4] += [f"{group}{sections[4][0]}" for group in ("here", "there")]
    data.write_text("\n\n".join("\n".join(lines) for lines in sections) + "\n")
    record = json.loads((CLUSTERS / "hail-change-group.json").read_text())
    asked = {
        **next(iter(record["instances"].values())),
        "type": "allocate",
        "name": "new",
        "disk_template": "drbd",
        "required_nodes": 2,
        "group_name": "here",
        "memory": 128,
        "disk_space_total": 10,
        "vcpus": 1,
        "disks": [{"size": 10, "spindles": 1}],
        "nics": [],
        "tags": [],
    }
    request.write_text(json.dumps({**record, "request": asked}))
    assert run("hail", ["-t", str(data), str(request)]) == 0
    assert "FailN1: 2" in capsys.readouterr().out
    assert run("hail", ["-t", str(data), str(request), "--no-capacity-checks"]) == 0
    assert '"success":true' in capsys.readouterr().out


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


class _Api(BaseHTTPRequestHandler):
    """The remote API of the golden cluster; the first part of a path says what is wrong with it."""

    def do_GET(self) -> None:
        flaw, _, name = self.path.partition("/2/")
        if flaw == "/closed":
            self.send_error(401)
            return
        body = (CLUSTERS / "rapi" / f"{name.partition('?')[0]}.json").read_bytes()
        if flaw == "/cut":
            body = body[:-50]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 9 * (flaw == "/short")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    """The address of a remote API on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.acceptance
def test_the_remote_api_is_read_over_http(api: str) -> None:
    """A cluster read by its address is the one that the same answers give as files."""
    assert load_cluster(api) == load_cluster(f"file://{CLUSTERS}/rapi")


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("flaw", "problem"),
    [
        ("/closed", r"Curl error for '.*', error HTTP 401"),
        ("/short", "IncompleteRead"),
        ("/cut", r"Malformed JSON: .*\(line \d+, column \d+\)"),
    ],
)
def test_a_remote_api_that_fails_is_told_of(api: str, flaw: str, problem: str) -> None:
    """A refusal, a broken connection and an answer that was cut are refused with what was wrong."""
    with pytest.raises(DataError, match=problem):
        load_cluster(f"{api}{flaw}")


@pytest.mark.parametrize("address", ["http://a b", "http://[::", "ftp://x", "localhost:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """What cannot be an address is named, without a traceback."""
    with pytest.raises(DataError, match="Curl error for"):
        load_cluster(address)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a":\n NaN}', r"NaN is no number \(line 2, column 2\)"),
        ('{"1e999": 1, "b": 1e999}', r"1e999 is no number \(line 1, column 19\)"),
        ('{"a": ' + "9" * 5000 + "}", r"9{30}\.\.\. is no number \(line 1, column 7\)"),
        ("[" * 100_000, "nested too deeply"),
        ("", r"Invalid JSON: a JSON text a serialized object or array at the top level\.$"),
        ("\n 5", r"serialized object or array at the top level\. \(line 2, column 2\)"),
        (b'{"a":\n"\xe9"}', r"not UTF-8 \(line 2, column 2\)"),
    ],
    ids=["nan", "infinite", "long", "deep", "empty", "number", "bytes"],
)
def test_json_that_is_no_data_is_located(text: str | bytes, problem: str) -> None:
    """Numbers that are none, depth without end and bytes that are no text are refused."""
    with pytest.raises(DataError, match=problem):
        decode(text, "Parsing")


def test_advice_names_what_ends_first_and_what_to_add(capsys: pytest.CaptureFixture[str]) -> None:
    """CPUs end first on such nodes: only more of these brings instances; in keys, too."""
    options = ["--simulate", "p,5,1T,64g,16", "--advice"]
    assert run("hspace", options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "What ends first: CPUs (FailCPU)",
        "  - 10% more cpus on every node (8 in all): +30 instances",
        "  - 10% more memory on every node (32765 MiB in all): +0 instances",
        "  - 10% more disk on every node (476835 MiB in all): +0 instances",
    ]
    assert run("hspace", [*options, "--machine-readable"]) == 0
    assert "HTS_ADVICE_BINDING=FAILCPU" in capsys.readouterr().out


def test_advice_adds_everything_where_nothing_alone_helps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where memory and CPUs end together, 10% more of one brings nothing, of all it does."""
    options = ["--simulate", "p,2,10T,65536,16", "--standard-alloc=1024,1024,1"]
    options += ["--no-capacity-checks", "--advice"]
    assert run("hspace", options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("  - 10% more of all three: +")
    assert not lines[-1].endswith(": +0 instances")


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

"""What the log tells: the past, the reasons, every record as it commits; tags and groups in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import PATIENCE_S, LiveLab
from tools.lab import daemons
from tools.lab.founding import environment

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G"


@pytest.fixture(scope="module", autouse=True)
def _an_instance(lab: LiveLab) -> None:
    lab.ok(f"{ADD} -n node1 web1.example.net")


def test_a_list_of_the_past_is_the_list_of_that_time(lab: LiveLab) -> None:
    """`gnt-log at SEQ` before, between and after: what was there then, settings included."""
    before = lab.head
    lab.ok(f"{ADD} -n node2 past.example.net")
    made = lab.head
    lab.ok("gnt-instance modify -B memory=768 past.example.net")
    lab.ok("gnt-instance remove -f past.example.net")
    gone = lab.head

    def names(seq: int) -> set[str]:
        rows = lab.ok(f"gnt-log at {seq} gnt-instance list --no-headers -o name").split()
        return set(rows)

    assert names(before) == {"web1.example.net"}
    assert names(made) == {"web1.example.net", "past.example.net"}
    assert names(gone) == {"web1.example.net"}
    told = lab.ok(f"gnt-log at {made} gnt-instance list --no-headers -o be/maxmem past.example.net")
    assert told.strip() in ("512", "512M")
    assert "past.example.net" in lab.ok(f"gnt-log at {made} gnt-instance info past.example.net")
    assert names(1) == set()


def test_the_past_cannot_be_changed(lab: LiveLab) -> None:
    """`gnt-log at` refuses whatever is no read."""
    lab.refuses(f"gnt-log at {lab.head} gnt-instance remove -f web1", "does not read",
                hint="list", status=2)  # fmt: skip
    lab.refuses("gnt-log at yesterdayish gnt-instance list", "neither a seq nor a time",
                hint="such as", status=2)  # fmt: skip


def test_why_names_the_record_the_job_and_the_person(lab: LiveLab) -> None:
    """Of one parameter: its value, since which record, by whom, in which job, for which reason."""
    lab.ok("gnt-instance modify -B memory=640 --reason 'more load' web1.example.net")
    lab.ok("gnt-instance modify -B vcpus=2 --reason 'not this' web1.example.net")
    told = lab.ok("gnt-log why instance web1 memory")
    assert "value: 640" in told
    assert "more load" in told
    assert "by: operator:" in told
    seq = int(told.split("since record: ")[1].split()[0])
    (record,) = [s.record for s in lab.records(seq) if s.record.seq == seq]
    assert record.kind == "instance.modified"
    assert f"job: {record.job}" in told


def test_export_is_the_same_each_time_and_verifies(lab: LiveLab, tmp_path: Path) -> None:
    """One JSON line for each record, in order; the auditors' verifier accepts it."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    last = lab.head
    lab.ok(f"gnt-log export --last {last} -o {first}")
    lab.ok(f"gnt-log export --last {last} -o {second}")
    assert first.read_bytes() == second.read_bytes()
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert [line["seq"] for line in lines if "seq" in line] == list(range(1, last + 1))
    auditor = Path(__file__).parents[2] / "tools" / "verify_log.py"
    python = daemons.script("cairn").replace("/cairn", "/python")
    ran = subprocess.run(
        [python, str(auditor), str(first)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let what a test starts hear SIGINT: what a shell starts in the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_tail_follows_across_a_restart_of_the_master(lab: LiveLab) -> None:
    """Every record exactly once and in order, those of the new reign too; one Ctrl-C ends it."""
    begin = lab.head
    tail = subprocess.Popen(
        [daemons.script("gnt-log"), "tail", "-n", "0", "-f", "--format", "json"],
        env=environment(lab.layout), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lab.ok("gnt-instance add-tags web1 before-the-kill")
        lab.kill("master")
        lab.start("master")
        lab.ok("gnt-instance add-tags web1 after-the-kill")
        last = lab.head
        assert tail.stdout is not None
        seen: list[int] = []
        while not seen or seen[-1] < last:
            seen.append(json.loads(tail.stdout.readline())["seq"])
    finally:
        tail.send_signal(signal.SIGINT)
        _, err = tail.communicate(timeout=PATIENCE_S)
    assert tail.returncode == 0, err
    assert "Traceback" not in err
    assert seen == list(range(seen[0], seen[-1] + 1)), "a gap, a repeat, or out of order"
    assert begin < seen[-1]


def test_replay_of_the_log_gives_the_masters_digests(lab: LiveLab) -> None:
    """gnt-log replay: configuration, jobs and changes are the same, and the exit status says so."""
    rows = lab.ok("gnt-log replay --format csv").splitlines()
    assert len(rows) == 4
    assert all(row.endswith((",Y", ",true", ",True")) for row in rows[1:]), rows


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("gnt-cluster", ""), ("gnt-node", "node2"), ("gnt-group", "default"),
        ("gnt-instance", "web1.example.net"),
    ],
)  # fmt: skip
def test_every_kind_of_object_has_tags(lab: LiveLab, tool: str, name: str) -> None:
    """Added, listed, found by search and removed; a wrong one is refused and changes nothing."""
    tag = f"{tool}:a-tag"
    lab.ok(f"{tool} add-tags {name} {tag} other")
    assert {tag, "other"} <= set(lab.ok(f"{tool} list-tags {name}").split())
    assert tag in lab.ok(f"gnt-cluster search-tags ^{tag}$")
    lab.refuses(f"{tool} add-tags {name} 'not a tag'", "not a tag", hint="")
    lab.refuses(f"{tool} add-tags {name} {'x' * 200}", "xxx", hint="")
    lab.refuses(f"{tool} remove-tags {name} never-there", "never-there", hint="")
    lab.ok(f"{tool} remove-tags {name} {tag} other")
    assert tag not in lab.ok(f"{tool} list-tags {name}").split()


def test_groups_are_made_renamed_and_removed(lab: LiveLab) -> None:
    """A second one of a name is refused, one with nodes is kept."""
    lab.ok("gnt-group add second")
    assert {row[0] for row in lab.rows("gnt-group list -o name")} == {"default", "second"}
    lab.refuses("gnt-group add second", "already_exists", hint="")
    lab.ok("gnt-group rename second third")
    lab.refuses("gnt-group remove second", "second", hint="")
    assert lab.refuses("gnt-group remove default", "default", hint="").hint
    lab.ok("gnt-group remove third")
    assert lab.rows("gnt-group list -o name") == [["default"]]


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv"])
@pytest.mark.parametrize("tool", ["gnt-node", "gnt-group", "gnt-instance", "gnt-job"])
def test_every_list_has_four_forms(lab: LiveLab, tool: str, form: str) -> None:
    """table, json, yaml and csv hold the same rows."""
    key = "id" if tool == "gnt-job" else "name"
    told = lab.ok(f"{tool} list -o {key} --format {form}")
    rows = lab.rows(f"{tool} list -o {key}")
    assert rows
    for (cell,) in rows:
        assert cell in told
    if form == "json":
        assert len(json.loads(told)) == len(rows)


def test_no_cluster_is_said_with_exit_status_5(lab: LiveLab, tmp_path: Path) -> None:
    """A command that knows no cluster says how to get one."""
    home = {"CAIRN_CONFIG": str(tmp_path / "none.json"), "HOME": str(tmp_path)}
    ran = lab.run("gnt-instance list", env=home)
    assert ran.status == 5, str(ran)
    assert ran.hint
    assert os.listdir(tmp_path) == []


def test_a_master_that_is_down_is_said(lab: LiveLab) -> None:
    """A read fails with why within its patience; the local log can be read all the same."""
    lab.kill("master")
    try:
        ran = lab.run("gnt-instance list")
        assert ran.status == 1, str(ran)
        assert ran.hint, str(ran)
        assert "sound" in lab.ok("gnt-log verify")
        lab.ok(f"gnt-log tail -n 3 --dir {lab.log}")
    finally:
        lab.start("master")
    lab.ok("gnt-instance list")

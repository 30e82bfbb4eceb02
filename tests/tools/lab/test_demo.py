"""`make demo`, as a process: every line does what it should, in time, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

WITHIN_S = 30.0  # the promise, once the environment is there
SLACK = 4.0  # a machine under test does other things too
LINES = (
    "gnt-cluster init gntcluster1.example.net",
    "gnt-node add node2",
    "gnt-node add node3",
    "gnt-instance add -n node1 -t plain -H memory=1G -s 10G -o debian web1.example.net",
    "gnt-instance add -n node2 -t plain -H memory=1G -s 10G -o debian web2.example.net",
    "gnt-instance add -n node3:node1 -t drbd -H memory=512 -s 20G -o redhat mail.example.net",
    "gnt-instance replace-disks --auto mail.example.net",
    "gnt-node list",
    "gnt-instance list",
    "gnt-instance info mail.example.net",
    "gnt-job list",
    "gnt-log verify",
    "gnt-log replay",
)


@pytest.mark.timeout(200)
def test_the_demo_plays_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0, each promised line in its order, SIGKILL and recovery, no file afterwards."""
    begin = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "tools.lab.demo"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S * SLACK,
    )
    with capsys.disabled():
        print(f"\ndemo: {time.monotonic() - begin:.1f} s")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    played = [line[2:] for line in ran.stdout.splitlines() if line.startswith("$ ")]
    at = 0
    for line in LINES:
        at = played.index(line, at) + 1
    assert "gets SIGKILL. Started again:" in ran.stdout
    assert "was asked for once and ended once" in ran.stdout
    assert "SIMULATED" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(200)
def test_a_failover_is_shown_and_leaves_nothing(tmp_path: Path) -> None:
    """`make failover`: another voter leads, the job goes on, the logs are the same."""
    ran = subprocess.run(
        [sys.executable, "-m", "tools.lab.failover_demo"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"node[23] leads, ", ran.stdout)
    assert "hash for hash" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
@pytest.mark.timeout(120)
def test_a_demo_that_is_stopped_leaves_nothing_either(
    tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    """Ctrl-C, SIGTERM and a terminal that is closed: no file, no process."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.lab.demo"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("$ gnt-node add node2"):
                break
        daemons = with_in_its_words(str(tmp_path))
        demo.send_signal(signum)
        _, said = demo.communicate(timeout=90)
    assert demo.returncode == status
    assert "Traceback" not in said
    assert len(daemons) >= 4, "three agents and a master ran"
    assert not with_in_its_words(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def with_in_its_words(text: str) -> set[int]:
    """Return the processes that have this in their command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in path.read_bytes():
                found.add(int(path.parent.name))
    return found

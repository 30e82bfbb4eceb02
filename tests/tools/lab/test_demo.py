"""`make demo`, as a process: every line does what it should, in time, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
    assert "was asked for 1 time and ended 1 time" in ran.stdout
    assert "SIMULATED" in ran.stdout
    assert list(tmp_path.iterdir()) == []

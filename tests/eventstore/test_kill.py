"""SIGKILL at each point of each commit: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.faults import VARIABLE
from eventstore.replica import Committed, Refused
from eventstore.storage.verify import verify
from tests.eventstore.storage_lab import Lab, batch

pytestmark = pytest.mark.acceptance

FIRST = 4  # seq of the first record that the child proposes: created, started, started again
COUNT = 3  # batches of two records


def run_child(directory: Path, count: int, fault: str = "") -> tuple[int, list[int], str]:
    """Return the exit status, the seqs that were acknowledged, and the last line printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.eventstore.storage_child", str(directory), str(count)],
        env={**os.environ, VARIABLE: fault},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    acked = [int(line.split()[1]) for line in lines if line.startswith("acked")]
    return done.returncode, acked, lines[-1] if lines else done.stderr


@pytest.mark.parametrize("when", ["before", "unmarked", "after"])
@pytest.mark.parametrize("seq", range(FIRST - 1, FIRST + 2 * COUNT))
@pytest.mark.parametrize("pipelined", [False, True])
def test_a_kill_at_any_record_loses_nothing_acknowledged(
    tmp_path: Path, when: str, seq: int, pipelined: bool
) -> None:
    """The log then ends exactly where the fault says, whole, and goes on."""
    lab = Lab(tmp_path / "log")
    count = -COUNT if pipelined else COUNT
    status, acked, _ = run_child(lab.directory, count, f"kill:{when}:{seq}")
    assert status == -signal.SIGKILL
    report = verify(lab.directory)
    assert report.ok, report.findings
    assert all(last <= report.head for last in acked)
    first, last = seq, seq  # of what is made durable together with it
    if seq >= FIRST and pipelined:
        first, last = FIRST, FIRST + 2 * COUNT - 1
    elif seq >= FIRST:
        first = seq - (seq - FIRST) % 2
        last = first + 1
    assert report.head == (first - 1 if when == "before" else last)
    assert all(told < first for told in acked), "nobody is told before the kill"
    replica = lab.open(verify_whole=True)
    outcomes = lab.ask(replica, *[batch("a", "b", key=f"k{n}", what=n) for n in range(COUNT)])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert replica.version("a") == replica.version("b") == COUNT, "each request took effect once"
    replica.close()


def test_an_unset_fault_does_nothing(tmp_path: Path) -> None:
    """Without the variable the child runs to its end."""
    lab = Lab(tmp_path / "log")
    status, acked, _ = run_child(lab.directory, COUNT)
    assert (status, acked) == (0, [FIRST + 1, FIRST + 3, FIRST + 5])


def test_the_disk_can_be_full_from_a_record_on(tmp_path: Path) -> None:
    """full:after:SEQ gives Refused("disk-full") for what comes later, and loses nothing."""
    lab = Lab(tmp_path / "log")
    status, acked, last = run_child(lab.directory, COUNT, f"full:after:{FIRST + 1}")
    assert (status, acked) == (0, [FIRST + 1])
    assert "disk-full" in last
    replica = lab.open(verify_whole=True)
    assert replica.version("a") == 1
    replica.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs takes root")
def test_a_real_full_disk_is_a_state_and_not_a_crash(tmp_path: Path) -> None:
    """On a small file system: refused, still readable, and on when there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("this container may not mount; test_persister covers it through a VFS")
    try:
        lab = Lab(small / "log")
        replica = lab.open()
        fat = small / "fat"
        fat.write_bytes(bytes(6 << 20))
        outcomes = [lab.ask(replica, batch("a", text="x" * 60_000))[0] for _ in range(40)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        assert refused
        assert {outcome.code for outcome in refused} == {"disk-full"}
        kept = replica.version("a")
        assert replica.read(1, replica.committed)[-1].record.version == kept
        fat.unlink()
        lab.wait_for_room(replica)
        (after,) = lab.ask(replica, batch("a", text="x" * 60_000, expected={"a": kept}))
        assert isinstance(after, Committed)
        replica.close()
        again = lab.open(verify_whole=True)
        assert again.version("a") == kept + 1
        again.close()
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)

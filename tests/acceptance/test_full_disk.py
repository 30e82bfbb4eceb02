"""A full disk under a running master: reading goes on, orders are refused, room mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import CLUSTER, LiveLab
from tests.replaycheck import check_replay
from tools.lab.founding import found_cluster

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G -n node1"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a few MiB, gone when the module is through."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    where = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def lab_on(disk: Path, elsewhere: Path) -> LiveLab:
    """Return a lab of one node whose master's files alone are on that disk."""
    lab = LiveLab(elsewhere / "lab")
    lab.up(nodes=1, cluster="")
    place = disk / "master"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    lab.layout.master.symlink_to(place)
    found_cluster(lab.layout, CLUSTER)
    return lab


def fill(directory: Path) -> Path:
    """Leave no room at all; return the file to remove."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            return filler


def works_within(lab: LiveLab, line: str, *, tries: int = 20) -> None:
    """Give an order until it is taken: a voter looks at a full disk again about each second."""
    ran = lab.run(line)
    while ran.status and tries:
        assert "no room" in ran.err, str(ran)
        tries -= 1
        ran = lab.run(line)
    assert ran.status == 0, str(ran)


def reads_go_on(lab: LiveLab) -> None:
    """Assert that the state, a job and the log itself can still be read."""
    assert "web1.example.net" in lab.ok("gnt-instance list")
    assert "web1.example.net" in lab.ok("gnt-instance info web1")
    lab.ok("gnt-job list")
    assert "sound" in lab.ok("gnt-log verify")


def test_a_disk_without_room_refuses_orders_until_there_is_some(
    small_disk: Path, tmp_path: Path
) -> None:
    """Not a word is lost: what was refused is not in the log, what was answered is."""
    lab = lab_on(small_disk, tmp_path)
    try:
        lab.ok(f"{ADD} web1.example.net")
        pid = lab.pid("master")
        filler = fill(small_disk)
        ran = lab.run("gnt-instance add-tags web1 too-much")
        refused = 0
        while ran.status == 0 and refused < 500:  # SQLite's own file may hold a little more
            refused += 1
            ran = lab.run(f"gnt-instance add-tags web1 {'x' * 100}-{refused}")
        assert ran.status == 1, "the disk was never full"
        assert "no room" in ran.err
        assert "free some space" in ran.hint
        head = lab.head
        reads_go_on(lab)
        assert lab.run("gnt-instance shutdown web1").status == 1
        assert lab.head == head, "what was refused stands in the log"
        assert lab.pid("master") == pid, "the daemon went down"
        filler.unlink()
        works_within(lab, "gnt-instance add-tags web1 room-again")
        assert "room-again" in lab.ok("gnt-instance list-tags web1").split()
        assert "too-much" not in lab.ok("gnt-instance list-tags web1").split()
        assert lab.pid("master") == pid
        check_replay(lab.log)
    finally:
        lab.down()


def test_a_job_that_runs_when_the_disk_fills_up_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    """The order was accepted, so it is neither lost nor failed: it waits for room, and ends."""
    lab = lab_on(small_disk, tmp_path)
    try:
        begin = lab.head
        lab.order("node1", "slow", seconds=1.0)
        client = lab.command(*f"{ADD} web1.example.net".split())
        lab.wait_for_kind("task.requested", after=begin)
        filler = fill(small_disk)
        assert client.poll() is None, "the job was through before the disk was full"
        lab.ok("gnt-node list")
        filler.unlink()
        lab.order("node1", "clear")
        output, _ = client.communicate(timeout=60)
        assert client.returncode == 0, output
        assert "web1.example.net" in lab.ok("gnt-instance list")
        check_replay(lab.log)
    finally:
        lab.down()


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_disk_that_is_full_at_a_record_of_a_job_loses_nothing(tmp_path: Path, after: int) -> None:
    """From that record on nothing is appended; with a new start and room, the job goes on."""
    lab = LiveLab(tmp_path / "lab")
    try:
        lab.up(nodes=1)
        lab.kill("master")
        first = lab.head + 4  # the start of a new reign takes a few
        lab.start_master(fault=f"full:after:{first + after}")
        client = lab.command(*f"{ADD} web1.example.net".split())
        lab.ok("gnt-node list")
        refused = lab.run("gnt-cluster add-tags late")
        told = refused.err if refused.status else ""
        lab.kill("master")
        lab.start_master()
        output, _ = client.communicate(timeout=90)
        if client.returncode:
            assert "no room" in output, output
            assert "hint: free some space" in output
            assert lab.ok("gnt-instance list --no-headers") == ""
        else:
            assert "web1.example.net" in lab.ok("gnt-instance list")
        assert not told or ("no room" in told and "free some space" in refused.hint)
        check_replay(lab.log)
    finally:
        lab.down()

"""A log that is damaged, foreign, gone or in use: the master daemon does not start on it.

Each case is a copy of the directory of a master that has ended. The daemon and `gnt-log verify`
are run on it as they are on a node; neither may change a byte of the log.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab
from tests.replaycheck import check_replay
from tools.lab import daemons

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G -n node1"
AUDITOR = Path(__file__).parents[2] / "tools" / "verify_log.py"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A lab whose master has ended, with two instances in its log."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("damaged")) / "lab")
    try:
        lab.up()
        lab.ok(f"{ADD} web1.example.net")
        lab.ok(f"{ADD} web2.example.net")
        lab.kill("master", signal.SIGTERM)  # the WAL goes into the main file
        yield lab
    finally:
        lab.down()


@pytest.fixture
def copy(ended: LiveLab, tmp_path: Path) -> Path:
    """A copy of the master's directory."""
    return Path(shutil.copytree(ended.layout.master, tmp_path / "master"))


def log_of(master: Path) -> Path:
    return master / "log" / "log.sqlite"


def content(master: Path) -> dict[str, str]:
    """Return the hash of each file that matters."""
    files = [log_of(master), master / "log" / "ack-mark", master / "master.json"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists()}


def run_master(master: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [daemons.script("cairn-master"), "--dir", str(master)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def will_not_start(master: Path, *says: str) -> None:
    """Assert that the daemon ends with status 1, these words and a hint, and changes nothing."""
    before = content(master)
    ran = run_master(master)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    for words in says:
        assert words in ran.stderr
    told, *hint = ran.stderr.strip().splitlines()[-2:]
    assert told.startswith("cairn-master: ")
    assert hint, f"no hint: {told}"
    assert hint[0].startswith("  ")
    assert content(master) == before


def verify(lab: LiveLab, master: Path) -> str:
    """Return what `gnt-log verify` says, which must be that the log is not sound."""
    before = content(master)
    ran = lab.run(f"gnt-log verify --dir {master / 'log'}", env={"CAIRN_CONFIG": "/nonexistent"})
    assert ran.status == 1, str(ran)
    assert content(master) == before
    return ran.out + ran.err


def audit(master: Path) -> subprocess.CompletedProcess[str]:
    """Run the verifier that shares no code with us."""
    return subprocess.run(
        [sys.executable, str(AUDITOR), str(log_of(master))],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def cut(master: Path, count: int) -> int:
    """Take the last records out of the log, as a lost WAL would; return the new head."""
    db = sqlite3.connect(log_of(master))
    with db:
        (head,) = db.execute("SELECT max(seq) FROM log").fetchone()
        db.execute("DELETE FROM log WHERE seq > ?", (head - count,))
    db.close()
    return int(head) - count


def test_the_copy_is_sound(ended: LiveLab, copy: Path) -> None:
    """Without damage, verify and the auditors' verifier find nothing."""
    ran = ended.run(f"gnt-log verify --dir {copy / 'log'}")
    assert ran.status == 0, str(ran)
    assert "sound" in ran.out
    assert audit(copy).returncode == 0
    check_replay(copy / "log")


@pytest.mark.parametrize("size", [100, 5000, 40_000])
def test_a_truncated_log_is_refused(ended: LiveLab, copy: Path, size: int) -> None:
    """A file that is shorter than it says is not opened for writing."""
    log = log_of(copy)
    assert log.stat().st_size > size
    with log.open("r+b") as file:
        file.truncate(size)
    will_not_start(copy, "damaged", str(log))
    assert "damaged" in verify(ended, copy)
    assert audit(copy).returncode in (1, 2)


def test_an_empty_file_is_refused(ended: LiveLab, copy: Path) -> None:
    """A log of no bytes is no log, and is not filled anew."""
    log_of(copy).write_bytes(b"")
    will_not_start(copy, "no Cairn log")
    assert "no Cairn log" in verify(ended, copy)


def test_a_flipped_bit_is_found_at_its_record(ended: LiveLab, copy: Path) -> None:
    """One bit in one record: the daemon, verify and the auditors' verifier name the same record."""
    log = bytearray(log_of(copy).read_bytes())
    at = log.index(b"web1.example.net")
    log[at] ^= 1
    log_of(copy).write_bytes(log)
    will_not_start(copy, "its bytes do not belong to its hash")
    told = verify(ended, copy)
    (found,) = [line for line in told.splitlines() if line.startswith("record ")]
    seq = found.split(":")[0]
    assert found.count(seq) == 1, "it names the record once"
    assert seq in run_master(copy).stderr
    ran = audit(copy)
    assert ran.returncode == 1
    assert f"first bad seq {seq.removeprefix('record ')}" in ran.stdout


def test_a_missing_record_is_found(ended: LiveLab, copy: Path) -> None:
    """A record taken out of the middle leaves a hole that is named."""
    db = sqlite3.connect(log_of(copy))
    with db:
        db.execute("DELETE FROM log WHERE seq = 50")
    db.close()
    will_not_start(copy, "record 50", "missing")
    assert "record 50: it is missing" in verify(ended, copy)
    assert "first bad seq 50" in audit(copy).stdout


def test_a_file_that_is_no_database_is_refused(ended: LiveLab, copy: Path) -> None:
    """Text in the place of the log is named as such."""
    log_of(copy).write_text("this is a shopping list\n" * 50)
    will_not_start(copy, "is not a log")
    assert "is not a log" in verify(ended, copy)


def test_another_programs_database_is_refused(ended: LiveLab, copy: Path) -> None:
    """A SQLite file that is not ours is left alone."""
    log_of(copy).unlink()
    db = sqlite3.connect(log_of(copy))
    with db:
        db.execute("CREATE TABLE recipes(name TEXT)")
    db.close()
    will_not_start(copy, "no Cairn log")
    assert "no Cairn log" in verify(ended, copy)


def test_the_log_of_another_cluster_is_refused(ended: LiveLab, copy: Path, tmp_path: Path) -> None:
    """A sound log in the wrong place is of another cluster, and its mark another storage's."""
    other = LiveLab(tmp_path / "other")
    try:
        other.up(nodes=1, cluster="other.example.net")
        other.kill("master")
        shutil.copy(log_of(other.layout.master), log_of(copy))
    finally:
        other.down()
    will_not_start(copy, "is the log of cluster", "this is cluster")
    assert "another storage" in verify(ended, copy)


def test_a_log_that_is_gone_is_not_begun_anew(ended: LiveLab, copy: Path) -> None:
    """The daemon and gnt-cluster init both say how much was acknowledged, and touch nothing."""
    log_of(copy).unlink()
    will_not_start(copy, "is gone", "were acknowledged")
    aside = log_of(ended.layout.master).rename(copy / "aside")
    try:
        with_mark = content(ended.layout.master)
        ran = ended.run("gnt-cluster init again.example.net")
        assert ran.status == 1, str(ran)
        assert "were acknowledged" in ran.err
        assert ran.hint
        assert content(ended.layout.master) == with_mark
    finally:
        aside.rename(log_of(ended.layout.master))


def test_a_log_that_is_open_is_not_opened_twice(ended: LiveLab) -> None:
    """A second daemon names the process that has it, and the first one goes on."""
    ended.start("master")
    try:
        before = ended.pid("master")
        ran = run_master(ended.layout.master)
        assert ran.returncode == 1
        assert f"is open for writing by process {before}" in ran.stderr
        assert f"stop process {before} first" in ran.stderr
        ended.ok("gnt-instance add-tags web1 still-here")
        assert ended.run("gnt-log verify").status == 0, "reading needs no lock"
        assert ended.pid("master") == before
    finally:
        ended.kill("master")


def test_a_cut_log_starts_again_only_by_an_operators_word(ended: LiveLab, copy: Path) -> None:
    """accept-loss shows what would go, wants --yes-do-it and a reason, and records the loss."""
    head = cut(copy, 6)
    will_not_start(copy, f"the log ends at {head}", "were acknowledged", "gnt-log accept-loss")
    assert f"the log ends at {head}" in verify(ended, copy)
    accept = f"gnt-log accept-loss --dir {copy / 'log'}"
    without = {"CAIRN_CONFIG": "/nonexistent"}  # the log's own files are enough
    before = content(copy)
    first = ended.run(accept, env=without)
    assert (first.status, "nothing was done" in first.err) == (13, True), str(first)
    assert ended.run(f"{accept} --yes-do-it", env=without).status == 2, "a reason is wanted"
    assert content(copy) == before
    done = ended.run(f"{accept} --yes-do-it --reason 'the disk was swapped'", env=without)
    assert done.status == 0, str(done)
    assert ended.run(f"gnt-log verify --dir {copy / 'log'}").status == 0
    tail = ended.ok(f"gnt-log tail -n 1 --dir {copy / 'log'}")
    assert "log.loss-accepted" in tail
    assert "the disk was swapped" in tail
    assert list((copy / "log").glob("log.sqlite.damaged-*")), "the damaged file is kept"
    again = ended.run(f"{accept} --yes-do-it --reason twice", env=without)
    assert (again.status, "nothing is lost" in again.err) == (1, True), str(again)
    check_replay(copy / "log")


def test_a_master_goes_on_with_agents_after_an_accepted_loss(
    ended: LiveLab, tmp_path: Path
) -> None:
    """The cluster works again with what is left; verify names what the nodes have beyond it."""
    master = ended.layout.master
    shutil.copytree(master, tmp_path / "kept")
    head = cut(master, 8)
    ended.ok(f"gnt-log accept-loss --dir {master / 'log'} --yes-do-it --reason test")
    ended.start("master")
    try:
        assert ended.head > head
        ended.ok("gnt-node list")
        ended.ok("gnt-instance add-tags web1 after-the-loss")
        assert ended.ok("gnt-instance list-tags web1").split()[0] == "after-the-loss"
    finally:
        ended.kill("master")
    check_replay(ended.log)

"""`cairn lab` as it is typed: up in seconds, broken on order, gone without a trace."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live_lab import LiveLab, Ran
from tests.replaycheck import check_replay
from tools.lab import running, wires
from tools.lab.layout import LabLayout, Wires

pytestmark = pytest.mark.acceptance

READY_S = 3.0  # the promise, for 3 nodes
MANY_READY_S = 30.0  # for 50
SLACK = 4.0  # a machine under test does other things too
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
LISTENS = "0A"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LiveLab]:
    """A place for a lab; nothing is there yet."""
    lab = LiveLab(tmp_path / "lab")
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Three nodes, a cluster, and a mirrored instance on node2 and node3."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("shared")) / "lab")
    try:
        lab.up()
        lab.ok("gnt-instance add -t drbd -o debian -B memory=512 -s 1G -n node2:node3 web1")
        yield lab
        lab.stop()
        check_replay(lab.log)
    finally:
        lab.down()


def cairn(lab: LiveLab, words: str) -> Ran:
    """Run `cairn lab WORDS` on this lab."""
    return lab.run(f"cairn lab {words} --dir {shlex.quote(str(lab.layout.directory))}")


def done(lab: LiveLab, words: str) -> str:
    ran = cairn(lab, words)
    assert ran.status == 0, str(ran)
    return ran.out


def pids_of(directory: Path) -> list[int]:
    """Return every process that has this directory, or one below it, among its arguments."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            any(os.fsencode(directory) in each for each in arguments)
            and int(place.name) != os.getpid()
        ):
            found.append(int(place.name))
    return found


def listening(pid: int) -> list[str]:
    """Return the addresses (hex, as in /proc/net) on which a process listens by TCP or UDP."""
    sockets = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(handle)
        except OSError:
            continue
        if matched := re.fullmatch(r"socket:\[(\d+)\]", target):
            sockets.add(matched[1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in sockets and (table.startswith("udp") or words[3] == LISTENS):
                found.append(words[1].split(":")[0])
    return found


@pytest.mark.parametrize(("nodes", "within_s"), [(3, READY_S), (50, MANY_READY_S)])
@pytest.mark.timeout(300)
def test_a_lab_is_ready_in_seconds(
    lab: LiveLab, nodes: int, within_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three nodes in 3 s, fifty in 30; the figures are printed, the bound is generous."""
    begin = time.monotonic()
    done(lab, f"up --nodes {nodes}")
    up_s = time.monotonic() - begin
    done(lab, "status")
    begin = time.monotonic()
    done(lab, "down")
    with capsys.disabled():
        print(f"\nlab of {nodes}: up {up_s:.2f} s, down {time.monotonic() - begin:.2f} s")
    assert up_s < within_s * SLACK


def test_nothing_is_left_after_down(lab: LiveLab) -> None:
    """No process and no file, whatever state its daemons were in."""
    done(lab, "up --cluster down.example.net")
    directory = lab.layout.directory
    assert len(pids_of(directory)) == 4
    done(lab, "kill node2")
    done(lab, "kill node3 --signal STOP")
    done(lab, "down")
    assert pids_of(directory) == []
    assert list(directory.parent.iterdir()) == []


def test_a_lab_listens_on_the_loopback_only(shared: LiveLab) -> None:
    """The master has four ports (requests, publications, links, segments), an agent none."""
    for daemon, pid in running.pids(shared.layout).items():
        assert pid is not None
        addresses = listening(pid)
        assert len(addresses) == (4 if daemon == "master" else 0), daemon
        assert set(addresses) <= set(LOOPBACK), daemon


def test_everything_is_below_one_directory(shared: LiveLab) -> None:
    """No daemon has a file open for writing elsewhere."""
    for pid in running.pids(shared.layout).values():
        for handle in Path(f"/proc/{pid}/fdinfo").iterdir():
            flags = int(re.search(r"flags:\s+(\d+)", handle.read_text())[1], 8)  # type: ignore[index]  # procfs
            target = os.readlink(f"/proc/{pid}/fd/{handle.name}")
            if flags & os.O_ACCMODE != os.O_RDONLY and target.startswith("/"):
                inside = target.startswith(str(shared.layout.directory))
                assert inside or target.startswith("/dev/"), target


def test_env_makes_every_command_talk_to_the_lab(shared: LiveLab) -> None:
    """`eval "$(cairn lab env)"` in a bare shell, then a command by its bare name."""
    exports = done(shared, "env")
    script = f"{exports}\ngnt-instance list --no-headers -o name\ncairn lab status"
    ran = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "web1"
    assert "master" in ran.stdout


@pytest.mark.parametrize("name", ["with spaces and 'quotes'", "x" * 200])
def test_a_lab_may_be_in_any_directory(tmp_path: Path, name: str) -> None:
    """Spaces, quotes and a path longer than a socket's are no matter."""
    lab = LiveLab(tmp_path / name / "lab")
    try:
        done(lab, "up --nodes 2 --cluster odd.example.net")
        lab.ok("gnt-instance add -t drbd -o debian -B memory=512 -s 1G -n node1:node2 web1")
        done(lab, "break disk web1 node2")
        ran = subprocess.run(
            ["bash", "-c", f"{done(lab, 'env')}\ngnt-instance list --no-headers -o name"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ran.stdout == "web1\n", ran.stderr
        done(lab, "down")
        assert pids_of(lab.layout.directory) == []
    finally:
        lab.down()


def test_two_labs_do_not_meet(shared: LiveLab, lab: LiveLab) -> None:
    """Side by side, each has its own cluster, and the end of one does not touch the other."""
    done(lab, "up --nodes 1 --cluster second.example.net")
    assert "second.example.net" in lab.ok("gnt-cluster info")
    assert "cluster.example.net" in shared.ok("gnt-cluster info")
    assert lab.rows("gnt-instance list -o name") == []
    before = running.pids(shared.layout)
    done(lab, "down")
    assert running.pids(shared.layout) == before
    shared.ok("gnt-node list")


def test_kill_and_start_are_seen_in_status(shared: LiveLab) -> None:
    """A node and the master: down, then running under another pid."""
    for daemon in ("node1", "master"):
        before = shared.pid(daemon)
        assert f"pid {before}" in done(shared, "status")
        done(shared, f"kill {daemon}")
        assert re.search(rf"{daemon}\s+down", done(shared, "status"))
        ran = cairn(shared, f"kill {daemon}")
        assert (ran.status, f"cairn lab start {daemon}" in ran.err) == (1, True), str(ran)
        done(shared, f"start {daemon}")
        assert shared.pid(daemon) not in (None, before)
        ran = cairn(shared, f"start {daemon}")
        assert (ran.status, "runs already" in ran.err) == (1, True), str(ran)
    shared.ok("gnt-node list")


def test_signals_by_name_reach_a_daemon(shared: LiveLab) -> None:
    """TERM ends it in peace; STOP and CONT keep its pid; what is no signal is refused."""
    before = shared.pid("node1")
    done(shared, "kill node1 --signal STOP")
    done(shared, "kill node1 --signal SIGCONT")
    assert shared.pid("node1") == before
    ran = cairn(shared, "kill node1 --signal NONSENSE")
    assert (ran.status, "no signal 'NONSENSE'" in ran.err) == (1, True), str(ran)
    done(shared, "kill node1 --signal TERM")
    assert shared.pid("node1") is None
    done(shared, "start node1")


def test_a_broken_disk_is_seen_by_the_cluster_and_repaired(shared: LiveLab) -> None:
    """`break disk` makes it degraded, replace-disks --auto mends it."""
    begin = shared.head
    done(shared, "break disk web1/0 node3")
    shared.wait_for_kind("instance.disk-state-seen", after=begin)
    shared.ok("gnt-instance replace-disks --auto web1")
    shared.ok("gnt-cluster verify")


def test_a_call_that_the_lab_fails_fails_once(shared: LiveLab) -> None:
    """`fail NODE CALL`: the next such call on that node fails, the one after does not."""
    done(shared, "fail node2 ensure-stopped")
    ran = shared.run("gnt-instance shutdown web1")
    assert ran.status == 1, str(ran)
    assert "the lab wanted it" in ran.err
    shared.ok("gnt-instance shutdown web1")
    shared.ok("gnt-instance startup web1")


def test_a_slow_node_takes_its_time(shared: LiveLab) -> None:
    """`slow NODE SECONDS`: each call lasts longer by that, until it is set to 0."""
    done(shared, "slow node2 1")
    begin = time.monotonic()
    shared.ok("gnt-instance reboot web1")
    assert time.monotonic() - begin >= 1
    done(shared, "slow node2 0")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("kill node9", "no node9 in this lab"),
        ("start node9", "no node9 in this lab"),
        ("break disk nobody node1", "nobody"),
        ("break disk web1/7 node2", "web1 has 1 disks"),
        ("break disk web1 node1", "no volume here"),
        ("break disk web1 node9", "no node9 in this lab"),
        ("fail node1 no-such-call", "no call 'no-such-call'"),
        ("slow node9 1", "no node9 in this lab"),
        ("up", "there is a lab in"),
    ],
)
def test_what_the_lab_cannot_do_is_said_in_one_line(shared: LiveLab, words: str, says: str) -> None:
    """Exit status 1, never a traceback, and nothing happens."""
    with shared.unchanged():
        ran = cairn(shared, words)
    assert (ran.status, says in ran.err) == (1, True), str(ran)


@pytest.mark.parametrize("words", ["status", "env", "down", "kill node1", "start master"])
def test_where_there_is_no_lab_it_is_said(lab: LiveLab, words: str) -> None:
    """With the line that makes one."""
    ran = cairn(lab, words)
    assert (ran.status, "cairn lab up --dir" in ran.err) == (1, True), str(ran)


def test_a_directory_with_something_else_in_it_is_left_alone(lab: LiveLab) -> None:
    """Neither up nor down removes what is not a lab's."""
    lab.layout.directory.mkdir()
    (lab.layout.directory / "thesis.txt").write_text("mine")
    for words in ("up", "down"):
        assert cairn(lab, words).status == 1
    assert (lab.layout.directory / "thesis.txt").read_text() == "mine"


def test_a_pid_of_a_stranger_is_not_taken_for_a_daemon(lab: LiveLab) -> None:
    """After a crash the pid may be another's: it is neither shown as running nor killed."""
    done(lab, "up --nodes 1")
    done(lab, "kill node1")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        layout: LabLayout = lab.layout
        layout.pid_file("node1").write_text(f"{stranger.pid}\n")
        assert re.search(r"node1\s+down", done(lab, "status"))
        done(lab, "down")
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGKILL)
        stranger.wait()


def test_a_wire_is_cut_only_where_there_is_one(shared: LiveLab) -> None:
    """On the loopback nothing can be cut, and it is said how a lab gets networks."""
    for words in ("cut node1 node2", "heal"):
        ran = cairn(shared, words)
        assert ran.status == 1
        assert "--apart" in ran.err


@pytest.mark.skipif(bool(wires.why_not()), reason=wires.why_not())
def test_a_cut_loses_what_is_sent_one_way(lab: LiveLab) -> None:
    """And that alone: what the other sends arrives; healed, all arrives; down, nothing is left."""
    done(lab, "up --nodes 2 --apart")
    laid = lab.layout.load().wires
    assert laid is not None
    assert arrives(laid, "node1", "node2")
    done(lab, "cut node1 node2")
    assert not arrives(laid, "node1", "node2")
    assert arrives(laid, "node2", "node1")
    done(lab, "heal")
    assert arrives(laid, "node1", "node2")
    assert "no node9" in cairn(lab, "cut node1 node9").err
    lab.down()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert laid.tag not in links + spaces


def arrives(laid: Wires, sender: str, receiver: str) -> bool:
    """Whether a datagram gets from one node to another."""
    python = sys.executable
    hear = (
        "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7));"
        " s.settimeout(0.5); print('listens', flush=True); s.recv(9); print('heard')"
    )
    there = (laid.address(receiver), 7)
    say = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {there!r})"
    with subprocess.Popen(
        laid.inside(receiver, [python, "-c", hear]),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as hearing:  # fmt: skip
        assert hearing.stdout is not None
        hearing.stdout.readline()
        subprocess.run(laid.inside(sender, [python, "-c", say]), check=True)
        return hearing.stdout.read() == "heard\n"

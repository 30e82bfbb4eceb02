"""A subscriber in C, written from docs/wire-protocol.md alone, follows labs whose masters die.

Needs gcc and the Debian package libzmq3-dev; without them it is skipped.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eventstore.access.keys import CurveKeys, load_curve_keys, new_curve_keys
from eventstore.clients.client import Voter
from eventstore.storage.log_view import LogView
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import Voters
from tools.lab.layout import MASTER

pytestmark = pytest.mark.acceptance

SOURCES = Path(__file__).parent / "foreign"
PATIENCE_S = 60.0
KEY_REFUSED = 3


class Line(NamedTuple):
    """What the subscriber printed: a word, and the rest."""

    word: str
    rest: tuple[str, ...]


class Subscriber:
    """The program, running; every line that it printed."""

    def __init__(self, program: Path, keys: CurveKeys, *voters: Voter) -> None:
        places = [
            text
            for voter in voters
            for text in (
                voter.name,
                voter.requests_endpoint,
                voter.publish_endpoint,
                voter.curve_key,
            )
        ]
        self.process = subprocess.Popen(
            [program, keys.public, keys.secret, *places], stdout=subprocess.PIPE, text=True
        )
        self.lines: list[Line] = []
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, word: str, first: str = "") -> Line:
        """Return the next line with this word, and this text behind it if that matters."""
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            try:
                text = self._coming.get(timeout=left)
            except queue.Empty:
                break
            assert text is not None, f"it ended: {self.lines[-5:]}"
            line = Line(text.split()[0], tuple(text.split()[1:]))
            self.lines.append(line)
            if line.word == word and (not first or line.rest[0] == first):
                return line
        raise AssertionError(f"no {word} {first} within {PATIENCE_S} s: {self.lines[-5:]}")

    @property
    def records(self) -> list[tuple[int, str, str]]:
        """Seq, hash and kind of each record it took, in order."""
        return [
            (int(line.rest[0]), line.rest[1], line.rest[2])
            for line in self.lines
            if line.word == "record"
        ]

    def count(self, word: str) -> int:
        """Return how many such lines it printed."""
        return sum(line.word == word for line in self.lines)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._coming.put(text)
        self._coming.put(None)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The subscriber, compiled."""
    compiler = shutil.which("gcc")
    if compiler is None or not Path("/usr/include/zmq.h").exists():
        pytest.skip("gcc or libzmq3-dev is not installed")
    built = tmp_path_factory.mktemp("foreign") / "subscriber"
    flags = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-O2"]
    subprocess.run(
        [compiler, *flags, "-o", built, SOURCES / "subscriber.c", "-lzmq"],
        check=True,
        timeout=PATIENCE_S,
    )
    return built


@pytest.fixture
def subscriber(program: Path, lab: LiveLab) -> Iterator[Subscriber]:
    """The program as it follows the lab from its first record on."""
    running = Subscriber(program, load_curve_keys(lab.layout.operator_key), *lab.session().voters)
    yield running
    running.close()


def add_and_remove(lab: LiveLab, name: str) -> None:
    """Make a few dozen records."""
    lab.ok(f"gnt-instance add -t plain -o debian -n node1 -s 1G {name}")
    lab.ok(f"gnt-instance remove -f {name}")


def test_a_subscriber_in_c_follows_a_lab_whose_master_is_killed(
    lab: LiveLab, subscriber: Subscriber
) -> None:
    """It takes what was there, what is published, and what it missed while the master was dead:
    each record once, in order, with the hash that the log has."""
    subscriber.until("record", str(lab.head))
    add_and_remove(lab, "before.example.net")
    subscriber.until("record", str(lab.head))
    lab.kill(MASTER)
    lab.start_master()
    lab.ok("gnt-cluster info")
    add_and_remove(lab, "after.example.net")
    subscriber.until("record", str(lab.head))
    wanted = [(s.record.seq, s.hash.hex(), s.record.kind) for s in lab.records()]
    assert subscriber.records == wanted[: len(subscriber.records)]
    assert len(subscriber.records) > 50
    assert subscriber.count("listen") >= 1
    assert subscriber.count("fetch") < len(subscriber.records) / 2, "most were published"


def test_a_subscriber_in_c_goes_on_to_another_voter(program: Path, lab: LiveLab) -> None:
    """Of two addresses the first answers nobody: after a silence it listens to the second."""
    (voter, *_) = lab.session().voters
    nobody = Voter(
        name="nobody",
        requests_endpoint="tcp://127.0.0.1:9",
        publish_endpoint="tcp://127.0.0.1:9",
        curve_key=voter.curve_key,
    )
    running = Subscriber(program, load_curve_keys(lab.layout.operator_key), nobody, voter)
    try:
        assert running.until("listen").rest == ("nobody",)
        assert running.until("listen").rest == (voter.name,)
        running.until("record", str(lab.head))
        assert [seq for seq, _, _ in running.records] == list(range(1, running.records[-1][0] + 1))
    finally:
        running.close()


def test_a_key_that_nobody_admitted_is_refused_in_c_too(program: Path, lab: LiveLab) -> None:
    """It says so and ends, instead of waiting for ever."""
    running = Subscriber(program, new_curve_keys(), *lab.session().voters)
    try:
        assert " ".join(running.until("trouble").rest) == "this key is refused"
        assert running.process.wait(timeout=PATIENCE_S) == KEY_REFUSED
        assert not running.records
    finally:
        running.close()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """A cluster of three nodes that all vote."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("three")) / "lab")
    try:
        lab.up(voters=3)
        yield lab
    finally:
        lab.down()


def test_a_subscriber_in_c_goes_through_a_failover_and_a_takeover(
    program: Path, three: LiveLab
) -> None:
    """It goes over to the next leader; it says that an operator began a new generation, compares
    its last record again, and goes on: each record once, in order, as the survivor has them."""
    voters = Voters(three)
    known = {voter.name: voter for voter in three.session().voters}
    leader = voters.leader()
    addresses = [known[leader], *(known[node] for node in voters.followers())]
    running = Subscriber(program, load_curve_keys(three.layout.operator_key), *addresses)
    try:
        assert running.until("listen").rest == (leader,)
        running.until("record", str(head_of(voters, leader)))
        three.kill(voters.daemon(leader))
        survivor = voters.leader()
        add_and_remove(three, "failover.example.net")
        running.until("record", str(head_of(voters, survivor)))
        for node in voters.nodes:
            if three.pid(voters.daemon(node)) is not None:
                three.kill(voters.daemon(node))
        log = voters.log(survivor)
        take_over = f"gnt-cluster master-failover --no-voting --dir {log} --yes-do-it"
        assert f"{survivor} leads now" in three.ok(f"{take_over} --reason 'both others burned'")
        assert running.until("generation").rest == ("2",)
        add_and_remove(three, "takeover.example.net")
        running.until("record", str(head_of(voters, survivor)))
        with LogView(log) as view:
            wanted = [(s.record.seq, s.hash.hex(), s.record.kind) for s in view.iterate()]
        assert running.records == wanted[: len(running.records)]
        assert "log.takeover-forced" in {kind for _, _, kind in running.records}
        assert running.count("generation") == 1
    finally:
        running.close()


def head_of(voters: Voters, node: str) -> int:
    """Return the last record in a voter's log."""
    with LogView(voters.log(node)) as view:
        return view.head

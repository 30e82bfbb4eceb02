"""The voters of a lab as a test watches them: who leads, how far each is, whether they agree."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec

from commands.api import VotersReply, VoterStatus
from eventstore.errors import EventStoreError
from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_ENDS, TASK_REQUESTED, TaskNamed
from tests.acceptance.live_lab import LiveLab
from tools.lab import running

WITHIN_S = 60.0
_LOOK_S = 0.05


class Voters:
    """The master daemons of a lab, by the names of their nodes."""

    def __init__(self, lab: LiveLab) -> None:
        self.lab = lab
        self.nodes = lab.layout.load().nodes

    def daemon(self, node: str) -> str:
        """The name of a node's master daemon."""
        return self.lab.layout.voter(node)

    def log(self, node: str) -> Path:
        """The directory of its log."""
        return self.lab.layout.home(self.daemon(node)) / "log"

    def status(self, node: str) -> VoterStatus | None:
        """How a voter is, as it says itself; None if it does not answer."""
        session = self.lab.session()
        try:
            if node not in {voter.name for voter in session.voters}:
                session.ask("voters", None, VotersReply)  # the settings are brought up to date
                return None
            return session.client.call("voter-status", timeout_s=2.0, voter=node).decode(
                VoterStatus
            )
        except EventStoreError:
            return None
        finally:
            session.close()

    def leader(self) -> str:
        """Wait until one voter leads; return its node."""
        found: list[str] = []

        def look() -> bool:
            known = {node: self.status(node) for node in self.nodes}
            led = {n: (s.gen, s.term) for n, s in known.items() if s and s.role == "leader"}
            found[:] = [max(led, key=lambda node: led[node])] if led else []
            return bool(found)

        until(look)
        return found[0]

    def followers(self) -> list[str]:
        """The nodes whose voters do not lead."""
        leader = self.leader()
        return [node for node in self.nodes if node != leader]

    def restore(self) -> None:
        """Start what is down and wait until all hold the same."""
        for daemon, pid in running.pids(self.lab.layout).items():
            if pid is None:
                self.lab.start(daemon)
        self.level()

    def level(self) -> None:
        """Wait until all voters have committed the same."""

        def equal() -> bool:
            known = [self.status(node) for node in self.nodes]
            return len({status.committed if status else -1 for status in known}) == 1

        until(equal)

    def compare(self) -> int:
        """Assert that all logs are equal up to what the shortest holds; return how far that is."""
        chains = []
        for node in self.nodes:
            with LogView(self.log(node)) as view:
                chains.append([stored.hash for stored in view.iterate()])
        shared = min(map(len, chains))
        assert len({tuple(chain[:shared]) for chain in chains}) == 1, "histories differ"
        return shared


def shorten(log: Path, last: int) -> int:
    """Take away what stands behind record `last`, as a disk that lied about its syncs does.

    Only whole batches go or stay, and so what is derived from the log. Returns where it ends now.
    """
    with LogView(log) as view:
        records = [stored.record for stored in view.records(max(1, last - 50), last)]
    end = max(record.seq for record in records if record.index + 1 == record.count)
    db = apsw.Connection(str(log / "log.sqlite"))
    db.execute("DELETE FROM log WHERE seq > ?", (end,))
    db.close()
    shutil.rmtree(log / "snapshots", ignore_errors=True)
    (log / "index.sqlite").unlink(missing_ok=True)
    return end


def until(holds: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(_LOOK_S)


def task_counts(log: Path) -> set[tuple[int, int]]:
    """Return how often tasks were asked for, and ended: (times, times).

    What an agent tells once more when its job is over is recorded apart, with a key (intake.py).
    """
    asked: dict[str, list[int]] = {}
    with LogView(log) as view:
        for stored in view.iterate():
            record = stored.record
            if record.kind.startswith("task."):
                task = msgspec.msgpack.decode(record.data, type=TaskNamed).task
                counts = asked.setdefault(task, [0, 0])
                counts[0] += record.kind == TASK_REQUESTED
                counts[1] += record.kind in TASK_ENDS and not record.key
    return {(times, ends) for times, ends in asked.values()}

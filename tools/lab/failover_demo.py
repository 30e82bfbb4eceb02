"""A failover to watch: three voters, a job under way, SIGKILL of the leader (edge).

    python -m tools.lab.failover_demo

Three nodes on this machine that all hold the log and vote. While a replacement of a disk runs, the
leader's daemon is killed and not started again: another one leads, the job goes on, the command
that waits for it succeeds. Then the old one comes back as a follower, and all logs are compared.
The exit status is 0 only if every line did what it should.
"""

from __future__ import annotations

import signal
import sys
import time

from commands.api import VoterStatus
from eventstore.errors import EventStoreError
from eventstore.storage.log_view import LogView
from shell.session import Session
from tools.lab import breaking, running
from tools.lab.founding import found_cluster, read_config
from tools.lab.layout import LabError, LabLayout
from tools.lab.stage import Stage, played, wait_for

NODES = ("node1", "node2", "node3")
MAIL = "mail.example.net"
SLOW_S = 3.0


def main() -> int:
    """Play it in a directory of its own; return the exit status."""
    return played("cairn-failover-", play)


def play(stage: Stage) -> None:
    """Play it. Raises LabError where a line does not do what it should."""
    layout = stage.layout
    running.up(layout, NODES, settings={}, voters=len(NODES))
    found_cluster(layout, "gntcluster1.example.net")
    stage.say("Three nodes hold the log and vote; node1 leads.")
    stage.type("gnt-log status")
    stage.type(f"gnt-instance add -n node2:node3 -t drbd -B memory=512 -s 10G -o debian {MAIL}")
    breaking.slow(layout, "node3", SLOW_S)
    head = max(status.committed for status in _statuses(layout).values())
    stage.say(f"node3 is slow now: each call takes {SLOW_S:g} s. A replacement begins:")
    line = f"gnt-instance replace-disks -s {MAIL}"
    client = stage.begin(line)
    stage.running_task("node3", after=head)
    pid = running.kill(layout, layout.voter("node1"), signal.SIGKILL)
    begun = time.monotonic()
    print(f"  The leader's daemon (pid {pid}) gets SIGKILL, and stays down.", flush=True)
    leader = wait_for(lambda: _leader(layout), "nobody leads")
    print(f"  {leader} leads, {time.monotonic() - begun:.1f} s later.", flush=True)
    breaking.slow(layout, "node3", 0)
    stage.finish(line, client)
    stage.say("The old leader comes back, and follows:")
    running.start(layout, layout.voter("node1"))
    records = wait_for(lambda: _level(layout), "the voters do not become level")
    stage.type("gnt-log status")
    print(f"  All three logs have the same {records} records, hash for hash.")


def _statuses(layout: LabLayout) -> dict[str, VoterStatus]:
    found = {}
    session = Session(find_config=lambda: read_config(layout))
    try:
        for voter in session.voters:
            try:
                answer = session.client.call("voter-status", timeout_s=2.0, voter=voter.name)
            except EventStoreError:
                continue
            found[voter.name] = answer.decode(VoterStatus)
    finally:
        session.close()
    return found


def _leader(layout: LabLayout) -> str | None:
    leads = (name for name, status in _statuses(layout).items() if status.role == "leader")
    return next(leads, None)


def _level(layout: LabLayout) -> int | None:
    """Return how many records all voters have committed, None while they differ in that.

    Raises LabError if their logs are not the same up to there.
    """
    committed = {name: status.committed for name, status in _statuses(layout).items()}
    if len(committed) != len(NODES) or len(set(committed.values())) != 1:
        return None
    upto = committed[NODES[0]]
    chains = set()
    for node in NODES:
        with LogView(layout.home(layout.voter(node)) / "log") as view:
            chains.add(tuple(stored.hash for stored in view.iterate(1, upto)))
    if len(chains) != 1:
        raise LabError("the logs differ")
    return upto


if __name__ == "__main__":
    sys.exit(main())

"""A failover to watch: three voters, a job under way, SIGKILL of the leader (edge).

    python -m tools.lab.failover_demo

Three nodes on this machine that all hold the log and vote. While a replacement of a disk runs, the
leader's daemon is killed and not started again: another one leads, the job goes on, the command
that waits for it succeeds. Then the old one comes back as a follower, and all logs are compared.
The exit status is 0 only if every line did what it should.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands.api import VoterStatus
from eventstore.errors import EventStoreError
from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_REQUESTED
from shell.session import Session
from tools.lab import breaking, daemons, running
from tools.lab.founding import environment, found_cluster, read_config
from tools.lab.layout import LabError, LabLayout

NODES = ("node1", "node2", "node3")
MAIL = "mail.example.net"
_SLOW_S = 1.5
_WITHIN_S = 90.0
_LOOK_S = 0.05


def play(layout: LabLayout) -> None:
    """Play it. Raises LabError where a line does not do what it should."""
    running.up(layout, NODES, settings={}, voters=len(NODES))
    found_cluster(layout, "gntcluster1.example.net")
    _say("Three nodes hold the log and vote; node1 leads.")
    _type(layout, "gnt-log status")
    _type(layout, f"gnt-instance add -n node2:node3 -t drbd -B memory=512 -s 10G -o debian {MAIL}")
    breaking.slow(layout, "node3", _SLOW_S)
    head = _head(layout)
    line = f"gnt-instance replace-disks -s {MAIL}"
    _say(f"node3 is slow now: each call takes {_SLOW_S} s. A replacement begins:")
    print(f"$ {line} &", flush=True)
    client = _start(layout, line)
    _wait_for_task(layout, head)
    pid = running.kill(layout, layout.voter("node1"), signal.SIGKILL)
    begun = time.monotonic()
    print(f"  The leader's daemon (pid {pid}) gets SIGKILL, and stays down.", flush=True)
    leader = _next_leader(layout)
    print(f"  {leader} leads, {time.monotonic() - begun:.1f} s later.", flush=True)
    breaking.slow(layout, "node3", 0)
    out, _ = client.communicate(timeout=_WITHIN_S)
    print(out, end="")
    if client.returncode != 0:
        raise LabError(f"the replacement ended with status {client.returncode}")
    _say("The old leader comes back, and follows:")
    running.start(layout, layout.voter("node1"))
    heads = _level(layout)
    _type(layout, "gnt-log status")
    print(f"  All three logs have the same {heads} records, hash for hash.")


def main() -> int:
    """Play it in a directory of its own; return the exit status."""
    directory = Path(tempfile.mkdtemp(prefix="cairn-failover-"))
    layout = LabLayout(directory)
    try:
        play(layout)
    except (LabError, subprocess.TimeoutExpired) as failed:
        print(f"\nThe demo failed: {failed}", file=sys.stderr)
        return 1
    finally:
        if layout.settings.exists():
            running.down(layout)
        shutil.rmtree(directory, ignore_errors=True)
    return 0


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


def _head(layout: LabLayout) -> int:
    return max(status.committed for status in _statuses(layout).values())


def _wait_for_task(layout: LabLayout, after: int) -> None:
    """Wait until the log asks a node for something after that record."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        with LogView(layout.master / "log") as view:
            if any(s.record.kind == TASK_REQUESTED for s in view.iterate(after + 1)):
                time.sleep(_SLOW_S / 5)  # its agent has it by now, and is in the middle of it
                return
        time.sleep(_LOOK_S)
    raise LabError("no task of the replacement was seen")


def _next_leader(layout: LabLayout) -> str:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        for name, status in _statuses(layout).items():
            if status.role == "leader":
                return name
        time.sleep(_LOOK_S)
    raise LabError("nobody leads")


def _level(layout: LabLayout) -> int:
    """Wait until all voters have committed the same; compare their logs; return how long."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        committed = {status.committed for status in _statuses(layout).values()}
        if len(committed) == 1 and len(_statuses(layout)) == len(NODES):
            (upto,) = committed
            chains = set()
            for node in NODES:
                with LogView(layout.home(layout.voter(node)) / "log") as view:
                    chains.add(tuple(stored.hash for stored in view.iterate(1, upto)))
            if len(chains) != 1:
                raise LabError("the logs differ")
            return upto
        time.sleep(_LOOK_S)
    raise LabError("the voters do not become level")


def _type(layout: LabLayout, line: str) -> None:
    """Run a line as a process of its own, and show it with what it prints."""
    print(f"$ {line}", flush=True)
    process = _start(layout, line)
    out, _ = process.communicate(timeout=_WITHIN_S)
    print(out, end="", flush=True)
    if process.returncode != 0:
        raise LabError(f"`{line}` ended with status {process.returncode}")


def _start(layout: LabLayout, line: str) -> subprocess.Popen[str]:
    tool, *arguments = shlex.split(line)
    return subprocess.Popen(
        [daemons.script(tool), *arguments],
        env=environment(layout),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _say(text: str) -> None:
    print(f"\n# {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

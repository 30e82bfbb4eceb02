"""`make demo`: Cairn's main job on an embedded lab, each line a real process (edge).

Three agents, one master daemon, simulated disks and hypervisors. The session is played as a person
would type it; then the master daemon is killed while a task that it has recorded runs on its node,
and started again: the job goes on where it was. At the end every projection is rebuilt from the
log alone and compared with the daemon's.

The exit status is 0 only if every line did what it should.
"""

from __future__ import annotations

import signal
import sys
import time

from eventstore.storage.log_view import LogView
from tools.lab import breaking, daemons, running
from tools.lab.layout import MASTER, LabError
from tools.lab.stage import Stage, played

MAIL = "mail.example.net"
SESSION = (
    "gnt-cluster init gntcluster1.example.net",
    "gnt-node add node2",
    "gnt-node add node3",
    "gnt-instance add -n node1 -t plain -H memory=1G -s 10G -o debian web1.example.net",
    "gnt-instance add -n node2 -t plain -H memory=1G -s 10G -o debian web2.example.net",
    f"gnt-instance add -n node3:node1 -t drbd -H memory=512 -s 20G -o redhat {MAIL}",
)
LOOK = (
    "gnt-node list",
    "gnt-instance list",
    f"gnt-instance info {MAIL}",
    "gnt-job list",
    "gnt-log verify",
)
SLOW_S = 3.0  # how long a call on the slowed node takes: time enough to kill the master in it


def main() -> int:
    """Play the demo in a directory of its own; return the exit status."""
    return played("cairn-demo-", demo)


def demo(stage: Stage) -> None:
    """Play it, and offer the lab to who looks on. Raises LabError."""
    began = time.monotonic()
    play(stage)
    stage.say(f"All of it did what it should, in {time.monotonic() - began:.0f} s.")
    stage.keep = _wants_to_keep()
    if stage.keep:
        directory, cairn = stage.layout.directory, daemons.script("cairn")
        print(f'To use it:     eval "$({cairn} lab env --dir {directory})"')
        print(f"To remove it:  {cairn} lab down --dir {directory}")


def play(stage: Stage) -> None:
    """Play the session. Raises LabError where a line does not do what it should."""
    running.up(stage.layout, ("node1", "node2", "node3"), settings={})
    stage.say("Three nodes are up. Their disks and hypervisors are SIMULATED; all else is real.")
    for line in SESSION:
        stage.type(line)
    stage.say(f"The disk of {MAIL} breaks on node1, its secondary node:")
    for volume in breaking.break_disk(stage.layout, MAIL, "node1"):
        print(f"  {volume} cannot be read any more")
    stage.type(f"gnt-instance replace-disks --auto {MAIL}")
    _expect_new_volumes(stage)
    for line in LOOK:
        stage.type(line)
    _kill_in_the_middle(stage)
    stage.say("All projections, rebuilt from the log alone, against those of the running daemon:")
    stage.type("gnt-log replay")
    stage.type("gnt-log verify")


def _kill_in_the_middle(stage: Stage) -> None:
    stage.say(f"node1 is slow now: each call takes {SLOW_S:g} s. A second replacement begins:")
    breaking.slow(stage.layout, "node1", SLOW_S)
    with LogView(stage.layout.master / "log") as view:
        before = view.head
    line = f"gnt-instance replace-disks -s {MAIL}"
    client = stage.begin(line)
    task = stage.running_task("node1", after=before)
    pid = running.kill(stage.layout, MASTER, signal.SIGKILL)
    # From here on nobody appends: what the log says of the task is how it stood when it was killed.
    if stage.task_records(task.id) != (1, 0):
        raise LabError(f"task {task.id} had ended before the master daemon was killed")
    name, job = task.id[:8], task.job
    print(f"  Record {task.seq} asked node1 for task {name} of job {job}, and its agent has begun;")
    print(f"  while the task runs, the master daemon (pid {pid}) gets SIGKILL. Started again:")
    running.start(stage.layout, MASTER)
    breaking.slow(stage.layout, "node1", 0)
    stage.finish(line, client)
    requests, ends = stage.task_records(task.id)
    if (requests, ends) != (1, 1):
        raise LabError(f"task {task.id} was asked for {requests} times and ended {ends} times")
    print(f"  Task {name} was asked for once and ended once; job {job} went on where it was,")
    print("  and the command that waited for it succeeded.")
    stage.type(f"gnt-job list -o id,status,summary --filter 'id == {job}'")


def _expect_new_volumes(stage: Stage) -> None:
    with LogView(stage.layout.master / "log") as view:
        replaced = [s for s in view.iterate() if s.record.kind == "instance.disk-replaced"]
    if not replaced:
        raise LabError("--auto replaced nothing, though a disk was broken")


def _wants_to_keep() -> bool:
    """Ask a person whether the lab shall stay; nobody there means no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("Leave the lab running, to try it? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: Cairn's main job on an embedded lab, each line a real process (edge).

Three agents, one master daemon, simulated disks and hypervisors. The session is played as a person
would type it; then the master daemon is killed while a task that it has recorded runs on its node,
and started again: the job goes on where it was. At the end every projection is rebuilt from the
log alone and compared with the daemon's.

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

import msgspec

from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_ENDS, TASK_REQUESTED, TaskNamed
from tools.lab import breaking, daemons, running
from tools.lab.founding import environment
from tools.lab.layout import MASTER, LabError, LabLayout

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
SLOW_S = 1.5  # how long a call on the slowed node takes: time enough to kill the master in it
_WITHIN_S = 60.0
_LOOK_S = 0.01


class Demo:
    """One run of the session on one lab."""

    def __init__(self, layout: LabLayout) -> None:
        self._layout = layout
        self._environment = environment(layout)

    def play(self) -> None:
        """Play it. Raises LabError where a line does not do what it should."""
        running.up(self._layout, ("node1", "node2", "node3"), settings={})
        _say("Three nodes are up. Their disks and hypervisors are SIMULATED; all else is real.")
        for line in SESSION:
            self._type(line)
        _say(f"The disk of {MAIL} breaks on node1, its secondary node:")
        for volume in breaking.break_disk(self._layout, MAIL, "node1"):
            print(f"  {volume} cannot be read any more")
        self._type(f"gnt-instance replace-disks --auto {MAIL}")
        self._expect_new_volumes()
        for line in LOOK:
            self._type(line)
        self._kill_in_the_middle()
        _say("All projections, rebuilt from the log alone, against those of the running daemon:")
        self._type("gnt-log replay")
        self._type("gnt-log verify")

    def _kill_in_the_middle(self) -> None:
        _say(f"node1 is slow now: each call takes {SLOW_S} s. A second replacement begins:")
        breaking.slow(self._layout, "node1", SLOW_S)
        before = self._head()
        line = f"gnt-instance replace-disks -s {MAIL}"
        print(f"$ {line} &", flush=True)
        client = self._start(line)
        job, task, seq = self._running_task(before)
        pid = running.kill(self._layout, MASTER, signal.SIGKILL)
        print(f"  Record {seq} asked node1 for task {task[:8]} of job {job}; while the task runs,")
        print(f"  the master daemon (pid {pid}) gets SIGKILL. Started again:")
        running.start(self._layout, MASTER)
        breaking.slow(self._layout, "node1", 0)
        out, _ = client.communicate(timeout=_WITHIN_S)
        print(out, end="")
        if client.returncode != 0:
            raise LabError(f"the replacement ended with status {client.returncode}")
        requests, ends = self._records_of(task)
        print(f"  Task {task[:8]} was asked for {requests} time and ended {ends} time;", end=" ")
        print(f"job {job} went on where it was, and the command that waited for it succeeded.")
        if (requests, ends) != (1, 1):
            raise LabError(f"task {task} was asked for {requests} times and ended {ends} times")
        self._type(f"gnt-job list -o id,status,summary --filter 'id == {job}'")

    # --- processes ------------------------------------------------------------------------------

    def _type(self, line: str) -> None:
        """Run a line as a process of its own, and show it with what it prints."""
        print(f"$ {line}", flush=True)
        process = self._start(line)
        out, _ = process.communicate(timeout=_WITHIN_S)
        print(out, end="", flush=True)
        if process.returncode != 0:
            raise LabError(f"`{line}` ended with status {process.returncode}")

    def _start(self, line: str) -> subprocess.Popen[str]:
        tool, *arguments = shlex.split(line)
        return subprocess.Popen(
            [daemons.script(tool), *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # --- what the log says ----------------------------------------------------------------------

    def _head(self) -> int:
        with LogView(self._layout.master / "log") as view:
            return view.head

    def _running_task(self, after: int) -> tuple[int, str, int]:
        """Wait for a task of a record after `after` that has not ended: (job, task, seq)."""
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline:
            with LogView(self._layout.master / "log") as view:
                open_tasks: dict[str, tuple[int, str, int]] = {}
                for stored in view.iterate(after + 1):
                    record = stored.record
                    if record.kind == TASK_REQUESTED and record.job is not None:
                        task = _task_of(record.data)
                        open_tasks[task] = (record.job, task, record.seq)
                    elif record.kind in TASK_ENDS:
                        open_tasks.pop(_task_of(record.data), None)
            slowed = [each for each in open_tasks.values() if self._on_node1(each[2])]
            if slowed:
                time.sleep(SLOW_S / 5)  # its agent has it by now, and is in the middle of it
                return slowed[0]
            time.sleep(_LOOK_S)
        raise LabError("no task of the replacement was seen on node1")

    def _on_node1(self, seq: int) -> bool:
        with LogView(self._layout.master / "log") as view:
            (stored,) = view.records(seq, seq)
        identity = (self._layout.agent("node1") / "identity.json").read_text()
        return stored.record.stream.removeprefix("node/") in identity

    def _records_of(self, task: str) -> tuple[int, int]:
        """Return how often a task was asked for, and how often it ended."""
        with LogView(self._layout.master / "log") as view:
            kinds = [
                stored.record.kind
                for stored in view.iterate()
                if stored.record.kind.startswith("task.") and _task_of(stored.record.data) == task
            ]
        return kinds.count(TASK_REQUESTED), sum(kind in TASK_ENDS for kind in kinds)

    def _expect_new_volumes(self) -> None:
        with LogView(self._layout.master / "log") as view:
            replaced = [s for s in view.iterate() if s.record.kind == "instance.disk-replaced"]
        if not replaced:
            raise LabError("--auto replaced nothing, though a disk was broken")


def main() -> int:
    """Play the demo in a directory of its own; return the exit status."""
    directory = Path(tempfile.mkdtemp(prefix="cairn-demo-"))
    layout = LabLayout(directory)
    keep = False
    try:
        began = time.monotonic()
        Demo(layout).play()
        _say(f"All of it did what it should, in {time.monotonic() - began:.0f} s.")
        keep = _wants_to_keep()
    except (LabError, subprocess.TimeoutExpired) as failed:
        print(f"\nThe demo failed: {failed}", file=sys.stderr)
        return 1
    finally:
        if not keep:
            _clean_up(layout)
    if keep:
        print(f'To use it:     eval "$({daemons.script("cairn")} lab env --dir {directory})"')
        print(f"To remove it:  {daemons.script('cairn')} lab down --dir {directory}")
    return 0


def _clean_up(layout: LabLayout) -> None:
    if layout.settings.exists():
        running.down(layout)
    shutil.rmtree(layout.directory, ignore_errors=True)


def _wants_to_keep() -> bool:
    """Ask a person whether the lab shall stay; nobody there means no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("Leave the lab running, to try it? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def _task_of(data: msgspec.Raw) -> str:
    return msgspec.msgpack.decode(data, type=TaskNamed).task


def _say(text: str) -> None:
    print(f"\n# {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Where a demo is played: a lab in a directory of its own, and commands typed at it (edge).

All that begins on a stage ends with it, however it ends: by its last line, by a line that does not
do what it should, by Ctrl-C, SIGTERM, or a terminal that is closed.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_ENDS, TASK_REQUESTED, TaskNamed
from tools.lab import daemons, running
from tools.lab.founding import environment
from tools.lab.layout import LabError, LabLayout

WITHIN_S = 90.0  # for one line, or for one thing that is waited for
LOOK_S = 0.02
T = TypeVar("T")
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Task(msgspec.Struct, frozen=True, order=True):
    """A task that the log asked a node for."""

    seq: int  # of its record
    job: int
    id: str


class Stage:
    """A lab and the commands that talk to it."""

    def __init__(self, layout: LabLayout) -> None:
        self.layout = layout
        self.keep = False  # the lab stays when the stage is left
        self._started: list[subprocess.Popen[str]] = []

    def say(self, text: str) -> None:
        """Say what comes next."""
        print(f"\n# {text}", flush=True)

    def type(self, line: str) -> None:
        """Run a line as a process of its own, and show it with what it prints.

        Raises LabError if it does not end with status 0, or in time.
        """
        print(f"$ {line}", flush=True)
        self.finish(line, self.start(line))

    def begin(self, line: str) -> subprocess.Popen[str]:
        """Show a line and start it, as `line &` does."""
        print(f"$ {line} &", flush=True)
        return self.start(line)

    def start(self, line: str) -> subprocess.Popen[str]:
        """Start a line as a process of its own."""
        tool, *arguments = shlex.split(line)
        process = subprocess.Popen(
            [daemons.script(tool), *arguments],
            env=environment(self.layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def finish(self, line: str, process: subprocess.Popen[str]) -> None:
        """Wait for a line and show what it prints. Raises LabError as `type` does."""
        try:
            out, _ = process.communicate(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            raise LabError(f"`{line}` did not end within {WITHIN_S:g} s") from None
        print(out, end="", flush=True)
        if process.returncode != 0:
            raise LabError(f"`{line}` ended with status {process.returncode}")

    def running_task(self, node: str, *, after: int) -> Task:
        """Wait until `node` carries a task of a record beyond `after` out, and return it.

        The log has asked for it and knows no end of it; the agent has written down that it begins.
        """
        uuid = _uuid(self.layout, node)

        def look() -> Task | None:
            begun = _begun(self.layout.agent(node) / "journal.db")
            return next((task for task in self._open(uuid, after) if task.id in begun), None)

        return wait_for(look, f"no task was seen to run on {node}")

    def task_records(self, task: str) -> tuple[int, int]:
        """Return how often the log says that a task was asked for, and that it ended."""
        with LogView(self.layout.master / "log") as view:
            kinds = [
                stored.record.kind
                for stored in view.iterate()
                if stored.record.kind.startswith("task.") and _task(stored.record.data) == task
            ]
        return kinds.count(TASK_REQUESTED), sum(kind in TASK_ENDS for kind in kinds)

    def _open(self, node: str, after: int) -> list[Task]:
        """Return the tasks of a node that the log asks for and that have not ended."""
        found: dict[str, Task] = {}
        with LogView(self.layout.master / "log") as view:
            for stored in view.iterate(after + 1):
                record = stored.record
                if record.stream != f"node/{node}":
                    continue
                if record.kind == TASK_REQUESTED and record.job is not None:
                    task = _task(record.data)
                    found[task] = Task(record.seq, record.job, task)
                elif record.kind in TASK_ENDS:
                    found.pop(_task(record.data), None)
        return sorted(found.values())

    def clear(self) -> None:
        """End what runs and remove the lab. May be called at any moment."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if self.keep:
            return
        if self.layout.settings.exists():
            running.down(self.layout)
        shutil.rmtree(self.layout.directory, ignore_errors=True)


@contextmanager
def stage(prefix: str) -> Iterator[Stage]:
    """Give a stage in a directory of its own, and clear it. For the main thread of a process."""
    before = {signum: signal.signal(signum, _end) for signum in _ENDING}
    set_up = Stage(LabLayout(Path(tempfile.mkdtemp(prefix=prefix))))
    try:
        yield set_up
    finally:
        for signum in (signal.SIGINT, *_ENDING):  # a second one would leave things lying about
            before.setdefault(signum, signal.getsignal(signum))
            signal.signal(signum, signal.SIG_IGN)
        set_up.clear()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def played(prefix: str, play: Callable[[Stage], None]) -> int:
    """Play on a stage and return the exit status: 0 only if every line did what it should."""
    try:
        with stage(prefix) as set_up:
            play(set_up)
    except LabError as failed:
        print(f"\nThe demo failed: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left behind.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def wait_for(look: Callable[[], T | None], failing: str) -> T:
    """Look until there is something, and return it. Raises LabError with these words."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(LOOK_S)
    raise LabError(failing)


def _end(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _uuid(layout: LabLayout, node: str) -> str:
    identity = msgspec.json.decode((layout.agent(node) / "identity.json").read_bytes())
    return str(identity["node"])


def _begun(journal: Path) -> set[str]:
    """Return the tasks that an agent has begun and not ended, as its journal has them."""
    connection = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(1000)
        query = 'SELECT task FROM tasks WHERE "order" IS NOT NULL AND result IS NULL'
        return {str(task) for (task,) in connection.execute(query)}
    finally:
        connection.close()


def _task(data: msgspec.Raw) -> str:
    return msgspec.msgpack.decode(data, type=TaskNamed).task

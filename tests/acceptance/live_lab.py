"""A lab as an operator works with it: real processes; what they print, and what they leave.

Waiting is on events: a record of the log as it is published (`wait_for`), or a process's end.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from eventstore.access.keys import load_curve_keys
from eventstore.clients.following import Log
from eventstore.clients.subscriber import Subscriber
from eventstore.record import Record, Stored
from eventstore.storage.log_view import LogView
from projections.past import replay
from shell.config import ClientConfig, Found
from shell.session import Session
from tools.lab import control, daemons, running
from tools.lab.founding import environment, found_cluster
from tools.lab.layout import MASTER, LabLayout

CLUSTER = "cluster.example.net"
PATIENCE_S = 60.0
DRIVER_FILES = ("volumes.json", "devices.json", "mirror.json", "hypervisor.json", "network.json")
_TIMES = frozenset({"ctime_ms", "mtime_ms"})
_PLACES = frozenset({"file_id"})  # inode numbers
_FAULT = "CAIRN_FAULT"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    line: str
    status: int
    out: str
    err: str

    @property
    def hint(self) -> str:
        """The hint it gave, or ""."""
        return self.err.partition("hint: ")[2].strip()

    def __str__(self) -> str:
        return f"$ {self.line}\n{self.out}{self.err}(exit status {self.status})"


class LiveLab:
    """A lab in `directory`, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.layout = LabLayout(directory)

    def up(
        self,
        *,
        nodes: int = 3,
        voters: int = 1,
        cluster: str = CLUSTER,
        apart: bool = False,
        **settings: float | int | str,
    ) -> None:
        """Start agents, and make a cluster of them unless its name is empty."""
        names = [f"node{number}" for number in range(1, nodes + 1)]
        running.up(self.layout, names, settings=settings, voters=voters, apart=apart)
        if cluster:
            found_cluster(self.layout, cluster)

    def down(self) -> None:
        """End every daemon and remove the files; a lab that is down already is no error."""
        if self.layout.settings.exists():
            running.down(self.layout)

    # --- daemons --------------------------------------------------------------------------------

    def start_master(self, *, fault: str = "") -> int:
        """Start the master daemon, with this CAIRN_FAULT; return its pid."""
        before = os.environ.pop(_FAULT, None)
        try:
            if fault:
                os.environ[_FAULT] = fault
            return running.start(self.layout, MASTER)
        finally:
            os.environ.pop(_FAULT, None)
            if before is not None:
                os.environ[_FAULT] = before

    def start(self, daemon: str) -> int:
        """Start a node's agent, or the master; return its pid."""
        return running.start(self.layout, daemon)

    def kill(self, daemon: str, signum: int = 9) -> None:
        """Send a signal; if it ends a process, wait until it has."""
        running.kill(self.layout, daemon, signum)

    def pid(self, daemon: str) -> int | None:
        """Return the pid of a daemon, None if it does not run."""
        return running.pids(self.layout)[daemon]

    def cut_power(self, node: str) -> None:
        """Kill a node's agent; when it starts again, its machine has lost what power keeps."""
        self.kill(node)
        (self.layout.machines / node / "power-cut").touch()

    @contextmanager
    def held(self, node: str) -> Iterator[None]:
        """Keep a node's agent from doing anything inside: what is asked of it waits."""
        self.kill(node, signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill(node, signal.SIGCONT)

    def wait_for_death(self, daemon: str, pid: int, *, within_s: float = PATIENCE_S) -> None:
        """Wait until this process of a daemon has ended."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert daemons.ended(handle, within_s), f"{daemon} (pid {pid}) did not end"
        finally:
            os.close(handle)

    def stop(self) -> None:
        """End every daemon at one moment; the files stay.

        At one moment, because a node that sees another one go down does something about it: the
        primary side of a mirror goes on alone, which its files would show.
        """
        if not self.layout.settings.exists():
            return
        pids = {name: pid for name, pid in running.pids(self.layout).items() if pid is not None}
        for pid in pids.values():
            daemons.send(pid, signal.SIGSTOP)
        for name, pid in pids.items():
            daemons.end(pid, signal.SIGTERM if name == MASTER else signal.SIGKILL)

    def order(self, node: str, do: str, **details: str | int | float) -> control.Reply:
        """Give a simulated node an order (nodeagent/simulated/control.py)."""
        return control.order(self.layout.agent(node), do, **details)

    # --- commands -------------------------------------------------------------------------------

    def command(self, *command: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own, its two outputs in one."""
        tool, *arguments = command
        return subprocess.Popen(
            [daemons.script(tool), *arguments],
            env=environment(self.layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, line: str, *, within_s: float = PATIENCE_S, env: Mapping[str, str] | None = None
    ) -> Ran:
        """Run one line as a person would type it, and return how it went."""
        tool, *arguments = shlex.split(line)
        done = subprocess.run(
            [daemons.script(tool), *arguments],
            env={**environment(self.layout), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Ran(line, done.returncode, done.stdout, done.stderr)

    def ok(self, line: str, *, within_s: float = PATIENCE_S) -> str:
        """Run a line that must succeed; return what it printed on stdout."""
        ran = self.run(line, within_s=within_s)
        assert ran.status == 0, str(ran)
        return ran.out

    def refuses(self, line: str, *says: str, hint: str, status: int = 1) -> Ran:
        """Run a line that must fail with this exit status, these words and this hint.

        Asserts as well that nothing changed: neither the configuration nor any node.
        """
        with self.unchanged():
            ran = self.run(line)
        assert ran.status == status, str(ran)
        for words in says:
            assert words in ran.err, f"it does not say {words!r}:\n{ran}"
        assert hint in ran.hint, f"it does not hint {hint!r}:\n{ran}"
        return ran

    def submit(self, line: str) -> int:
        """Run a line with --submit; return the number of its job."""
        tool, command, *rest = shlex.split(line)
        told = self.ok(shlex.join([tool, command, "--submit", *rest]))
        return int(told.removeprefix("JobID: "))

    def rows(self, line: str) -> list[list[str]]:
        """Run a `list` and return its rows' cells."""
        told = self.ok(f"{line} --no-headers --separator=|")
        return [row.split("|") for row in told.splitlines()]

    def status_of(self, job: int) -> str:
        """Return the status of a job, as gnt-job lists it."""
        return self.rows(f"gnt-job list -o status {job}")[0][0]

    # --- what they leave ------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        """The directory of the master's log."""
        return self.layout.master / "log"

    @property
    def head(self) -> int:
        """Seq of the last record."""
        with LogView(self.log) as view:
            return view.head

    def records(self, first: int = 1) -> list[Stored]:
        """Return the records of the log from `first` on."""
        with LogView(self.log) as view:
            return list(view.iterate(first))

    def kinds(self, job: int) -> list[str]:
        """Return the kinds of the records that serve a job, in order."""
        with LogView(self.log) as view:
            return [stored.record.kind for stored in view.job(job)]

    def wait_for(
        self, wanted: Callable[[Record], bool], *, after: int = 0, within_s: float = PATIENCE_S
    ) -> Record:
        """Return the first record behind seq `after` that is wanted, as soon as it is published.

        What is in the log already counts. Needs a master that runs, or is started meanwhile.
        """
        with LogView(self.log) as view:
            (begin,) = view.records(max(after, 1), max(after, 1))
        session = self.session()
        keys = load_curve_keys(self.layout.operator_key)
        deadline = time.monotonic() + within_s
        with Subscriber(session.voters, keys, Log(begin.record.seq, begin.hash)) as subscriber:
            while (left := deadline - time.monotonic()) > 0:
                delivery = subscriber.next(timeout_s=left)
                for stored in delivery.records if delivery is not None else ():
                    if wanted(stored.record):
                        return stored.record
        raise AssertionError(f"no such record within {within_s} s")

    def wait_for_kind(self, kind: str, *, after: int = 0, job: int | None = None) -> Record:
        """Return the first record of a kind (and job) behind `after`."""
        return self.wait_for(
            lambda record: record.kind == kind and job in (None, record.job), after=after
        )

    def session(self) -> Session:
        """Return a session with the lab's cluster, for what no command offers. Close it."""
        config = msgspec.json.decode(self.layout.client.read_bytes(), type=ClientConfig)
        return Session(find_config=lambda: Found(self.layout.client, config))

    def configuration(self) -> dict[str, Any]:
        """Return every object of the configuration, from the log alone, without times."""
        with LogView(self.log) as view:
            cluster = replay(view).state.cluster
        tables = ("cluster", "group", "node", "instance")
        objects = {
            f"{table}/{uuid}": _without(msgspec.to_builtins(thing), _TIMES)
            for table in tables
            for uuid, thing in cluster.table(table).items()
        }
        return {**objects, "reserved": dict(cluster.reserved), "duties": dict(cluster.duties)}

    def drivers(self) -> dict[str, Any]:
        """Return the state of every simulated driver, with how often each effect happened."""
        return {
            f"{node}/{name}": _without(json.loads(path.read_text()), _PLACES)
            for node in self.layout.load().nodes
            for name in DRIVER_FILES
            if (path := self.layout.machines / node / name).exists()
        }

    def effects(self, node: str) -> dict[str, int]:
        """Return how often each effect happened on a node, over all its drivers."""
        counted: dict[str, int] = {}
        for name in DRIVER_FILES:
            path = self.layout.machines / node / name
            if path.exists():
                for effect, times in json.loads(path.read_text()).get("effects", {}).items():
                    counted[f"{path.stem}/{effect}"] = times
        return counted

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that neither the configuration nor any node is changed inside."""
        before = self.configuration(), self.drivers()
        yield
        configuration, drivers = self.configuration(), self.drivers()
        assert configuration == before[0]
        assert drivers == before[1]


def _without(thing: Any, names: frozenset[str]) -> Any:
    """Return builtins without the members of these names, at any depth."""
    if isinstance(thing, dict):
        return {key: _without(value, names) for key, value in thing.items() if key not in names}
    if isinstance(thing, list):
        return [_without(each, names) for each in thing]
    return thing

"""A cluster of real processes to measure: a lab's master and agents, and a client in this process.

CPU is user and system time of whole processes, from /proc/PID/stat; the kernel counts it in ticks
(10 ms as a rule), so it is taken over many jobs. It holds what the processes do besides as well:
status reports, heartbeats, checkpoints, and the kernel's part of a sync.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from commands.api import JobNews, JobSpec, Submit, Submitted, WaitJob
from commands.opcode import Opcode, pack
from eventstore.access.keys import load_curve_keys
from eventstore.clients.client import AsyncClient, Client
from eventstore.reactor import Reactor
from shell.config import ClientConfig, Found
from shell.session import Session
from tools.lab import control, daemons, running
from tools.lab.founding import environment, gnt
from tools.lab.layout import LabLayout

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 60.0


class Cluster:
    """A running lab with a cluster in it."""

    def __init__(self, layout: LabLayout) -> None:
        self.layout = layout
        config = msgspec.json.decode(layout.client.read_bytes(), type=ClientConfig)
        session = Session(find_config=lambda: Found(layout.client, config))
        self._voters, self._keys = session.voters, load_curve_keys(layout.operator_key)

    def client(self) -> Client:
        """A client whose calls wait for their answer."""
        return Client(self._voters, self._keys)

    def async_client(self, reactor: Reactor) -> AsyncClient:
        """A client that may have many calls under way."""
        return AsyncClient(reactor, self._voters, self._keys)

    def gnt(self, tool: str, *arguments: str) -> str:
        """Run one command; return what it printed. Raises LabError if it fails."""
        return gnt(self.layout, tool, *arguments)

    def environment(self) -> dict[str, str]:
        """The environment in which commands talk to this cluster."""
        return environment(self.layout)

    def pid(self, daemon: str) -> int:
        """The pid of a daemon that runs: `master`, or a node's agent."""
        pid = daemons.running(self.layout.pid_file(daemon))
        assert pid is not None, f"{daemon} does not run"
        return pid

    def cpu_s(self, daemon: str) -> float:
        """CPU that a daemon has used so far, all threads."""
        return cpu_of(self.pid(daemon))

    def agent_syncs(self, node: str) -> int:
        """How often the journal of a node's agent was synced."""
        return control.order(self.layout.agent(node), "state").syncs

    def rss_mib(self, daemon: str) -> float:
        """Resident memory of a daemon."""
        status = Path(f"/proc/{self.pid(daemon)}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextmanager
def running_cluster(nodes: int, *, sync_s: float = 0.0) -> Iterator[Cluster]:
    """Give a cluster of so many nodes; each sync of its master and its agents takes that longer."""
    directory = Path(tempfile.mkdtemp(prefix="cairn-bench-"))
    layout = LabLayout(directory)
    names = [f"node{number}" for number in range(1, nodes + 1)]
    try:
        running.up(layout, names, settings={"sync_delay_s": sync_s})
        if sync_s:
            for name in names:
                _slow_down(layout, name, sync_s)
        gnt(layout, "gnt-cluster", "init", "bench.example.net",
            "--enabled-disk-templates", "plain,drbd,diskless")  # fmt: skip
        for name in names[1:]:
            gnt(layout, "gnt-node", "add", name)
        yield Cluster(layout)
    finally:
        if layout.settings.exists():
            running.down(layout)
        shutil.rmtree(directory, ignore_errors=True)


def do(client: Client, *ops: Opcode) -> JobNews:
    """Submit one job and wait for its end, as a command line does. It must succeed."""
    body = Submit(jobs=(JobSpec(ops=tuple(map(pack, ops))),))
    (job,) = client.call("submit", body, key=os.urandom(16).hex()).decode(Submitted).jobs
    news = JobNews(job=job, serial=0, status="queued", ended=False, ops=())
    while not news.ended:
        wait = WaitJob(job=job, since=news.serial, timeout_s=_PATIENCE_S)
        news = client.call("wait-job", wait, timeout_s=2 * _PATIENCE_S).decode(JobNews)
    assert news.status == "success", news
    return news


def cpu_of(pid: int) -> float:
    """User and system time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _slow_down(layout: LabLayout, node: str, sync_s: float) -> None:
    path = layout.agent(node) / "agent.json"
    settings = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**settings, "sync_delay_s": sync_s}))
    daemons.end(running.pids(layout)[node] or 0)
    running.start(layout, node)

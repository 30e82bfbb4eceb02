"""What a task costs its agent, and what an agent costs that has nothing to do.

    python -m tests.bench.agent [--tasks N] [--idle SECONDS]

A real agent with simulated drivers, a leader with real sockets in this process. CPU is that of the
agent's process, all threads, from /proc; syncs are those that its journal counts. Wanted: at most 2
syncs and 3 ms of CPU a task; idle under 1 % of a core and under 60 MiB; a start under 0.35 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from nodeagent import calls
from tests.nodeagent.fake_leader import AgentProcess, FakeLeader
from tests.nodeagent.specs import volume

MAX_SYNCS, MAX_CPU_MS, MAX_IDLE_PERCENT, MAX_RSS_MIB, MAX_START_S = 2.0, 3.0, 1.0, 60.0, 0.35
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Figure(NamedTuple):
    """A measured value and its bound."""

    what: str
    value: float
    unit: str
    bound: float


def main() -> int:
    """Measure, print a table, return 0 if every figure is within its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--idle", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        leader = FakeLeader(Path(directory))
        try:
            figures = measure(leader, tasks=options.tasks, idle_s=options.idle)
        finally:
            leader.close()
    table = Table("figure", "measured", "at most", "")
    for figure in figures:
        verdict = "ok" if figure.value <= figure.bound else "MISSED"
        table.add_row(
            figure.what, f"{figure.value:.2f} {figure.unit}", f"{figure.bound:g}", verdict
        )
    Console().print(table)
    return 0 if all(figure.value <= figure.bound for figure in figures) else 1


def measure(leader: FakeLeader, *, tasks: int, idle_s: float) -> list[Figure]:
    """Measure with the intervals that an agent has by default."""
    agent = leader.add_agent("node1", look_s=1.0, settle_s=2.0, status_s=5.0)
    leader.until_promised(agent)
    start_s = cpu_s(agent)
    one_by_one = _cost(leader, agent, tasks, lambda number: _one(leader, agent, number))
    together = _cost(
        leader, agent, tasks, lambda number: None, last=lambda: _all(leader, agent, tasks)
    )
    idle = _idle_percent(leader, agent, idle_s)
    return [
        Figure("CPU of a start, until it is a member", start_s, "s", MAX_START_S),
        Figure("syncs of a task, one at a time", one_by_one[0], "", MAX_SYNCS),
        Figure("CPU of a task, one at a time", one_by_one[1], "ms", MAX_CPU_MS),
        Figure("syncs of a task, many at once", together[0], "", MAX_SYNCS),
        Figure("CPU of a task, many at once", together[1], "ms", MAX_CPU_MS),
        Figure(f"CPU when idle, over {idle_s:g} s", idle, "%", MAX_IDLE_PERCENT),
        Figure("memory (RSS)", rss_mib(agent), "MiB", MAX_RSS_MIB),
        *measure_real(leader, idle_s=idle_s),
    ]


def measure_real(leader: FakeLeader, *, idle_s: float) -> list[Figure]:
    """Measure an agent with real drivers that has looked at all of its machine, and changes none.

    It has loaded all that it ever loads, also what it needs for guests' interfaces.
    """
    home = leader.directory / "real"
    agent = leader.add_agent(
        "node2", look_s=1.0, settle_s=2.0, status_s=5.0, drivers="real",
        run_directory=str(home / "run"), file_path=(str(home / "files"),),
        shared_file_path=(str(home / "shared"),), kvm={"run_directory": str(home / "kvm")},
    )  # fmt: skip
    leader.until_promised(agent)
    probe = calls.Probe(inventory=True, links=("br0",), addresses=("192.0.2.1",))
    failed = leader.do(agent, probe, resource="node").failed
    assert failed is None, failed
    idle = _idle_percent(leader, agent, idle_s)
    return [
        Figure(f"real drivers: CPU when idle, over {idle_s:g} s", idle, "%", MAX_IDLE_PERCENT),
        Figure("real drivers: memory (RSS)", rss_mib(agent), "MiB", MAX_RSS_MIB),
    ]


def _idle_percent(leader: FakeLeader, agent: AgentProcess, idle_s: float) -> float:
    began, before_s = time.monotonic(), cpu_s(agent)
    leader.reactor.run_until(lambda: False, timeout_s=idle_s)
    return 100 * (cpu_s(agent) - before_s) / (time.monotonic() - began)


def _one(leader: FakeLeader, agent: AgentProcess, number: int) -> None:
    name = f"xenvg/one-{number}"
    call = calls.EnsureVolume(volume=volume(name, 1), owner=name)
    failed = leader.do(agent, call, resource=name).failed
    assert failed is None, failed


def _all(leader: FakeLeader, agent: AgentProcess, tasks: int) -> None:
    names = [f"xenvg/all-{number}" for number in range(tasks)]
    asked = [
        leader.request(agent, calls.EnsureVolume(volume=volume(name, 1), owner=name), resource=name)
        for name in names
    ]
    leader.until(lambda: leader.ends.keys() >= set(asked))


def _cost(
    leader: FakeLeader,
    agent: AgentProcess,
    tasks: int,
    each: Callable[[int], None],
    *,
    last: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Syncs and milliseconds of CPU for each task."""
    syncs, spent_s = agent.control.order("state")["syncs"], cpu_s(agent)
    for number in range(tasks):
        each(number)
    last()
    syncs = agent.control.order("state")["syncs"] - syncs
    return syncs / tasks, 1000 * (cpu_s(agent) - spent_s) / tasks


def cpu_s(agent: AgentProcess) -> float:
    """User and system time of the agent's process so far, all threads."""
    assert agent.process is not None
    text = Path(f"/proc/{agent.process.pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_mib(agent: AgentProcess) -> float:
    """Resident memory of the agent's process."""
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())

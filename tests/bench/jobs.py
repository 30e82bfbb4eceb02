"""What a job costs, from the client to its end, over real processes.

    python -m tests.bench.jobs [--jobs N]

A lab's master daemon and agents; their drivers are simulated, all else is real. Sequential syncs
are counted by the clock: each sync of the log, of its ack mark and of an agent's journal is made to
last some milliseconds longer, and by so many times that does the job last longer. This counts what
stands one after the other, whoever waits for it, and no sync that is hidden behind another. One
commit of the log is two syncs, its own and the ack mark's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from commands.api import JobNews, JobSpec, Submit, Submitted, WaitJob
from commands.debug_ops.delay import TestDelay
from commands.instance_ops.activate_disks import InstanceActivateDisks
from commands.instance_ops.remove import InstanceRemove
from commands.opcode import pack
from eventstore.clients.client import Answer, AsyncClient, Client
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor
from eventstore.storage.log_view import LogView
from nodeagent.calls import TASK_REQUESTED
from shell.opcodes import build
from tests.bench.cluster import Cluster, cpu_of, do, running_cluster
from tests.bench.figures import Figure, show
from tools.lab.daemons import script
from tools.lab.layout import MASTER

NOTHING = TestDelay(duration=0.0)
IN_FLIGHT = 64
EMULATED_S = 0.004
COUNTING_S = 0.040  # long beside all else, so that each sync shows in the time of a job
DRBD_S = 0.001
_WEB, _MAIL = "web1.example.net", "mail.example.net"
_DRBD_ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> bool:
    """Measure and print; say whether all is within its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    jobs: int = parser.parse_args(arguments).jobs
    with running_cluster(1) as cluster:
        nothing_s, nothing = no_op(cluster, jobs)
        task = one_task(cluster, jobs // 2)
    with running_cluster(1, sync_s=EMULATED_S) as cluster:
        slow_s = wall_s(cluster, jobs // 10)
        per_second = sustained(cluster, 4 * jobs)
    with running_cluster(1, sync_s=COUNTING_S) as cluster:
        syncs = (min(walls_s(cluster, 40)) - nothing_s) / COUNTING_S
    nothing = [
        Figure("sequential syncs of the log and its ack mark", syncs, "", 8),
        Figure("that is, durable commits one after the other", syncs / 2, "", 4),
        *nothing,
        Figure(f"the same, each sync {EMULATED_S * 1e3:g} ms longer", slow_s * 1e3, "ms"),
        Figure(f"jobs with {IN_FLIGHT} in flight, such syncs", per_second, "/s", 200, least=True),
    ]
    good = show("a job that does nothing, one client", nothing)
    good &= show("a job with one task on an agent", task)
    return show("instance add -t drbd, three nodes", drbd()) and good


# --- a job that does nothing ----------------------------------------------------------------------


def no_op(cluster: Cluster, jobs: int) -> tuple[float, list[Figure]]:
    """Return the least time of such a job in seconds, and what it costs."""
    wall_s(cluster, 50)  # warms up
    before = _cpu_s(cluster)
    walls = walls_s(cluster, jobs)
    spent = {who: 1e3 * (_cpu_s(cluster)[who] - cpu) / jobs for who, cpu in before.items()}
    return min(walls), [
        Figure("CPU of all processes", sum(spent.values()), "ms", 3),
        *(Figure(f"  of which {who}", cpu, "ms") for who, cpu in spent.items()),
        Figure(
            "submit to success, as seen by the client (median)",
            statistics.median(walls) * 1e3,
            "ms",
        ),
    ]


def wall_s(cluster: Cluster, jobs: int) -> float:
    """Return the median time from submit to success, one job after the other."""
    return statistics.median(walls_s(cluster, jobs))


def walls_s(cluster: Cluster, jobs: int) -> list[float]:
    """Return the times from submit to success, one job after the other."""
    with cluster.client() as client:
        do(client, NOTHING)
        return [_timed(lambda: do(client, NOTHING)) for _ in range(jobs)]


def sustained(cluster: Cluster, jobs: int) -> float:
    """Return how many jobs one client ends in a second with IN_FLIGHT of them under way."""
    reactor = Reactor()
    client = cluster.async_client(reactor)
    flight = Flight(client, jobs)
    begun = time.perf_counter()
    flight.start(IN_FLIGHT)
    reactor.run_until(lambda: flight.ended == jobs)
    taken = time.perf_counter() - begun
    client.close()
    reactor.close()
    return jobs / taken


class Flight:
    """Jobs under way: as one ends, the next is submitted, until all are through."""

    def __init__(self, client: AsyncClient, jobs: int) -> None:
        self.ended = 0
        self._client, self._left = client, jobs
        self._body = Submit(jobs=(JobSpec(ops=(pack(NOTHING),)),))

    def start(self, jobs: int) -> None:
        """Submit the first ones."""
        for _ in range(jobs):
            self._submit()

    def _submit(self) -> None:
        if self._left:
            self._left -= 1
            self._call("submit", self._body, self._submitted, key=os.urandom(16).hex())

    def _submitted(self, answer: Answer) -> None:
        (job,) = answer.decode(Submitted).jobs
        self._wait(job, 0)

    def _wait(self, job: int, since: int) -> None:
        self._call("wait-job", WaitJob(job=job, since=since), self._told)

    def _told(self, answer: Answer) -> None:
        news = answer.decode(JobNews)
        if not news.ended:
            self._wait(news.job, news.serial)
            return
        assert news.status == "success", news
        self.ended += 1
        self._submit()

    def _call(
        self,
        kind: str,
        body: Submit | WaitJob,
        on_answer: Callable[[Answer], None],
        key: str | None = None,
    ) -> None:
        self._client.call(
            kind, body, timeout_s=60.0, key=key, on_answer=on_answer, on_error=self._failed
        )

    def _failed(self, error: EventStoreError) -> None:
        raise error


# --- a task on an agent ---------------------------------------------------------------------------


def one_task(cluster: Cluster, jobs: int) -> list[Figure]:
    """Make the disks of an instance active that are: one call, which finds nothing to do."""
    node = "node1"
    cluster.gnt("gnt-instance", "add", "-t", "plain", "-n", node, "-s", "1g", "--no-install",
                "--no-start", _WEB)  # fmt: skip
    op = InstanceActivateDisks(instance_name=_WEB)
    with cluster.client() as client:
        do(client, op)
        first, syncs, before = _tasks(cluster), cluster.agent_syncs(node), _cpu_s(cluster)
        wall = statistics.median(_timed(lambda: do(client, op)) for _ in range(jobs))
    spent = {who: 1e3 * (_cpu_s(cluster)[who] - cpu) for who, cpu in before.items()}
    tasks = _tasks(cluster) - first
    return [
        Figure("tasks of a job", tasks / jobs, ""),
        Figure("syncs of the agent for a task", (cluster.agent_syncs(node) - syncs) / tasks, "", 2),
        Figure("CPU of the agent for a task", spent[node] / tasks, "ms", 3),
        Figure("CPU of all processes for the job", sum(spent.values()) / jobs, "ms"),
        Figure("submit to success, as seen by the client (median)", wall * 1e3, "ms"),
    ]


def _tasks(cluster: Cluster) -> int:
    with LogView(cluster.layout.master / "log") as log:
        return sum(stored.record.kind == TASK_REQUESTED for stored in log.iterate())


# --- an instance on two nodes ---------------------------------------------------------------------


def drbd() -> list[Figure]:
    """Create a mirrored instance with an OS and start it, its second disk synced."""
    with running_cluster(3, sync_s=DRBD_S) as cluster:
        command = statistics.median(_removed(cluster, _by_command) for _ in range(_DRBD_ROUNDS))
        walls = [_removed(cluster, _by_client) for _ in range(_DRBD_ROUNDS)]
        records, tasks = _last_creation(cluster)
    with running_cluster(3, sync_s=COUNTING_S) as cluster:
        slow = min(_removed(cluster, _by_client) for _ in range(_DRBD_ROUNDS))
    syncs = (slow - min(walls)) / (COUNTING_S - DRBD_S)
    told = f"syncs {DRBD_S * 1e3:g} ms longer"
    return [
        Figure(f"gnt-instance add, start to exit, {told} (median)", command, "s", 0.5),
        Figure(f"the job, submit to success, {told} (median)", statistics.median(walls), "s", 0.5),
        Figure("sequential syncs, of master and agents", syncs),
        Figure("records of the job", records),
        Figure("tasks of the job", tasks),
    ]


def _removed(cluster: Cluster, create: Callable[[Cluster, Client], float]) -> float:
    """Return what `create` took; the instance is removed again."""
    with cluster.client() as client:
        taken_s = create(cluster, client)
        do(client, InstanceRemove(instance_name=_MAIL))
    return taken_s


def _by_command(cluster: Cluster, _client: Client) -> float:
    argv = [script("gnt-instance"), "add", "-n", "node3:node1", "-t", "drbd", "-s", "1G", "-o",
            "redhat", "-B", "memory=512", _MAIL]  # fmt: skip
    environment = cluster.environment()
    return _timed(
        lambda: subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
    )


def _by_client(_cluster: Cluster, client: Client) -> float:
    create = build(
        "OP_INSTANCE_CREATE",
        {
            "instance_name": _MAIL,
            "disk_template": "drbd",
            "disks": [{"size": 1024}],
            "nics": [{}],
            "pnode": "node3",
            "snode": "node1",
            "os_type": "redhat",
            "beparams": {"memory": 512},
        },
        {},
    )
    return _timed(lambda: do(client, create))


def _last_creation(cluster: Cluster) -> tuple[int, int]:
    """Return how many records and tasks it took to create the last instance."""
    with LogView(cluster.layout.master / "log") as log:
        records = [stored.record for stored in log.iterate()]
    job = max(record.job or 0 for record in records if record.kind == "instance.created")
    own = [record.kind for record in records if record.job == job]
    return len(own), own.count(TASK_REQUESTED)


# --- measuring ------------------------------------------------------------------------------------


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _cpu_s(cluster: Cluster) -> dict[str, float]:
    """Return what the master, the agent of node1 and this client have used so far."""
    used = {each: cluster.cpu_s(each) for each in (MASTER, "node1")}
    return {**used, "client": cpu_of(os.getpid())}


if __name__ == "__main__":
    sys.exit(not main())

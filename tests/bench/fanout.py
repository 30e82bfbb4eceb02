"""What a thousand subscribers and a thousand agents cost one master.

    python -m tests.bench.fanout [--subscribers N] [--agents N] [--jobs N] [--idle SECONDS]

The master is real: its process, its log on the disk, TCP with CURVE. Subscribers follow the whole
log, each over connections of its own. Agents are simulated: each has its key, follows its node's
stream, promises, and reports its status every 5 s, and is given no task. They live on the same
machine, _TOGETHER to a process (`zmq_poll` looks at every socket, so a thousand in one would wait
for themselves), and share its cores with the master; CPU is that of the master's process alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import msgspec

from commands.master import config as master_config
from commands.master.config import MasterConfig
from eventstore.access.keys import CurveKeys, load_curve_keys, new_curve_keys
from eventstore.clients.client import Answer, AsyncClient, Voter
from eventstore.clients.following import Log, Streams
from eventstore.clients.subscription import Delivery, Reign, Subscription
from eventstore.errors import EventStoreError
from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome
from eventstore.storage.log_view import LogView
from nodeagent.calls import NodeStatus, Promised
from projections.events.configuration import NodeAdded, NodeInvited, NodeJoined, NodeLost
from projections.objects import Node
from projections.past import replay
from tests.bench.cluster import Cluster, running_cluster
from tests.bench.figures import Figure, show
from tests.bench.jobs import Flight
from tests.bench.lone_voter import lone_voter
from tools.lab import daemons, running
from tools.lab.layout import MASTER

_STATUS_S = 5.0
_PATIENCE_S = 300.0
_IN_FLIGHT = 16
_LEAVING_S = 10.0
_SPREAD_S = 0.02  # between the starts of two clients of one process
_TOGETHER = 125


@dataclass(frozen=True)
class Member:
    """A node whose agent is simulated."""

    uuid: str
    keys: CurveKeys


def main(arguments: Sequence[str] | None = None) -> bool:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--idle", type=float, default=10.0)
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with running_cluster(1) as cluster:
        daemons.end(cluster.pid(MASTER))
        as_in_production(cluster)
        members = add_members(cluster, options.agents)
        running.start(cluster.layout, MASTER)
        with cluster.client() as client:
            client.call("head")
        figures = measure(cluster, members, options.subscribers, options.jobs, options.idle)
    title = f"{options.subscribers} subscribers and {options.agents} simulated agents on one master"
    return show(title, figures)


def as_in_production(cluster: Cluster) -> None:
    """Let the master be as patient with silent agents as it is by default; a lab's is hasty."""
    directory = cluster.layout.master
    hasty, usual = (
        master_config.load(directory),
        MasterConfig(voter="", requests="", publications=""),
    )
    patient = msgspec.structs.replace(
        hasty, status_every_s=usual.status_every_s, lost_after_s=usual.lost_after_s
    )
    master_config.save(directory, patient)


def add_members(cluster: Cluster, count: int) -> list[Member]:
    """Write into the log of a master that is stopped that so many nodes are members."""
    directory = cluster.layout.master / "log"
    with LogView(directory) as view:
        (group,) = replay(view).state.cluster.groups
        epoch_voter = view.records(1, 1)[0].record.origin
    members, left = [], count

    def done(outcome: Outcome) -> None:
        nonlocal left
        assert isinstance(outcome, Committed), outcome
        left -= 1

    with lone_voter(directory, epoch_voter) as (replica, reactor):
        for number in range(count):
            member = Member(str(uuid.uuid4()), new_curve_keys())
            members.append(member)
            replica.propose(_membership(member, group, number), done)
        reactor.run_until(lambda: left == 0)
        assert replica.indexer.wait_for(replica.committed, _PATIENCE_S)
    return members


def _membership(member: Member, group: str, number: int) -> Batch:
    node = Node(
        uuid=member.uuid,
        name=f"simulated{number}.example.net",
        group=group,
        primary_ip=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        master_capable=False,
        vm_capable=False,
    )
    key = member.keys.public
    facts = (
        NodeInvited(node=node, ticket_key=key),
        NodeJoined(node=member.uuid, curve_key=key),
        NodeAdded(node=member.uuid),
    )
    admitted = KeyAdmitted(name=f"node:{member.uuid}", role="node", curve_key=key)
    drafts = [Draft(stream=f"node/{member.uuid}", event=fact, actor="bench") for fact in facts]
    return Batch(drafts=(*drafts, Draft(stream=STREAM, event=admitted, actor="bench")))


def measure(
    cluster: Cluster, members: list[Member], subscribers: int, jobs: int, idle_s: float
) -> list[Figure]:
    """Let them join, be quiet, then follow what jobs write."""
    reactor = Reactor()
    client = cluster.async_client(reactor)
    voters, keys = client.voters, load_curve_keys(cluster.layout.operator_key)
    with LogView(cluster.layout.master / "log") as view:
        behind = view.records(view.head, view.head)[0]
        alone_mib = cluster.rss_mib(MASTER)
        parts = [members[at : at + _TOGETHER] for at in range(0, len(members), _TOGETHER)]
        agents = [Crowd(be_agents, voters, part) for part in parts]
        agents_s, agents_cpu_s = _watched(cluster, lambda: wait_for(agents))
        place = (behind.record.seq, behind.hash)
        sizes = [len(range(at, subscribers)[:_TOGETHER]) for at in range(0, subscribers, _TOGETHER)]
        followers = [Crowd(be_subscribers, voters, keys, size, place) for size in sizes]
        followers_s, followers_cpu_s = _watched(cluster, lambda: wait_for(followers))
        idle = _cpu_while(cluster, lambda: time.sleep(idle_s)) / idle_s
        before = view.head
        began = time.perf_counter()
        flight = Flight(client, jobs)
        cpu_s = _cpu_while(cluster, lambda: _work(reactor, flight, jobs, followers, view))
        took_s = time.perf_counter() - began
        records = view.head - before
        lost = sum(stored.record.kind == NodeLost.KIND for stored in view.iterate(place[0]))
    figures = [
        Figure(f"{len(members)} agents promised after", agents_s, "s"),
        Figure("  CPU of the master for one", 1e3 * agents_cpu_s / len(members), "ms"),
        Figure(f"{subscribers} subscribers level after", followers_s, "s"),
        Figure("  CPU of the master for one", 1e3 * followers_cpu_s / subscribers, "ms"),
        Figure("memory of the master before", alone_mib, "MiB"),
        Figure("  with all of them", cluster.rss_mib(MASTER), "MiB"),
        Figure(f"CPU of the master, idle, over {idle_s:g} s", 100 * idle, "%"),
        Figure("agents taken for lost meanwhile", lost),
        Figure(f"{jobs} jobs: records committed", records),
        Figure("  records a second, each to all subscribers", records / took_s, "/s"),
        Figure("  deliveries", records * subscribers / took_s, "/s"),
        Figure("  CPU of the master for one delivery", 1e6 * cpu_s / records / subscribers, "us"),
    ]
    for crowd in (*agents, *followers):
        crowd.end()
    worst_s = _worst_answer(cluster)
    reactor.close()
    return [*figures, Figure("the slowest answer while all of them leave", 1e3 * worst_s, "ms")]


def _worst_answer(cluster: Cluster) -> float:
    """Ask again and again for a while; return how long the slowest answer took."""
    worst_s, until_s = 0.0, time.perf_counter() + _LEAVING_S
    with cluster.client() as client:
        while (began := time.perf_counter()) < until_s:
            client.call("head", timeout_s=_PATIENCE_S)
            worst_s = max(worst_s, time.perf_counter() - began)
    return worst_s


def _work(
    reactor: Reactor, flight: Flight, jobs: int, followers: Sequence[Crowd], view: LogView
) -> None:
    """Do the jobs, then wait until the last subscriber has their last record."""
    flight.start(_IN_FLIGHT)
    reactor.run_until(lambda: flight.ended == jobs)
    for crowd in followers:
        crowd.ask(view.head)
    wait_for(followers)


def _watched(cluster: Cluster, wait: Callable[[], None]) -> tuple[float, float]:
    began, cpu_s = time.perf_counter(), cluster.cpu_s(MASTER)
    wait()
    return time.perf_counter() - began, cluster.cpu_s(MASTER) - cpu_s


def _cpu_while(cluster: Cluster, work: Callable[[], None]) -> float:
    return _watched(cluster, work)[1]


class Crowd:
    """Many simulated clients in a process of their own."""

    def __init__(self, be: Callable[..., None], *arguments: object) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(target=be, args=(there, *arguments), daemon=True)
        self._process.start()

    def ask(self, seq: int) -> None:
        """Ask to be told when all have this record."""
        self._here.send(seq)

    def wait(self) -> None:
        """Wait for word."""
        assert self._here.poll(_PATIENCE_S), "the crowd is not through in time"
        self._here.recv()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def wait_for(crowds: Sequence[Crowd]) -> None:
    """Wait until all have said so."""
    for crowd in crowds:
        crowd.wait()


# --- in the crowds' processes ---------------------------------------------------------------------


def be_subscribers(
    pipe: Connection,
    voters: Sequence[Voter],
    keys: CurveKeys,
    count: int,
    place: tuple[int, bytes],
) -> None:
    """Follow the log `count` times from a place on; say when all are connected and level."""
    reactor = Reactor()
    seqs, heard, wanted = [place[0]] * count, [False] * count, [0]

    def tell() -> None:
        if wanted[0] >= 0 and all(heard) and min(seqs) >= wanted[0]:
            wanted[0] = -1
            pipe.send(min(seqs))

    def asked() -> None:
        wanted[0] = _heard(pipe, reactor)
        tell()

    def follow(number: int) -> None:
        def delivered(delivery: Delivery) -> None:
            seqs[number] = delivery.records[-1].record.seq
            tell()

        def reign(_reign: Reign) -> None:
            heard[number] = True
            tell()

        client = AsyncClient(reactor, voters, keys)
        Subscription(
            reactor, client, keys, Log(*place),
            on_delivery=delivered, on_error=_fail, on_reign=reign,
        )  # fmt: skip

    for number in range(count):
        reactor.call_later(number * _SPREAD_S, lambda n=number: follow(n))  # type: ignore[misc]  # mypy does not infer lambdas with defaults
    reactor.watch(pipe.fileno(), asked)
    reactor.run()


def be_agents(pipe: Connection, voters: Sequence[Voter], members: Sequence[Member]) -> None:
    """Be the agents of these nodes; say when all have promised."""
    reactor = Reactor()
    promised: set[str] = set()

    def join(member: Member) -> None:
        client = AsyncClient(reactor, voters, member.keys)

        def answered(_answer: Answer) -> None:
            promised.add(member.uuid)
            report(client, member)
            if len(promised) == len(members):
                pipe.send(len(promised))

        def reign(reign: Reign) -> None:
            if reign.leads:
                promise(Promised(node=member.uuid, gen=reign.epoch.gen, term=reign.epoch.term))

        def promise(body: Promised) -> None:
            client.call(
                "promise", body, timeout_s=60.0, key=f"promise/{member.uuid}",
                on_answer=answered, on_error=lambda _late: promise(body),
            )  # fmt: skip

        Subscription(
            reactor, client, member.keys, Streams({f"node/{member.uuid}": 0}),
            on_delivery=_ignore, on_error=_fail, on_reign=reign,
        )  # fmt: skip
        reactor.call_every(_STATUS_S, lambda: report(client, member))

    def report(client: AsyncClient, member: Member) -> None:
        status = NodeStatus(
            node=member.uuid, boot_id="b", memory_total_mib=1 << 16, memory_free_mib=1 << 15,
            memory_own_mib=512, disk_total_mib=1 << 20, disk_free_mib=1 << 19, cpus=8,
            cpu_sockets=2, cpu_nodes=2, simulated=True,
        )  # fmt: skip
        client.call(
            "status", status, timeout_s=_STATUS_S, key="", on_answer=_ignore, on_error=_ignore
        )

    for number, member in enumerate(members):
        reactor.call_later(number * _SPREAD_S, lambda m=member: join(m))  # type: ignore[misc]  # mypy does not infer lambdas with defaults
    reactor.watch(pipe.fileno(), lambda: _heard(pipe, reactor))
    reactor.run()


def _heard(pipe: Connection, reactor: Reactor) -> int:
    """Return what the bench asks for; if it is gone, end."""
    try:
        asked: int = pipe.recv()
    except EOFError:
        reactor.stop()
        return -1
    return asked


def _ignore(_what: object) -> None:
    pass


def _fail(error: EventStoreError) -> None:
    raise error


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)

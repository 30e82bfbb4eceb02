"""Voters as processes, each with a log on the disk and nothing above it: what appending costs.

A cluster is founded in this process and then started as processes of its own. Clients ask the
leader, over TCP with CURVE, to append a batch of values; the answer comes when it is committed.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

from eventstore.access.keyring import Keyring
from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import Voter
from eventstore.events import STREAM, KeyAdmitted
from eventstore.raft.state import Timing
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Event
from eventstore.replica import Committed, Outcome
from eventstore.serving.log_service import stamp_of
from eventstore.serving.server import ReplyTo, Request, RequestServer
from eventstore.voter.links import VoterLinks
from eventstore.voter.opening import open_quorum
from eventstore.wire.faults import RemoteError
from eventstore.wire.zap import ZapHandler
from tests.eventstore.quorum_lab import QuorumLab

_STREAMS = 64
_ROLES = ("operator",)


class Put(Event, frozen=True, kw_only=True):
    """A value was put."""

    KIND: ClassVar[str] = "bench.put"

    value: bytes


@contextmanager
def voters(
    directory: Path, *names: str, sync_delay_s: float = 0.0
) -> Iterator[tuple[list[Voter], CurveKeys, list[int]]]:
    """Give a running cluster: its voters, keys to ask it with, and their pids.

    `sync_delay_s` is added to each of its syncs: as if each voter had a slow disk of its own.
    """
    keys = new_curve_keys()
    lab = QuorumLab(directory, timing=Timing())
    try:
        lab.found(*names)
        admitted = KeyAdmitted(name="operator:bench", role="operator", curve_key=keys.public)
        lab.commit(Batch(drafts=(Draft(stream=STREAM, event=admitted, actor="bench"),)))
        lab.until(lambda: len({m.replica.committed for m in lab.members.values()}) == 1)
        places = {m.name: (m.directory, m.keys, m.replication) for m in lab.members.values()}
    finally:
        lab.close()
    spawn = multiprocessing.get_context("spawn")
    processes, found = [], []
    try:
        for name, place in places.items():
            here, there = spawn.Pipe()
            process = spawn.Process(
                target=serve, args=(there, name, *place, sync_delay_s), daemon=True
            )
            process.start()
            processes.append(process)
            found.append(here.recv())
        yield found, keys, [process.pid or 0 for process in processes]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def serve(
    pipe: Connection,
    name: str,
    directory: Path,
    keys: CurveKeys,
    replication: str,
    sync_delay_s: float,
) -> None:
    """Be a voter that appends what it is asked to."""
    reactor = Reactor()
    zap = ZapHandler(reactor)
    replica = open_quorum(
        directory,
        voter=name,
        post=reactor.call_soon_threadsafe,
        call_at=reactor.call_at,
        sync_delay_s=sync_delay_s,
    )
    keyring = Keyring(stored.record for stored in replica.read(1, replica.committed))
    replica.on_committed(keyring.apply)
    links = VoterLinks(
        reactor, replication, keys=keys, zap=zap, places=replica.places, on_message=replica.receive
    )
    server = RequestServer(
        reactor, "tcp://127.0.0.1:*", keys=keys, keyring=keyring, zap=zap,
        stamp=lambda: stamp_of(replica), domain="requests",
    )  # fmt: skip

    def append(asked: Request, reply: ReplyTo) -> None:
        values = asked.decode(list[bytes])
        replica.propose(_batch(values), lambda outcome: _answer(reply, outcome))

    server.register("append", _ROLES, append)
    server.register("leads", _ROLES, lambda _asked, reply: reply.done(replica.leadership.ready))
    replica.start(links.send)
    pipe.send(
        Voter(
            name=name,
            requests_endpoint=server.endpoint,
            publish_endpoint="",
            curve_key=keys.public,
        )
    )
    reactor.run()


def _batch(values: Sequence[bytes]) -> Batch:
    drafts = (
        Draft(stream=f"s/{n % _STREAMS}", event=Put(value=value), actor="bench")
        for n, value in enumerate(values)
    )
    return Batch(drafts=tuple(drafts))


def _answer(reply: ReplyTo, outcome: Outcome) -> None:
    if isinstance(outcome, Committed):
        reply.done(outcome.records[-1].record.seq)
    else:
        reply.fail(RemoteError("failed", str(outcome)))

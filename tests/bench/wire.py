"""What a request and a publication cost, over TCP with CURVE, between two processes.

    python -m tests.bench.wire

CPU is that of all threads of a process, ZeroMQ's own included. The voter's log is in memory: this
measures the wire, not the disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import Answer, AsyncClient, Client, Voter
from eventstore.clients.following import Follower, Log, Streams
from eventstore.clients.subscriber import Delivery, Subscription
from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.serving.server import ReplyTo, Request
from eventstore.wire import frames
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import CLUSTER, WireVoter

_ROLES = ("operator",)
_BODY = {"ops": ["x" * 100], "priority": 0}
_IN_FLIGHT = 64


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--subscribers", type=int, default=10)
    options = parser.parse_args()
    keys = new_curve_keys()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, keys), daemon=True)
    process.start()
    voter: Voter = here.recv()
    try:
        one_at_a_time(voter, keys, options.requests)
        many_in_flight(voter, keys, options.requests)
        publications(voter, keys, options.records, options.subscribers)
    finally:
        process.terminate()
        process.join()


def serve(pipe: Connection, keys: CurveKeys) -> None:
    """Be the voter: `echo`, `cpu` (seconds so far), and `commit` (so many records, one a turn)."""
    reactor = Reactor()
    voter = WireVoter(reactor, ZapHandler(reactor))
    voter.replica.append_event(
        STREAM, KeyAdmitted(name="operator:bench", role="operator", curve_key=keys.public)
    )

    def commit(asked: Request, reply: ReplyTo) -> None:
        count, streams, per_turn = asked.decode(tuple[int, int, int])
        data = frames.encode(b"x" * 300)
        left = count

        def turn() -> None:
            nonlocal left
            for _ in range(min(per_turn, left)):
                voter.replica.append(f"node/{left % streams}", data=data)
                left -= 1
            if left:
                reactor.call_soon(turn)

        turn()
        reply.done()

    voter.server.register("echo", _ROLES, lambda asked, reply: reply.done(asked.body))
    voter.server.register("cpu", _ROLES, lambda _asked, reply: reply.done(time.process_time()))
    voter.server.register("commit", _ROLES, commit)
    pipe.send(voter.voter)
    reactor.run()


class Meter:
    """CPU and wall time of both processes, from here to `stop`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._theirs = client.call("cpu").decode(float)
        self._ours = time.process_time()
        self._start = time.perf_counter()

    def stop(self) -> tuple[float, float, float]:
        """Return seconds: wall, CPU of this process, CPU of the voter."""
        wall, ours = time.perf_counter() - self._start, time.process_time() - self._ours
        return wall, ours, self._client.call("cpu").decode(float) - self._theirs


def one_at_a_time(voter: Voter, keys: CurveKeys, count: int) -> None:
    """Round trips, one after the other."""
    with Client([voter], keys) as client:
        client.call("echo", _BODY)
        meter, times = Meter(client), []
        for _ in range(count):
            start = time.perf_counter()
            client.call("echo", _BODY)
            times.append(time.perf_counter() - start)
        _wall, ours, theirs = meter.stop()
    quantiles = statistics.quantiles(times, n=100)
    print(
        f"request, one at a time: p50 {quantiles[49] * 1e6:.0f} us,"
        f" p99 {quantiles[98] * 1e6:.0f} us;"
        f" CPU client {ours / count * 1e6:.0f} us, voter {theirs / count * 1e6:.0f} us"
    )


def many_in_flight(voter: Voter, keys: CurveKeys, count: int) -> None:
    """Requests with 64 in flight."""
    reactor = Reactor()
    with Client([voter], keys, reactor=reactor) as gauge:
        client = AsyncClient(reactor, [voter], keys)
        asked = answered = 0

        def ask() -> None:
            nonlocal asked
            asked += 1
            client.call("echo", _BODY, timeout_s=60, on_answer=on_answer, on_error=_fail)

        def on_answer(_answer: Answer) -> None:
            nonlocal answered
            answered += 1
            if asked < count:
                ask()

        meter = Meter(gauge)
        for _ in range(_IN_FLIGHT):
            ask()
        reactor.run_until(lambda: answered == count)
        wall, ours, theirs = meter.stop()
    reactor.close()
    print(
        f"requests, {_IN_FLIGHT} in flight: {count / wall:.0f}/s;"
        f" CPU client {ours / count * 1e6:.0f} us, voter {theirs / count * 1e6:.0f} us"
    )


def publications(voter: Voter, keys: CurveKeys, count: int, subscribers: int) -> None:
    """Records to followers of the whole log, and to followers of one stream each."""
    whole = [Log.from_start(CLUSTER) for _ in range(subscribers)]
    _publish("whole log, 8 a turn", voter, keys, whole, (count, subscribers, 8), count)
    one_each = [Streams({f"node/{n}": 0}) for n in range(subscribers)]
    _publish(
        "a stream each, 1 a turn", voter, keys, one_each, (count, subscribers, 1),
        count // subscribers,
    )  # fmt: skip


def _publish(
    what: str,
    voter: Voter,
    keys: CurveKeys,
    followers: Sequence[Follower],
    order: tuple[int, int, int],
    each: int,
) -> None:
    reactor = Reactor()
    got = [0] * len(followers)
    with Client([voter], keys, reactor=reactor) as gauge:
        asking = AsyncClient(reactor, [voter], keys)
        for n, follower in enumerate(followers):
            Subscription(
                reactor, asking, keys, follower, on_error=_fail, on_delivery=_counter(got, n)
            )
        reactor.run_until(lambda: False, timeout_s=1.5)  # heartbeats: everyone is subscribed
        before = list(got)
        meter = Meter(gauge)
        gauge.call("commit", order)
        reactor.run_until(lambda: all(g - b >= each for g, b in zip(got, before, strict=True)))
        wall, ours, theirs = meter.stop()
    reactor.close()
    messages = each * len(followers)
    print(
        f"published, {len(followers)} x {what}: {messages / wall:.0f} records delivered/s;"
        f" CPU per delivery subscriber {ours / messages * 1e6:.1f} us,"
        f" voter {theirs / messages * 1e6:.1f} us"
    )


def _counter(got: list[int], n: int) -> Callable[[Delivery], None]:
    def count(delivery: Delivery) -> None:
        got[n] += len(delivery.records)

    return count


def _fail(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()

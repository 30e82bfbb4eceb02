"""Appending to three voters beside etcd with three members: same machine, disk, run, value size.

    python -m tests.bench.etcd [--seconds S] [--rounds N] [--value BYTES]

Both are asked over TCP, both answer when a majority has synced. etcd is asked through its JSON
gateway by connections that are kept open (its gRPC port needs a client that is not at hand), each
with a request made beforehand; here it is our own protocol, encrypted, by our own client. What the
client uses is shown apart: where both cores are busy it is time that the servers do not get.

Rounds take turns, in one order and then in the other, so that all have the same disk and the same
neighbours. A round ends when its servers are quiet again, so that nobody pays for what another put
off (an index, a checkpoint); that counts as CPU of the round, not as its time. What is shown is the
median of the rounds. Needs Debian's etcd-server.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from eventstore.access.keys import CurveKeys
from eventstore.clients.client import Answer, AsyncClient, Voter
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor
from tests.bench.bench_voter import voters
from tests.bench.cluster import TICK_S, cpu_of

MEMBERS = ("v1", "v2", "v3")
_PATIENCE_S = 30.0
_LOOK_S = 0.25  # how often to look whether servers are quiet ...
_QUIET_S = 3 * TICK_S  # ... and what they may use meanwhile: heartbeats


class Load(NamedTuple):
    """How it is asked: requests under way at a time, operations in each."""

    name: str
    in_flight: int
    operations: int


LOADS = (
    Load("one at a time", 1, 1),
    Load("64 single requests in flight", 64, 1),
    Load("100 operations a request, 8 in flight", 8, 100),
)


class Seen(NamedTuple):
    """What a round showed."""

    per_second: float  # operations
    p50_ms: float  # of a request
    p99_ms: float
    cpu_us: float  # of all servers, for one operation
    client_us: float  # of the client


Ask = Callable[[Load, float], list[float]]  # for so many seconds -> seconds of each request


@dataclass
class Side:
    """One of those compared."""

    name: str
    pids: list[int]
    ask: Ask
    seen: dict[str, list[Seen]] = field(default_factory=dict)

    def round(self, load: Load, seconds: float) -> None:
        """Ask for some seconds and note what was seen."""
        cpu_s, client_s, began = self._cpu_s(), time.process_time(), time.perf_counter()
        times = sorted(self.ask(load, seconds))
        took_s, client_s = time.perf_counter() - began, time.process_time() - client_s
        operations = len(times) * load.operations
        cpu_us, client_us = (1e6 * s / operations for s in (self._settled_s() - cpu_s, client_s))
        middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
        found = Seen(operations / took_s, 1e3 * middle, 1e3 * late, cpu_us, client_us)
        self.seen.setdefault(load.name, []).append(found)

    def _cpu_s(self) -> float:
        return sum(map(cpu_of, self.pids))

    def _settled_s(self) -> float:
        """Wait until the servers are quiet; return what they have used so far."""
        used_s, before_s, deadline = self._cpu_s(), -1.0, time.monotonic() + _PATIENCE_S
        while used_s - before_s > _QUIET_S and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            before_s, used_s = used_s, self._cpu_s()
        return used_s

    def median(self, load: Load) -> Seen:
        """Return the median of each figure over the rounds."""
        rounds = self.seen[load.name]
        return Seen(*(statistics.median(each) for each in zip(*rounds, strict=True)))


def main() -> int:
    """Measure, and print a table with ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--value", type=int, default=256, help="bytes")
    options = parser.parse_args()
    if shutil.which("etcd") is None:
        print("etcd is not installed (Debian: etcd-server): nothing to compare with")
        return 1
    value = os.urandom(options.value)
    with (
        tempfile.TemporaryDirectory(prefix="cairn-etcd-") as place,
        etcd(Path(place) / "etcd") as (leader, etcd_pids),
        voters(Path(place) / "three", *MEMBERS) as (three, three_keys, three_pids),
        voters(Path(place) / "one", MEMBERS[0]) as (one, one_keys, one_pids),
    ):
        sides = [
            Side("3 voters", three_pids, partial(ask_us, three, three_keys, value)),
            Side("etcd, 3", etcd_pids, partial(ask_etcd, leader, value)),
            Side("1 voter", one_pids, partial(ask_us, one, one_keys, value)),
        ]
        for side in sides:
            side.ask(LOADS[1], 1.0)  # warms up
        for number in range(options.rounds):
            for load in LOADS:
                for side in reversed(sides) if number % 2 else sides:
                    side.round(load, options.seconds)
    show(sides, options.value)
    return 0


def show(sides: Sequence[Side], value: int) -> None:
    """Print what was seen, and how the first compares with the others."""
    title = f"values of {value} bytes, medians; one disk, {os.cpu_count()} cores"
    table = Table("", "", "op/s", "p50 ms", "p99 ms", "CPU us/op", "client us/op", title=title)
    for load in LOADS:
        for side in sides:
            seen = side.median(load)
            cells = (f"{seen.per_second:,.0f}", f"{seen.p50_ms:.2f}", f"{seen.p99_ms:.2f}")
            cpu = (f"{seen.cpu_us:.0f}", f"{seen.client_us:.0f}")
            table.add_row(load.name, side.name, *cells, *cpu)
        ours = sides[0].median(load)
        for other in sides[1:]:
            theirs = other.median(load)
            rate, wait = ours.per_second / theirs.per_second, ours.p50_ms / theirs.p50_ms
            ratio = f"{sides[0].name} / {other.name}"
            table.add_row("", ratio, f"x {rate:.2f}", f"x {wait:.2f}", "", "", "")
        table.add_section()
    Console(width=120).print(table)


# --- our side -------------------------------------------------------------------------------------


def ask_us(
    found: Sequence[Voter], keys: CurveKeys, value: bytes, load: Load, seconds: float
) -> list[float]:
    """Append at the leader; return how long each request took."""
    reactor = Reactor()
    client = AsyncClient(reactor, found, keys, prefer=_leader(reactor, found, keys))
    body, times = [value] * load.operations, list[float]()
    under_way, until = 0, time.perf_counter() + seconds

    def ask() -> None:
        nonlocal under_way
        began = time.perf_counter()
        if began >= until:
            return
        under_way += 1
        client.call(
            "append",
            body,
            timeout_s=_PATIENCE_S,
            key=f"{began}",
            on_answer=lambda _answer: answered(began),
            on_error=_fail,
        )

    def answered(began: float) -> None:
        nonlocal under_way
        times.append(time.perf_counter() - began)
        under_way -= 1
        ask()

    for _ in range(load.in_flight):
        ask()
    reactor.run_until(lambda: not under_way)
    reactor.close()
    return times


def _leader(reactor: Reactor, found: Sequence[Voter], keys: CurveKeys) -> str:
    """Wait until one of the voters leads; return its name."""
    leading: list[str] = []
    client = AsyncClient(reactor, found, keys)

    def heard(answer: Answer) -> None:
        if answer.decode(bool):
            leading.append(answer.voter)

    deadline = time.monotonic() + _PATIENCE_S
    while not leading and time.monotonic() < deadline:
        for voter in found:
            client.call(
                "leads", timeout_s=1.0, on_answer=heard, on_error=lambda _: None, voter=voter.name
            )
        reactor.run_until(lambda: bool(leading), timeout_s=0.5)
    client.close()
    assert leading, "nobody leads"
    return leading[0]


def _fail(error: EventStoreError) -> None:
    raise error


# --- etcd -----------------------------------------------------------------------------------------


@contextmanager
def etcd(directory: Path) -> Iterator[tuple[int, list[int]]]:
    """Run three members; give the client's port of the leader, and the pids."""
    directory.mkdir(parents=True)
    ports = {name: (_free_port(), _free_port()) for name in MEMBERS}
    peers = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, (_, peer) in ports.items())
    running = []
    try:
        for name, (client, peer) in ports.items():
            command = [
                "etcd", "--name", name, "--data-dir", str(directory / name),
                "--listen-client-urls", f"http://127.0.0.1:{client}",
                "--advertise-client-urls", f"http://127.0.0.1:{client}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-cluster", peers, "--initial-cluster-state", "new",
                "--log-level", "error",
            ]  # fmt: skip
            with (directory / f"{name}.out").open("wb") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=out))
        leader = _etcd_leader([client for client, _ in ports.values()])
        yield leader, [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _etcd_leader(ports: Sequence[int]) -> int:
    """Wait until the members have a leader; return its client's port."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for port in ports:
            try:
                status = _post(port, "/v3/maintenance/status", {})
            except (urllib.error.URLError, ConnectionError):
                continue
            if status.get("leader", "0") == status["header"]["member_id"]:
                return port
        time.sleep(0.1)
    raise TimeoutError("etcd has no leader")


def _post(port: int, path: str, body: object) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def ask_etcd(port: int, value: bytes, load: Load, seconds: float) -> list[float]:
    """Put at the leader, by as many connections as are in flight; return how long each took."""
    times: list[float] = []
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        asking: dict[int, _Connection] = {}
        until = time.perf_counter() + seconds
        for number in range(load.in_flight):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asking[opened.fileno()] = _Connection(opened, _etcd_request(value, load, number))
            poll.register(opened, select.EPOLLIN)
        for connection in asking.values():
            connection.ask()
        while asking:
            ready = poll.poll(_PATIENCE_S)
            assert ready, "etcd does not answer"
            for fd, _ in ready:
                if not asking[fd].answered():
                    continue
                times.append(time.perf_counter() - asking[fd].began)
                if time.perf_counter() < until:
                    asking[fd].ask()
                else:
                    poll.unregister(fd)
                    del asking[fd]
    return times


@dataclass
class _Connection:
    """One that is kept open, with one request under way at a time."""

    socket: socket.socket
    request: bytes
    began: float = 0.0
    answer: bytes = b""

    def ask(self) -> None:
        """Send the request, again."""
        self.began, self.answer = time.perf_counter(), b""
        self.socket.sendall(self.request)

    def answered(self) -> bool:
        """Take what has come; say whether the answer is whole."""
        received = self.socket.recv(1 << 16)
        assert received, "etcd closed the connection"
        self.answer += received
        head, _, body = self.answer.partition(b"\r\n\r\n")
        if not body:
            return False
        assert head.startswith(b"HTTP/1.1 200"), head
        if b"chunked" in head:
            return body.endswith(b"\r\n0\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        return len(body) >= int(length)


def _etcd_request(value: bytes, load: Load, number: int) -> bytes:
    """Return the HTTP request that a connection sends again and again."""
    puts = [
        {"key": _base64(f"s/{(number + n) % 1000}".encode()), "value": _base64(value)}
        for n in range(load.operations)
    ]
    if load.operations == 1:
        path, body = "/v3/kv/put", json.dumps(puts[0])
    else:
        path = "/v3/kv/txn"
        body = json.dumps({"success": [{"requestPut": put} for put in puts]})
    return (
        f"POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())

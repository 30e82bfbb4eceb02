"""A voter with real sockets over a log in memory, on a reactor that the test turns."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import msgspec
import pytest
import zmq

from eventstore import codec
from eventstore.access.keyring import Keyring
from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import AsyncClient, Client, Voter
from eventstore.events import STREAM, KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.record import (
    FORMAT,
    Batch,
    Epoch,
    Event,
    Record,
    Stored,
    chain_hash,
    genesis_hash,
)
from eventstore.replica import Leadership, Outcome
from eventstore.serving.log_service import LogService, stamp_of
from eventstore.serving.publisher import Publisher
from eventstore.serving.server import RequestServer
from eventstore.wire.zap import ZapHandler

CLUSTER = "6f1f3f0e-0000-4000-8000-000000000001"


class MemoryReplica:
    """A Replica whose batches are committed as soon as the test appends them."""

    cluster_id = CLUSTER

    def __init__(self, name: str = "v1", *, like: MemoryReplica | None = None) -> None:
        self.log: list[Stored] = like.log if like is not None else []
        self._streams: dict[str, list[Stored]] = like._streams if like is not None else {}
        self.leadership = Leadership(Epoch(1, 1), name, here=True, ready=True)
        self._committed: list[Callable[[Sequence[Stored]], None]] = []
        self._leadership: list[Callable[[Leadership], None]] = []

    @property
    def committed(self) -> int:
        return len(self.log)

    def on_committed(self, callback: Callable[[Sequence[Stored]], None]) -> None:
        self._committed.append(callback)

    def on_leadership(self, callback: Callable[[Leadership], None]) -> None:
        self._leadership.append(callback)

    def read(self, first: int, last: int) -> Sequence[Stored]:
        return self.log[first - 1 : last]

    def version(self, stream: str) -> int:
        return len(self._streams.get(stream, ()))

    def read_stream(self, stream: str, first: int, limit: int) -> Sequence[Stored]:
        return self._streams.get(stream, [])[first - 1 : first - 1 + limit]

    def propose(self, batch: Batch, done: Callable[[Outcome], None]) -> None:
        raise NotImplementedError("tests append")

    def append(self, *streams: str, data: bytes = b"\xc0") -> tuple[Stored, ...]:
        """Commit a batch with a record for each stream named."""
        return self._append([(stream, "test.happened", data) for stream in streams])

    def append_event(self, stream: str, event: Event) -> tuple[Stored, ...]:
        """Commit one event."""
        return self._append([(stream, event.KIND, bytes(codec.encode_event(event)))])

    def lead(self, leadership: Leadership) -> None:
        """Change who leads."""
        self.leadership = leadership
        for callback in self._leadership:
            callback(leadership)

    def _append(self, drafts: list[tuple[str, str, bytes]]) -> tuple[Stored, ...]:
        batch = []
        for index, (stream, kind, data) in enumerate(drafts):
            batch.append(self._store(stream, kind, data, index, len(drafts)))
        for callback in self._committed:
            callback(tuple(batch))
        return tuple(batch)

    def _store(self, stream: str, kind: str, data: bytes, index: int, count: int) -> Stored:
        seq = len(self.log) + 1
        record = Record(
            FORMAT, seq, *self.leadership.epoch, seq << 16, seq.to_bytes(16), kind, 1, stream,
            self.version(stream) + 1, "operator:test", "v1", None, None, None,
            msgspec.Raw(data), index, count,
        )  # fmt: skip
        encoded = codec.encode_record(record)
        previous = self.log[-1].hash if self.log else genesis_hash(CLUSTER)
        stored = Stored(record, encoded, chain_hash(previous, encoded))
        self.log.append(stored)
        self._streams.setdefault(stream, []).append(stored)
        return stored


class WireVoter:
    """Reactor, keyring, request server and publisher over a MemoryReplica."""

    def __init__(
        self,
        reactor: Reactor,
        zap: ZapHandler,
        name: str = "v1",
        replica: MemoryReplica | None = None,
    ) -> None:
        self.reactor = reactor
        self.name = name
        self.replica = replica if replica is not None else MemoryReplica(name)
        self.keys = new_curve_keys()
        self.keyring = Keyring(stored.record for stored in self.replica.log)
        self.replica.on_committed(self.keyring.apply)
        self._zap = zap
        self.open("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")

    def open(self, requests: str, publications: str) -> None:
        """Start serving."""
        self.server = RequestServer(
            self.reactor, requests, keys=self.keys, keyring=self.keyring, zap=self._zap,
            stamp=lambda: stamp_of(self.replica), domain=f"requests.{self.name}",
        )  # fmt: skip
        self.publisher = Publisher(
            self.reactor, publications, keys=self.keys, keyring=self.keyring, zap=self._zap,
            replica=self.replica, voter=self.name, domain=f"publish.{self.name}",
        )  # fmt: skip
        LogService(self.replica, self.replica, voter=self.name).register(self.server)

    def close(self) -> None:
        """Stop serving, as a daemon that ends: when this returns its ports are free."""
        for serving in (self.server, self.publisher):
            serving.close()
            port = int(serving.endpoint.rpartition(":")[2])
            while not _is_free(port):  # ZeroMQ closes a listener on its own thread
                self.reactor.run_until(lambda: False, timeout_s=0.005)

    @property
    def voter(self) -> Voter:
        return Voter(
            name=self.name,
            requests_endpoint=self.server.endpoint,
            publish_endpoint=self.publisher.endpoint,
            curve_key=self.keys.public,
        )

    def admit(self, name: str = "operator:alice", role: str = "operator") -> CurveKeys:
        """Admit a new key, by a record."""
        keys = new_curve_keys()
        self.replica.append_event(STREAM, KeyAdmitted(name=name, role=role, curve_key=keys.public))
        return keys

    def revoke(self, keys: CurveKeys) -> None:
        """Revoke a key, by a record."""
        self.replica.append_event(STREAM, KeyRevoked(curve_key=keys.public))

    def client(self, keys: CurveKeys | None = None) -> Client:
        """Return a client whose waiting turns this voter's reactor too."""
        return Client([self.voter], keys or self.admit(), reactor=self.reactor)

    def async_client(self, keys: CurveKeys | None = None) -> AsyncClient:
        return AsyncClient(self.reactor, [self.voter], keys or self.admit())


def unexpected(what: object) -> None:
    """Fail: the callback that must not be called."""
    pytest.fail(f"called with {what!r}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def new_reactor() -> Reactor:
    """Return a reactor with a ZeroMQ context, and so a ZAP endpoint, of its own."""
    return Reactor(context=zmq.Context())


def close_reactor(reactor: Reactor) -> None:
    """Close all that lives on it, and check that every socket was closed."""
    reactor.close()
    reactor.context.destroy(linger=0)

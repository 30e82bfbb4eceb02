"""A subscriber written from docs/wire-protocol.md alone: nothing of `eventstore` is used in it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it has no stubs
import msgspec
import pytest
import zmq

from eventstore.clients.client import Voter

pytestmark = pytest.mark.acceptance


class Auditor:
    """Follows the whole log by section 6 of the document, with pyzmq, msgpack and hashlib."""

    def __init__(self, requests: str, publications: str, voter_key: str, keys: Any) -> None:
        self.context = zmq.Context()
        self.publications = self._socket(zmq.SUB, voter_key, keys)
        for topic in (b"\x2a\x00", b"\x68\x62\x00"):
            self.publications.subscribe(topic)
        self.publications.connect(publications)
        self.requests = self._socket(zmq.DEALER, voter_key, keys)
        self.requests.connect(requests)
        self.ids = 0
        self.fetches = 0
        self.records: list[list[Any]] = []
        self.seq, self.hash = 0, b""

    def _socket(self, kind: int, voter_key: str, keys: Any) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self.context.socket(kind)
        socket.curve_publickey, socket.curve_secretkey = keys
        socket.curve_serverkey = voter_key.encode()
        socket.linger = 0
        socket.rcvtimeo = 10_000
        return socket

    def ask(self, kind: str, body: Any) -> Any:
        self.ids += 1
        self.requests.send(msgpack.packb([1, self.ids, kind, 5000, None, body]))
        _v, got_id, status, _gen, _term, _leads, _as_of, reply = msgpack.unpackb(
            self.requests.recv()
        )
        assert (got_id, status) == (self.ids, 0), reply
        return reply

    def start(self) -> None:
        cluster_id = self.ask("head", None)[0]
        self.hash = hashlib.sha256(b"\x02" + cluster_id.encode()).digest()
        self.fetch()

    def fetch(self) -> None:
        self.fetches += 1
        more = True
        while more:
            records, more = self.ask("range", [self.seq + 1])
            self.take(records)

    def take(self, pairs: list[Any]) -> None:
        for encoded, digest in pairs:
            record = msgpack.unpackb(encoded)
            if record[1] != self.seq + 1:
                continue
            assert digest == hashlib.sha256(b"\x02" + self.hash + encoded).digest()
            self.seq, self.hash = record[1], digest
            self.records.append(record)

    def follow(self, until: int, *, lose: int = 0) -> None:
        """Take publications up to a seq; the first `lose` of them get lost."""
        while self.seq < until:
            topic, *rest = self.publications.recv_multipart()
            if topic == b"hb\x00":
                head = msgpack.unpackb(rest[0])[6]
                if head > self.seq:
                    self.fetch()
            elif lose:
                lose -= 1
            else:
                header, body = msgpack.unpackb(rest[0]), msgpack.unpackb(rest[1])
                if header[4] > self.seq + 1:
                    self.fetch()
                self.take(body)

    def close(self) -> None:
        self.publications.close()
        self.requests.close()
        self.context.term()


@pytest.fixture
def auditor() -> Iterator[Auditor]:
    public, secret = zmq.curve_keypair()
    command = [sys.executable, "-m", "tests.eventstore.wire_child", "v1", public.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        voter = msgspec.json.decode(process.stdout.readline(), type=Voter)
        auditor = Auditor(
            voter.requests_endpoint, voter.publish_endpoint, voter.curve_key, (public, secret)
        )
        yield auditor
        auditor.close()
        process.kill()


def test_a_subscriber_written_from_the_document_gets_the_log(auditor: Auditor) -> None:
    """The whole log arrives once, in order and verified: what was there, what is committed later,
    and what was published and lost."""
    auditor.ask("commit", 700)
    auditor.start()
    assert auditor.seq == 1401
    auditor.ask("commit", 100)
    auditor.follow(1601)
    before = auditor.fetches
    auditor.ask("commit", 100)
    auditor.follow(1801, lose=1)
    assert auditor.fetches > before
    assert [record[1] for record in auditor.records] == list(range(1, 1802))
    versions: dict[str, int] = {}
    for record in auditor.records:
        versions[record[8]] = versions.get(record[8], 0) + 1
        assert record[9] == versions[record[8]]

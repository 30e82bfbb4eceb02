"""Clients without a key and frames that are none: a live master shrugs and goes on."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.access.keys import load_curve_keys, new_curve_keys, save_curve_keys
from eventstore.wire.frames import MAX_REQUEST_BYTES
from shell.config import ClientConfig
from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance

ANSWER_MS = 5000
NOISE = random.Random(1).randbytes(65_536)


@pytest.fixture(autouse=True)
def _the_master_stays(lab: LiveLab) -> Iterator[None]:
    """Whatever a test sends, the same daemon answers orders afterwards."""
    pid, head = lab.pid("master"), lab.head
    yield
    assert lab.pid("master") == pid, "the daemon went down"
    foreign = [s.record for s in lab.records(head + 1) if s.record.kind != "log.checkpoint"]
    assert foreign == [], "a stranger got something into the log"
    lab.ok("gnt-node list")


def config(lab: LiveLab) -> ClientConfig:
    return msgspec.json.decode(lab.layout.client.read_bytes(), type=ClientConfig)


@contextmanager
def dealer(lab: LiveLab, *, key: Path | None = None) -> Iterator[zmq.Socket[bytes]]:
    """Give a raw socket to the master's requests, with the operator's key unless another is."""
    keys = load_curve_keys(key or lab.layout.operator_key)
    (voter,) = config(lab).voters
    context = zmq.Context()
    raw = context.socket(zmq.DEALER)
    try:
        raw.setsockopt(zmq.LINGER, 0)
        raw.setsockopt(zmq.RCVTIMEO, ANSWER_MS)
        raw.curve_publickey = keys.public.encode()
        raw.curve_secretkey = keys.secret.encode()
        raw.curve_serverkey = voter.curve_key.encode()
        raw.connect(voter.requests)
        yield raw
    finally:
        raw.close()
        context.term()


def head_request(identity: int) -> bytes:
    return msgspec.msgpack.encode([1, identity, "head", 5000, None, None])


def with_key(lab: LiveLab, path: Path, key: Path) -> dict[str, str]:
    """Return an environment in which a command uses this key."""
    own = msgspec.structs.replace(config(lab), key_file=str(key), master=None)
    path.write_bytes(msgspec.json.encode(own))
    return {"CAIRN_CONFIG": str(path)}


def test_a_client_without_an_admitted_key_is_told_so(lab: LiveLab, tmp_path: Path) -> None:
    """A key that the cluster does not know: exit status 1 within seconds, and what would help."""
    save_curve_keys(tmp_path / "stranger.key", new_curve_keys())
    env = with_key(lab, tmp_path / "client.json", tmp_path / "stranger.key")
    for line in ("gnt-instance list", "gnt-cluster add-tags mine", "gnt-log tail"):
        ran = lab.run(line, env=env, within_s=30)
        assert ran.status == 1, str(ran)
        assert "key" in ran.err
        assert ran.hint, str(ran)


def test_a_client_whose_key_file_is_missing_or_broken_is_told_so(
    lab: LiveLab, tmp_path: Path
) -> None:
    """The file is named, and what it should be."""
    env = with_key(lab, tmp_path / "client.json", tmp_path / "none.key")
    ran = lab.run("gnt-instance list", env=env)
    assert (ran.status, "none.key" in ran.err, bool(ran.hint)) == (1, True, True), str(ran)
    (tmp_path / "none.key").write_text("{}")
    ran = lab.run("gnt-instance list", env=env)
    assert (ran.status, "none.key" in ran.err, bool(ran.hint)) == (1, True, True), str(ran)


def test_a_nodes_key_gives_no_orders(lab: LiveLab, tmp_path: Path) -> None:
    """An agent's key is admitted, but not for what an operator does."""
    key = next(lab.layout.agent("node2").glob("*.key"))
    env = with_key(lab, tmp_path / "client.json", key)
    ran = lab.run("gnt-cluster add-tags mine", env=env)
    assert ran.status == 1, str(ran)
    assert "node" in ran.err
    assert ran.hint, str(ran)


def test_the_operators_raw_socket_is_answered(lab: LiveLab) -> None:
    """What the tests below send differs from this only in what is wrong with it."""
    with dealer(lab) as raw:
        raw.send(head_request(7))
        assert msgspec.msgpack.decode(raw.recv())[:2] == [1, 7]


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\x00", b"\xc1", b"hello", NOISE[:1000], b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode([99, 1, "head", 1, None, None]),
        msgspec.msgpack.encode([1, 1, "no-such-kind", 1, None, None]),
        msgspec.msgpack.encode([1, 1, "submit", 1000, None, {"jobs": 5}]),
        msgspec.msgpack.encode([1, 1, "query", 1000, None, {"what": "instance", "fields": [[[]]]}]),
        msgspec.msgpack.encode({"v": 1}),
    ],
    ids=lambda frame: f"{len(frame)}-{frame[:6].hex()}",
)  # fmt: skip
def test_a_malformed_frame_harms_nobody(lab: LiveLab, frame: bytes) -> None:
    """The same connection is answered afterwards as if nothing had been."""
    with dealer(lab) as raw:
        raw.send(frame)
        raw.send_multipart([frame, frame, b""])
        raw.send(head_request(8))
        while (reply := msgspec.msgpack.decode(raw.recv()))[1] != 8:
            assert reply[0] == 1


def test_an_oversized_request_is_refused_by_name(lab: LiveLab) -> None:
    """Just above the limit it is answered with `too-large`; far above, the connection ends."""
    with dealer(lab) as raw:
        raw.send(msgspec.msgpack.encode([1, 9, "submit", 1000, None, bytes(MAX_REQUEST_BYTES)]))
        reply = msgspec.msgpack.decode(raw.recv())
        assert "too-large" in str(reply)
    with dealer(lab) as raw:
        raw.send(msgspec.msgpack.encode([1, 9, "submit", 1000, None, bytes(8 << 20)]))
        raw.send(head_request(10))  # on the connection that follows
        assert msgspec.msgpack.decode(raw.recv())[1] == 10


def test_bytes_that_are_no_zmq_harm_nobody(lab: LiveLab) -> None:
    """An HTTP request, noise, and a connection that says nothing, on both ports."""
    settings_ = lab.layout.load()
    for port in (settings_.requests_port, settings_.publications_port):
        for sent in (b"GET / HTTP/1.1\r\n\r\n", NOISE, b""):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                try:
                    plain.sendall(sent)
                    plain.shutdown(socket.SHUT_WR)
                    while plain.recv(4096):
                        pass
                except OSError:
                    continue  # the daemon hung up, as it should


def test_a_client_without_encryption_gets_no_answer(lab: LiveLab) -> None:
    """A socket with neither CURVE nor a name for itself never reaches the daemon's ears."""
    (voter,) = config(lab).voters
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    try:
        plain.setsockopt(zmq.LINGER, 0)
        refused = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED
        monitor = plain.get_monitor_socket(refused)
        plain.connect(voter.requests)
        with contextlib.suppress(zmq.Again):  # refused already: nobody is there to send to
            plain.send(head_request(1), zmq.NOBLOCK)
        assert monitor.poll(ANSWER_MS), "the handshake was not refused"
        assert not plain.poll(0)
    finally:
        plain.disable_monitor()
        context.destroy(linger=0)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20)
    | st.binary(max_size=20)
)  # fmt: skip
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)
KINDS = ("submit", "plan", "query", "names", "fields", "wait-job", "job-order", "digest", "join",
         "range", "promise", "task-result", "observed", "status", "head")  # fmt: skip


@pytest.mark.property
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(KINDS), body=ANYTHING)
def test_no_body_of_any_kind_of_request_brings_the_master_down(
    lab: LiveLab, wire: zmq.Socket[bytes], kind: str, body: Any
) -> None:
    """Each gets an answer, or an error with a code; the next request is answered all the same."""
    wire.send(msgspec.msgpack.encode([1, 11, kind, 200, None, body]))
    wire.send(head_request(12))
    while (reply := msgspec.msgpack.decode(wire.recv()))[1] != 12:
        assert reply[:2] == [1, 11]


@pytest.fixture
def wire(lab: LiveLab) -> Iterator[zmq.Socket[bytes]]:
    """A raw socket with the operator's key."""
    with dealer(lab) as raw:
        yield raw

"""Nobody gets in without a key that was admitted, and says so quickly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from eventstore.access.keys import new_curve_keys
from eventstore.clients.client import Client
from eventstore.errors import AccessDenied
from eventstore.events import STREAM, KeyAdmitted
from eventstore.reactor import Reactor
from eventstore.wire import sockets
from eventstore.wire.zap import ENDPOINT, InsecureServer, ZapHandler
from tests.eventstore.wire_voter import WireVoter, close_reactor, new_reactor

pytestmark = pytest.mark.acceptance


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


def test_the_self_test_passes_where_unknown_keys_are_refused(reactor: Reactor) -> None:
    """With a handler that admits nobody, the self-test is satisfied."""
    zap = ZapHandler(reactor)
    zap.serve("d", lambda _key: False)
    zap.self_test("d")


def test_the_self_test_fails_where_anyone_is_let_in(reactor: Reactor) -> None:
    """With a handler that admits everybody, the self-test raises InsecureServer."""
    zap = ZapHandler(reactor)
    zap.serve("d", lambda _key: True)
    with pytest.raises(InsecureServer):
        zap.self_test("d")


def test_without_a_handler_nobody_is_let_in(reactor: Reactor) -> None:
    """A serving socket in a process without a ZAP handler completes no handshake."""
    keys = new_curve_keys()
    server = sockets.request_server(reactor.context, keys, "d")
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = sockets.request_client(reactor.context, new_curve_keys(), keys.public)
    watching = sockets.monitor(client)
    client.connect(f"tcp://127.0.0.1:{port}")
    events: list[int] = []

    def note() -> None:
        while (happened := sockets.read_monitor(watching)) is not None:
            events.append(happened.event)

    reactor.watch(watching, note)
    assert reactor.run_until(lambda: zmq.EVENT_DISCONNECTED in events, timeout_s=10)
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in events
    reactor.unwatch(watching)
    sockets.close_monitored(client, watching)
    server.close(0)


def test_a_client_without_an_admitted_key_hears_it_at_once(reactor: Reactor) -> None:
    """AccessDenied, with the key and a hint, long before the call's time is over."""
    voter = WireVoter(reactor, ZapHandler(reactor))
    stranger = new_curve_keys()
    start = reactor.now()
    with pytest.raises(AccessDenied, match="does not admit") as denied:
        Client([voter.voter], stranger, reactor=reactor).call("head", timeout_s=60)
    assert stranger.public in str(denied.value)
    assert denied.value.hint
    assert reactor.now() - start < 5


def test_a_key_may_be_admitted_after_it_was_refused(reactor: Reactor) -> None:
    """The same client is let in once its key stands in the log."""
    voter = WireVoter(reactor, ZapHandler(reactor))
    keys = new_curve_keys()
    client = Client([voter.voter], keys, reactor=reactor)
    with pytest.raises(AccessDenied):
        client.call("head")
    voter.replica.append_event(
        STREAM, KeyAdmitted(name="node:4", role="node", curve_key=keys.public)
    )
    assert client.call("head").as_of == 1


@pytest.mark.parametrize(
    "question",
    [
        [b"1.0", b"1", b"d", b"127.0.0.1", b"", b"NULL"],
        [b"1.0", b"1", b"d", b"127.0.0.1", b"", b"PLAIN", b"user", b"password"],
        [b"1.0", b"1", b"d", b"127.0.0.1", b"", b"CURVE", b"short"],
        [b"1.0", b"1", b"another", b"127.0.0.1", b"", b"CURVE", b"x" * 32],
        [b"1.0", b"1", b"\xff\xfe", b"\xff", b"", b"CURVE", b"x" * 32],
        [b"9.9"],
    ],
    ids=["null", "plain", "short key", "other domain", "noise", "too few frames"],
)
def test_every_other_question_is_answered_no(reactor: Reactor, question: list[bytes]) -> None:
    """Whatever is not CURVE with a 32-byte key in a served domain gets status 400."""
    ZapHandler(reactor).serve("d", lambda _key: True)
    asking: sockets.Socket = reactor.context.socket(zmq.REQ)
    asking.connect(ENDPOINT)
    asking.send_multipart(question)
    answers: list[list[bytes]] = []
    reactor.watch(asking, lambda: answers.append(asking.recv_multipart()))
    assert reactor.run_until(lambda: bool(answers), timeout_s=5)
    assert answers[0][2] == b"400"
    reactor.unwatch(asking)
    asking.close(0)

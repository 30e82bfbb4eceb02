"""The thread between a publisher and its subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from eventstore.access.keys import CurveKeys
from eventstore.reactor import Reactor
from eventstore.serving.fan import Fan
from eventstore.wire import sockets
from eventstore.wire.zap import ZapHandler
from tests.eventstore.wire_voter import WireVoter, close_reactor, new_reactor

pytestmark = pytest.mark.acceptance

DOMAIN = "fan.test"
WITHIN_S = 10.0


class Network:
    """A fan on the loopback that admits a key, and subscribers of it."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        zap = ZapHandler(reactor)
        voter = WireVoter(reactor, zap)
        self._server, self._client = voter.keys, voter.admit("auditor:a", "auditor")
        zap.serve(DOMAIN, lambda key: key == self._client.public)
        self.told: list[bytes] = []
        self.fan = self.new_fan(self._server)
        self.endpoint = self.fan.listen("tcp://127.0.0.1:*")

    def new_fan(self, keys: CurveKeys) -> Fan:
        fan = Fan(self.reactor.context, keys, DOMAIN)
        self.reactor.watch(fan.inner, lambda: self.told.append(fan.inner.recv()))
        return fan

    def subscribe(self, topic: bytes) -> zmq.Socket[Any]:
        socket = sockets.subscriber(self.reactor.context, self._client, self._server.public)
        socket.subscribe(topic)
        socket.connect(self.endpoint)
        return socket

    def until_told(self, *told: bytes) -> None:
        assert self.reactor.run_until(lambda: self.told == list(told), timeout_s=WITHIN_S), (
            self.told
        )

    def close(self) -> None:
        if not self.fan.closed:
            self.reactor.unwatch(self.fan.inner)
            self.fan.close()


@pytest.fixture
def network() -> Iterator[Network]:
    reactor = new_reactor()
    network = Network(reactor)
    yield network
    network.close()
    close_reactor(reactor)


def test_it_tells_of_the_first_subscription_and_of_the_end_of_the_last(network: Network) -> None:
    """Between them nothing; what is fed meanwhile goes to both."""
    network.fan.start()
    one = network.subscribe(b"a\0")
    network.until_told(b"\1a\0")
    other = network.subscribe(b"a\0")
    beside = network.subscribe(b"b\0")
    network.until_told(b"\1a\0", b"\1b\0")
    # The second subscription to the same topic is told to nobody: feed until it has come.
    while not other.poll(10):
        network.fan.inner.send_multipart([b"a\0", b"x"])
    assert one.recv_multipart() == other.recv_multipart() == [b"a\0", b"x"]
    assert not beside.poll(0)
    one.close(0)
    other.close(0)
    network.until_told(b"\1a\0", b"\1b\0", b"\0a\0")
    beside.close(0)


@pytest.mark.parametrize("started", [True, False])
def test_closed_it_frees_its_address(network: Network, *, started: bool) -> None:
    """Whether it was started or not; closing it again does nothing."""
    if started:
        network.fan.start()
    network.close()
    network.fan.close()
    next_one = Fan(network.reactor.context, network._server, DOMAIN)

    def bound() -> bool:
        try:
            return next_one.listen(network.endpoint) == network.endpoint
        except zmq.ZMQError as failed:
            if failed.errno != zmq.EADDRINUSE:
                raise
            return False

    assert network.reactor.run_until(bound, timeout_s=WITHIN_S)
    next_one.close()

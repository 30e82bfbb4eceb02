"""Voters as processes that are killed and stopped, seen by a client in another one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from eventstore.access.keys import CurveKeys, new_curve_keys
from eventstore.clients.client import Client, Voter
from eventstore.errors import Unreachable
from eventstore.reactor import Reactor
from tests.eventstore.wire_voter import close_reactor, new_reactor

pytestmark = pytest.mark.acceptance


class Child:
    """A voter's process."""

    def __init__(self, name: str, keys: CurveKeys) -> None:
        command = [sys.executable, "-m", "tests.eventstore.wire_child", name, keys.public]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.voter = msgspec.json.decode(self.process.stdout.readline(), type=Voter)

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def keys() -> CurveKeys:
    return new_curve_keys()


@pytest.fixture
def children(keys: CurveKeys) -> Iterator[list[Child]]:
    children = [Child(name, keys) for name in ("v1", "v2")]
    yield children
    for child in children:
        child.end()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


def test_a_killed_voter_is_replaced_at_once(
    children: list[Child], keys: CurveKeys, reactor: Reactor
) -> None:
    """A voter that is killed with a request in hand, or between two, costs no timeout."""
    client = Client([child.voter for child in children], keys, reactor=reactor)
    assert client.call("who").decode(str) == "v1"
    reactor.call_later(0.1, lambda: children[0].signal(signal.SIGKILL))
    start = time.monotonic()
    with pytest.raises(Unreachable):
        client.call("hang", timeout_s=1.0)  # moves to v2, which is told to hang too
    assert client.call("who").decode(str) == "v2"
    assert time.monotonic() - start < 2.5


def test_a_stopped_voter_is_given_up_by_its_silence(
    children: list[Child], keys: CurveKeys, reactor: Reactor
) -> None:
    """A voter that is stopped (SIGSTOP) keeps its connections; ZMTP's heartbeats end them within
    four seconds, and another voter answers."""
    client = Client([child.voter for child in children], keys, reactor=reactor)
    assert client.call("who").decode(str) == "v1"
    children[0].signal(signal.SIGSTOP)
    start = time.monotonic()
    assert client.call("who", timeout_s=20, patience_s=None).decode(str) == "v2"
    assert time.monotonic() - start < 8


def test_a_voter_that_cannot_be_reached_is_unreachable_in_time(
    children: list[Child], keys: CurveKeys, reactor: Reactor
) -> None:
    """With every voter dead a call ends at its deadline, and says that nobody is connected."""
    for child in children:
        child.end()
    client = Client([child.voter for child in children], keys, reactor=reactor)
    start = time.monotonic()
    with pytest.raises(Unreachable, match=r"v1 \(not connected\), v2 \(not connected\)"):
        client.call("who", timeout_s=0.5)
    assert 0.4 < time.monotonic() - start < 2

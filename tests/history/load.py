"""Clients that work a cluster and note what they were told, until they are asked to stop (edge).

    python -m tests.history.load --config client.json --notes FILE --clients 8

Each client orders one small job after the other, each with a key of its own, and reads now and then
by way of a majority. An order whose outcome is unknown is repeated with its key until it is known,
as commands do it. On SIGTERM they finish what they have under way, or leave it unknown after
`_LAST_S`, and the process ends. A line with the count goes to stdout at each acknowledgement.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import msgspec

from commands.api import Confirmed, JobSpec, Submit
from commands.debug_ops.delay import TestDelay
from commands.opcode import pack
from eventstore.access.keys import CurveKeys, load_curve_keys
from eventstore.clients.async_client import Answer, AsyncClient
from eventstore.clients.client import Voter
from eventstore.errors import EventStoreError, Unreachable
from eventstore.reactor import Reactor
from shell.config import ClientConfig, Found
from shell.session import Session
from tests.history.notes import Notebook
from tests.history.submissions import digest_of_ops

_TRY_S = 8.0  # for an order, before its outcome counts as unknown and it is repeated
_READ_S = 5.0
_READ_EACH = 5  # orders
_AGAIN_S = 0.05
_LAST_S = 20.0
PREFIX = "load/"


class Worker:
    """One client: one order, or read, at a time."""

    def __init__(
        self, reactor: Reactor, notes: Path, name: str, voters: tuple[Voter, ...], keys: CurveKeys
    ) -> None:
        self.idle = False
        self.stopping = False
        self._reactor, self._name = reactor, name
        self._notes = Notebook(notes.with_name(f"{notes.name}.{name}"), name)
        self._client = AsyncClient(reactor, voters, keys)
        self._orders = self._reads = 0

    def go(self) -> None:
        """Take up the next thing."""
        if self.stopping:
            self.idle = True
        elif self._orders % _READ_EACH == _READ_EACH - 1:
            self._orders += 1
            self._read()
        else:
            self._orders += 1
            self._order(f"{PREFIX}{self._name}/{self._orders}")

    def close(self) -> None:
        """Leave everything as it is."""
        self._client.close()
        self._notes.close()

    def _order(self, key: str) -> None:
        op = pack(TestDelay(duration=0))
        self._notes.write("invoked", key, data=digest_of_ops([op]))

        def acked(answer: Answer) -> None:
            self._notes.write("acked", key, seq=answer.as_of)
            print(key, flush=True)
            self.go()

        def failed(error: EventStoreError) -> None:
            if isinstance(error, Unreachable):
                self._notes.write("unknown", key)
                self._reactor.call_later(_AGAIN_S, lambda: self._order(key))
            else:
                self._notes.write("refused", key)
                print(f"{key}: {error}", file=sys.stderr, flush=True)
                self._reactor.call_later(_AGAIN_S, self.go)

        body = Submit(jobs=(JobSpec(ops=(op,)),))
        self._client.call(
            "submit", body, timeout_s=_TRY_S, key=key, on_answer=acked, on_error=failed
        )

    def _read(self) -> None:
        self._reads += 1
        key = f"read {self._reads}"
        self._notes.write("asked", key)

        def answered(answer: Answer) -> None:
            self._notes.write("read", key, seq=answer.decode(Confirmed).seq)
            self.go()

        def failed(_error: EventStoreError) -> None:
            self._reactor.call_later(_AGAIN_S, self.go)

        self._client.call("confirm", timeout_s=_READ_S, on_answer=answered, on_error=failed)


def main() -> int:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True, help="each client adds its name")
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    config = msgspec.json.decode(options.config.read_bytes(), type=ClientConfig)
    session = Session(find_config=lambda: Found(options.config, config))
    keys = load_curve_keys(Path(config.key_file))
    reactor = Reactor()
    names = [f"{os.getpid()}-{number}" for number in range(options.clients)]
    workers = [Worker(reactor, options.notes, name, session.voters, keys) for name in names]

    def stop() -> None:
        for worker in workers:
            worker.stopping = True

    reactor.on_signal(signal.SIGTERM, stop)
    for worker in workers:
        worker.go()
    reactor.run_until(lambda: workers[0].stopping)
    reactor.run_until(lambda: all(worker.idle for worker in workers), timeout_s=_LAST_S)
    for worker in workers:
        worker.close()
    reactor.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

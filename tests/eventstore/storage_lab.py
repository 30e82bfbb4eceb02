"""A log in a temporary directory, and a reactor that runs what was posted when it is told to."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from eventstore.creation import create_log
from eventstore.record import Batch, Draft, Event, Stored
from eventstore.replica import Outcome
from eventstore.single import SingleVoter, open_single

CLUSTER = "11111111-2222-3333-4444-555555555555"
ORIGIN = "cairn.example.net/log"
START_MS = 1_700_000_000_000


class Happened(Event, frozen=True, kw_only=True):
    """Something happened."""

    KIND: ClassVar[str] = "test.happened"

    what: int = 0
    text: str = ""


class Lab:
    """One log, and the thread that uses it."""

    def __init__(self, directory: Path, *, first: Sequence[Draft] = ()) -> None:
        self.directory = directory
        self.now_ms = START_MS
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        if not (directory / "log.sqlite").exists():
            create_log(
                directory,
                cluster_id=CLUSTER,
                origin=ORIGIN,
                voter="v1",
                now_ms=self.now_ms,
                first=first,
            )

    def open(self, **options: Any) -> SingleVoter:
        """Open the log and wait until it leads. Options are those of `open_single`."""
        replica = open_single(
            self.directory,
            voter="v1",
            post=self._posted.put,
            now_ms=lambda: self.now_ms,
            **options,
        )
        self.run_until(lambda: replica.leadership.ready)
        return replica

    def run_until(self, holds: Callable[[], bool]) -> None:
        """Run what is posted, in order, until the condition holds."""
        while not holds():
            self._posted.get(timeout=20)()

    def run_posted(self) -> None:
        """Run what is posted already."""
        while not self._posted.empty():
            self._posted.get()()

    def post(self, callback: Callable[[], None]) -> None:
        """What a reactor gives to the log."""
        self._posted.put(callback)

    def ask(self, replica: SingleVoter, *batches: Batch) -> list[Outcome]:
        """Propose batches, pipelined, and return what became of each."""
        outcomes: dict[int, Outcome] = {}
        for number, asked in enumerate(batches):
            replica.propose(asked, lambda outcome, n=number: outcomes.__setitem__(n, outcome))  # type: ignore[misc]  # mypy does not infer lambdas with defaults
        self.run_until(lambda: len(outcomes) == len(batches))
        return [outcomes[number] for number in range(len(batches))]


def batch(
    *streams: str,
    key: str | None = None,
    expected: Mapping[str, int] | None = None,
    what: int = 0,
    text: str = "",
    actor: str = "operator:ann",
    job: int | None = None,
) -> Batch:
    """Return a batch with one event for each stream that is named."""
    drafts = tuple(
        Draft(stream=stream, event=Happened(what=what, text=text), actor=actor, key=key, job=job)
        for stream in streams
    )
    return Batch(drafts=drafts, expected=expected or {})


def fill(lab: Lab, count: int, *, streams: int = 3, **options: Any) -> list[Stored]:
    """Open the log, append `count` records one by one, close it; return all of its records."""
    replica = lab.open(**options)
    asked = [batch(f"s/{n % streams}", key=f"k{n}", what=n, job=n % 5) for n in range(count)]
    lab.ask(replica, *asked)
    records = list(replica.read(1, replica.committed))
    assert replica.indexer.wait_for(replica.committed, 20)
    replica.close()
    return records

"""A log in a temporary directory with one voter on it, and a reactor that turns when it is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from eventstore.raft.state import LAN, DiskState
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Event, Stored
from eventstore.replica import Outcome
from eventstore.storage.layout import Layout
from eventstore.voter.creation import create_log
from eventstore.voter.opening import open_quorum
from eventstore.voter.quorum import QuorumVoter
from eventstore.voter.storage import VoterStorage, open_voter

CLUSTER = "11111111-2222-3333-4444-555555555555"
ORIGIN = "cairn.example.net/log"
START_MS = 1_700_000_000_000
WITHIN_S = 20.0
HASTY = replace(LAN, retry_full_ms=5)
"""A full disk is tried again at once."""


class Happened(Event, frozen=True, kw_only=True):
    """Something happened."""

    KIND: ClassVar[str] = "test.happened"

    what: int = 0
    text: str = ""


class Lab:
    """One log, its voter, and the thread that uses it."""

    def __init__(self, directory: Path, *, first: Sequence[Draft] = ()) -> None:
        self.directory = directory
        self.now_ms = START_MS
        self.reactor = Reactor()
        weakref.finalize(self, self.reactor.close)
        if not (directory / "log.sqlite").exists():
            create_log(
                directory,
                cluster_id=CLUSTER,
                origin=ORIGIN,
                voter="v1",
                now_ms=self.now_ms,
                first=first,
            )

    def start(self, directory: Path | None = None, **options: Any) -> QuorumVoter:
        """Open the log and let its voter take part. Options are those of `open_quorum`."""
        replica = open_quorum(
            directory or self.directory,
            voter="v1",
            post=self.reactor.call_soon_threadsafe,
            call_at=self.reactor.call_at,
            now_ms=lambda: self.now_ms,
            **{"timing": HASTY, **options},
        )
        replica.start()
        return replica

    def open(self, **options: Any) -> QuorumVoter:
        """Start, and wait until it leads."""
        replica = self.start(**options)
        self.run_until(lambda: replica.leadership.ready)
        return replica

    def run_until(self, holds: Callable[[], bool]) -> None:
        """Turn until the condition holds."""
        assert self.reactor.run_until(holds, timeout_s=WITHIN_S), "it took too long"

    def ask(self, replica: QuorumVoter, *batches: Batch) -> list[Outcome]:
        """Propose batches, pipelined, and return what became of each."""
        outcomes: dict[int, Outcome] = {}
        for number, asked in enumerate(batches):
            replica.propose(asked, lambda outcome, n=number: outcomes.__setitem__(n, outcome))  # type: ignore[misc]  # mypy does not infer lambdas with defaults
        self.run_until(lambda: len(outcomes) == len(batches))
        return [outcomes[number] for number in range(len(batches))]

    def wait_for_retry(self, replica: QuorumVoter) -> None:
        """Wait until the voter would try again what found no room before."""
        self.run_until(lambda: not replica.core.voter.full)

    def wait_for_room(self, replica: QuorumVoter) -> None:
        """Wait until the voter has written again: what it tried just before may yet come back."""
        self.run_until(lambda: replica.core.voter.disk is not DiskState.FULL)


def open_alone(layout: Layout, *, cluster_id: str | None = None) -> VoterStorage:
    """Open the storage of a lone voter, as its start does, with the whole of its chain checked."""
    storage = open_voter(layout, cluster_id=cluster_id, whole=True)
    try:
        storage.check_alone()
    except BaseException:
        storage.close()
        raise
    return storage


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

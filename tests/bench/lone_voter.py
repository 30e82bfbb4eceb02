"""A log with its one voter and its reactor, as the master has them, and nothing above."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore.reactor import Reactor
from eventstore.voter.opening import open_quorum
from eventstore.voter.quorum import QuorumVoter


@contextmanager
def lone_voter(directory: Path, name: str) -> Iterator[tuple[QuorumVoter, Reactor]]:
    """Open the log in `directory`, which leads when this is entered; close it at the end."""
    reactor = Reactor()
    replica = open_quorum(
        directory, voter=name, post=reactor.call_soon_threadsafe, call_at=reactor.call_at
    )
    replica.start()
    reactor.run_until(lambda: replica.leadership.ready)
    try:
        yield replica, reactor
    finally:
        replica.close()
        reactor.close()

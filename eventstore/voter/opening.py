"""Opening a voter of a cluster, with the clocks and the end that a daemon gives it (edge)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eventstore.access.places import Places
from eventstore.errors import EventStoreError
from eventstore.events import VoterPlaced
from eventstore.faults import from_environment
from eventstore.raft.generations import TrustTakeover, trust_none
from eventstore.raft.state import Timing
from eventstore.storage.index_table import IndexTable
from eventstore.storage.indexer import Indexer
from eventstore.storage.layout import Layout
from eventstore.voter.creation import make_ballast
from eventstore.voter.quorum import QuorumVoter
from eventstore.voter.start import look_through
from eventstore.voter.storage import open_voter
from eventstore.voter.turns import CallAt, Post

# The writer's thread wants the interpreter back after each sync; at Python's 5 ms a reactor under
# load would add more to a commit than the disk does.
SWITCH_INTERVAL_S = 0.001
EXIT_STORAGE = 74  # EX_IOERR of sysexits.h


def end_process(error: EventStoreError) -> None:
    """Say why and leave at once: no cleanup that could write to a disk that failed."""
    print(f"cairn: the log's storage failed, leaving: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_STORAGE)


def wall_clock_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def boottime_s() -> float:
    """Return seconds on CLOCK_BOOTTIME: never goes back, and time in suspend counts (R15)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_quorum(
    directory: Path,
    *,
    voter: str,
    post: Post,
    call_at: CallAt,
    cluster_id: str | None = None,
    tables: Sequence[IndexTable] = (),
    now_ms: Callable[[], int] = wall_clock_ms,
    boot_s: Callable[[], float] = boottime_s,
    fatal: Callable[[EventStoreError], None] = end_process,
    verify_whole: bool = False,
    sync_delay_s: float = 0.0,
    sign_seed: bytes | None = None,
    ballast_bytes: int = 0,
    vfs: str = "",
    timing: Timing = Timing(),  # noqa: B008  # frozen
    seeds: Sequence[VoterPlaced] = (),
    trusts: TrustTakeover = trust_none,
) -> QuorumVoter:
    """Open the storage in `directory`; `start` then makes it take part.

    `post` runs a callable on the reactor's thread, from any thread; `call_at` runs one at a time on
    CLOCK_BOOTTIME. `tables` are added to the index. `sync_delay_s` is added to each sync, for
    measurements on a disk slower than this one. `sign_seed` is the Ed25519 seed with which
    checkpoints are signed; without it there are none. `seeds`: where other voters are, for one
    whose log does not say so yet. `trusts` says whether a takeover's record is good.

    Raises LogInUse, NotOurLog, CorruptLog (names the first bad seq), DiskFull, StorageFailed.
    """
    layout = Layout(directory)
    fault = from_environment()
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
    storage = open_voter(layout, cluster_id=cluster_id, whole=verify_whole, vfs=vfs)
    try:
        make_ballast(layout, ballast_bytes)
        found = look_through(storage, Indexer(layout, tables, fatal=fatal), voter, Places(seeds))
        return QuorumVoter(
            found,
            voter=voter,
            post=post,
            call_at=call_at,
            boot_s=boot_s,
            now_ms=now_ms,
            fatal=fatal,
            fault=fault,
            sync_delay_s=sync_delay_s,
            sign_seed=sign_seed,
            timing=timing,
            trusts=trusts,
        )
    except BaseException:
        storage.close()
        raise

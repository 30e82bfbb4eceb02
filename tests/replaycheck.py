"""The check that every log must stand: whatever way it is folded, the digests are the same.

`check_replay(directory)` opens a log's directory, read-only, and folds it

- from the log alone, in one go;
- from the log alone, cut at random places;
- from each snapshot that lies beside it, and the tail;
- from a snapshot made here in the middle, through its bytes, and the tail;

and compares incremental digests with digests from scratch. Any test that ran jobs may call it, once
no daemon writes to the directory any more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from eventstore.record import Stored
from eventstore.storage.layout import Layout
from eventstore.storage.log_view import LogView
from eventstore.storage.snapshots import SnapshotStore
from projections.digest import Digest
from projections.frozen import dump_state, load_state
from projections.past import History, replay, state_at
from projections.state import FOLD, VERSION, Projector, State, digest_of


def check_replay(directory: Path, *, seed: int = 0) -> Digest:
    """Return the digest of the log in `directory`, after folding it in every way to the same."""
    with LogView(directory) as log:
        expected = replay(log).digest()
        # The log may grow meanwhile: a cluster has jobs of its own.
        check_records(log.records(1, expected.seq), expected, seed=seed)
        if Layout(directory).snapshots.exists():
            _check_snapshots(directory, log, expected)
        return expected


def check_records(records: Sequence[Stored], expected: Digest, *, seed: int = 0) -> State:
    """Fold the records in random cuts and over a snapshot; assert that the digest is `expected`."""
    cut = fold_in_cuts(records, random.Random(seed))
    assert cut.digest() == expected, "the digest depends on how the log was cut"
    assert digest_of(cut.state) == expected, "the incremental digest differs from a new one"
    middle = len(records) // 2
    begin = Projector()
    begin.apply(records[:middle])
    rest = Projector(load_state(dump_state(begin.state)))
    rest.apply(records[middle:])
    assert rest.digest() == expected, f"snapshot at {middle} and tail differ from the whole log"
    assert plain(rest.state) == plain(cut.state)
    return rest.state


def fold_in_cuts(records: Sequence[Stored], rng: random.Random) -> Projector:
    """Return the projector that was given the records in pieces of random length."""
    projector, at = Projector(), 0
    while at < len(records):
        size = rng.choice((1, 2, 7, 100, 3000))
        projector.apply(records[at : at + size])
        at += size
        if rng.random() < 0.1:
            projector.digest()  # asking in between changes nothing
    return projector


def plain(state: State) -> tuple[object, ...]:
    """Return all of a state but what was touched since somebody looked, which is no state."""
    return state.seq, state.hash, state.cluster.untouched(), state.jobs, state.ended


def _check_snapshots(directory: Path, log: History, expected: Digest) -> None:
    damaged: list[str] = []
    store = SnapshotStore(
        Layout(directory).snapshots,
        fold=FOLD,
        version=VERSION,
        report=lambda path, why: damaged.append(f"{path.name}: {why}"),
    )
    try:
        for seq in store.seqs():
            snapshot = store.nearest(seq, lambda at: log.records(at, at)[0].hash)
            assert snapshot is not None
            if snapshot.seq > expected.seq:
                continue
            projector = Projector(load_state(snapshot.state))
            projector.apply(log.records(snapshot.seq + 1, expected.seq))
            assert projector.digest() == expected, f"snapshot {seq} and tail differ"
        assert digest_of(state_at(log, store, expected.seq)) == expected
        assert not damaged
    finally:
        store.close()

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.storage.snapshots import Snapshot, SnapshotStore


def hash_at(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def snapshot(seq: int) -> Snapshot:
    return Snapshot(seq, hash_at(seq), b"digest", b"state at %d " % seq * 50)


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, reported: list[str]) -> SnapshotStore:
    return SnapshotStore(
        tmp_path, fold="cluster", version=3, report=lambda _path, why: reported.append(why)
    )


def test_the_nearest_at_or_below_is_found(store: SnapshotStore, reported: list[str]) -> None:
    """Not the newest of all, not one above."""
    for seq in (24_000, 8_000, 16_000):
        store.save(snapshot(seq))
    found = [store.nearest(at, hash_at) for at in (7_999, 8_000, 15_999, 16_000, 99_999)]
    wanted = [snapshot(seq) for seq in (8_000, 8_000, 16_000, 24_000)]
    assert found == [None, *wanted]
    assert reported == []


def test_a_damaged_snapshot_is_skipped_and_reported(
    store: SnapshotStore, reported: list[str]
) -> None:
    """Any flipped byte, or a file cut short: the next older one is taken, and it is said."""
    store.save(snapshot(1_000))
    store.save(snapshot(11_000))
    path = store.directory / f"{11_000:020d}.snapshot"
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert store.nearest(11_000, hash_at) == snapshot(1_000), f"byte {at}"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert store.nearest(11_000, hash_at) == snapshot(1_000), f"{length} bytes"
    assert len(reported) == 2 * len(content)


def test_a_snapshot_of_another_history_is_not_used(
    store: SnapshotStore, reported: list[str]
) -> None:
    """After records were lost and seqs used anew, states of the lost ones are no states of ours."""
    store.save(snapshot(1_000))
    assert store.nearest(1_000, lambda _seq: bytes(32)) is None
    assert store.nearest(1_000, lambda _seq: None) is None
    assert len(reported) == 2


def test_folds_and_versions_do_not_see_each_other(store: SnapshotStore, tmp_path: Path) -> None:
    """A new version of a fold starts without snapshots."""
    store.save(snapshot(1_000))
    for fold, version in (("cluster", 4), ("jobs", 3)):
        other = SnapshotStore(tmp_path, fold=fold, version=version, report=lambda *_: None)
        assert other.seqs() == []


def test_saving_off_thread_and_leftovers(store: SnapshotStore, tmp_path: Path) -> None:
    """save_soon writes in the background; what a crash left half-written is cleared away."""
    store.save_soon(lambda: snapshot(7)).result(timeout=20)
    assert store.seqs() == [7]
    (store.directory / "x.new").write_bytes(b"half")
    again = SnapshotStore(tmp_path, fold="cluster", version=3, report=lambda *_: None)
    assert [path.name for path in again.directory.iterdir()] == [f"{7:020d}.snapshot"]
    store.close()


def test_snapshots_are_thinned_as_they_are_saved(store: SnapshotStore) -> None:
    """Neighbours closer than the bound asks for are removed."""
    for seq in range(1_000, 30_001, 1_000):
        store.save(snapshot(seq))
    seqs = store.seqs()
    assert seqs[-1] == 30_000
    assert len(seqs) <= 6

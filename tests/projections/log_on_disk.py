"""Writes made records into a log's directory, as the files of a voter have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventstore.record import Stored
from eventstore.storage.index import IndexWriter
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile, Meta, Row
from eventstore.storage.snapshots import SnapshotStore
from eventstore.voter.creation import FIRST_EPOCH
from projections.state import FOLD, VERSION
from projections.tables import INDEX_TABLES
from tests.projections.log_maker import CLUSTER_ID

META = Meta(CLUSTER_ID, b"0" * 16, FIRST_EPOCH, "node1", b"0" * 16)


def write_log(directory: Path, records: Sequence[Stored], *, index: bool = True) -> None:
    """Make a log of these records, with its index; it can be read, not written on."""
    layout = Layout(directory)
    log = LogFile.create(layout.log, META, rows(records))
    log.checkpoint(truncate=True)
    log.close()
    if index:
        writer = IndexWriter(layout.index, INDEX_TABLES)
        writer.add(records)
        writer.close()


def rows(records: Sequence[Stored]) -> list[Row]:
    """Return the records as the file holds them."""
    return [Row(s.record.seq, s.record.gen, s.record.term, s.hash, s.encoded) for s in records]


def snapshots(directory: Path, damaged: list[str] | None = None) -> SnapshotStore:
    """Return the store of snapshots of states in a log's directory."""
    heard = [] if damaged is None else damaged
    return SnapshotStore(
        Layout(directory).snapshots,
        fold=FOLD,
        version=VERSION,
        report=lambda path, why: heard.append(f"{path.name}: {why}"),
    )

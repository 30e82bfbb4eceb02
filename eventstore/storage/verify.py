"""Verifying a whole log: what `gnt-log verify` says, with the checks that the writer's start uses.

Two passes over the records. The first walks the hash chain (density of seq, bytes, whole batches)
and checks what the chain does not promise: stream versions are dense, time and epoch never go back.
It collects the checkpoints and the keys that were admitted. The second builds the Merkle tree and
compares its root at each checkpoint's size; each must be signed by a voter's key that was admitted
before it and not revoked. The report names every finding and the first bad seq.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eventstore.errors import CorruptLog, DecodeError, EventStoreError
from eventstore.proofs.merkle import Tree, leaf_hash
from eventstore.proofs.vouching import Vouching
from eventstore.record import Record, Stored, genesis_hash
from eventstore.storage.ack_mark import read_mark
from eventstore.storage.chain import walk
from eventstore.storage.layout import Layout
from eventstore.storage.log_reader import LogReader, salvaged
from eventstore.storage.soundness import check_mark, supposed_end

_UNPLACED = 0  # of a finding that no record shows
Progress = Callable[[int, int], None]  # (records done, records in all), over both passes


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. `seq` is the record that shows it."""

    seq: int
    what: str


@dataclass(slots=True)
class Report:
    """What verifying found. Sound if there are no findings."""

    cluster_id: str
    records: int = 0  # that were walked
    head: int = 0  # that are there
    head_hash: bytes = b""
    checkpoints: int = 0  # sound ones
    covered: int = 0  # size of the largest sound checkpoint: what a signature stands for
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    @property
    def first_bad(self) -> int | None:
        """The first seq at which something is wrong, None if nothing is."""
        return min((finding.seq for finding in self.findings), default=None)


def verify(directory: Path, progress: Progress | None = None) -> Report:
    """Verify the log in `directory`, read-only; its writer may be running.

    Raises NotOurLog, CorruptLog or StorageFailed if not even what the file is can be read; any
    other damage is in the report, also of a file that SQLite refuses as a whole.
    """
    layout = Layout(directory)
    reader, damaged = salvaged(layout.log)
    try:
        head = supposed_end(reader, read_mark(layout.mark))
        report = Report(reader.meta.cluster_id, head=head)
        _check_acknowledged(layout, reader, report)
        seen = _first_pass(reader, report, progress or (lambda _done, _all: None))
        _second_pass(reader, report, seen, progress or (lambda _done, _all: None))
    finally:
        reader.close()
    found = [*report.findings, *([Finding(_UNPLACED, damaged)] if damaged else [])]
    behind = report.records + 1  # of what is wrong with the file as a whole
    placed = (each if each.seq else Finding(behind, each.what) for each in found)
    report.findings = sorted(dict.fromkeys(placed), key=lambda finding: finding.seq)
    return report


@dataclass(slots=True)
class _Seen:
    """What the first pass collects."""

    vouching: Vouching = field(default_factory=Vouching)
    versions: dict[str, int] = field(default_factory=dict)
    last: Record | None = None


def _check_acknowledged(layout: Layout, reader: LogReader, report: Report) -> None:
    mark = read_mark(layout.mark)
    if mark is None:
        told = "the ack mark is missing or unreadable: what was acknowledged is not known"
        report.findings.append(Finding(report.head + 1, told))
        return
    try:
        check_mark(reader, reader.meta, mark)
    except EventStoreError as error:
        report.findings.append(Finding(error.seq or _UNPLACED, str(error)))


def _first_pass(reader: LogReader, report: Report, progress: Progress) -> _Seen:
    seen = _Seen()
    rows = reader.rows(1, report.head)
    report.head_hash = genesis_hash(report.cluster_id)
    try:
        for stored in walk(rows, first=1, last=report.head, previous=report.head_hash):
            report.findings += [Finding(stored.record.seq, w) for w in _look_at(stored, seen)]
            report.records, report.head_hash = stored.record.seq, stored.hash
            if report.records % 10_000 == 0:
                progress(report.records, 2 * report.head)
    except CorruptLog as error:
        report.findings.append(Finding(error.seq or report.records + 1, str(error)))
    return seen


def _look_at(stored: Stored, seen: _Seen) -> Iterator[str]:
    """Yield what is wrong with a record, given those before it; remember what later ones need."""
    record, before = stored.record, seen.last
    expected = seen.versions.get(record.stream, 0) + 1
    if record.version != expected:
        yield f"{record.stream} goes on with version {record.version}, not {expected}"
    if before and record.time <= before.time:
        yield "its time is not after that of the record before"
    if before and record.epoch < before.epoch:
        yield f"its epoch {tuple(record.epoch)} is below {tuple(before.epoch)}"
    seen.versions[record.stream], seen.last = record.version, record
    try:
        seen.vouching.note(record)
    except DecodeError as error:
        yield str(error)


def _second_pass(reader: LogReader, report: Report, seen: _Seen, progress: Progress) -> None:
    sizes = seen.vouching.sizes
    roots: dict[int, bytes] = {}
    tree = Tree()
    for row in reader.rows(1, min(report.records, max(sizes, default=0))):
        tree.append(leaf_hash(row.encoded))
        if tree.size in sizes:
            roots[tree.size] = tree.root()
        if tree.size % 10_000 == 0:
            progress(report.head + tree.size, 2 * report.head)
    for (seq, event, _keys), flaw in seen.vouching.flaws(roots):
        if flaw:
            report.findings.append(Finding(seq, f"its checkpoint is not sound: {flaw}"))
        else:
            report.checkpoints += 1
            report.covered = max(report.covered, event.size)

"""How quick the log is, against a bare APSW loop that does the same inserts and nothing else.

    python -m tests.bench.log [RECORDS]

Append: every record is encoded, chained, committed with FULL, marked, told. The bare loop inserts
the same bytes in transactions of the same size, durably as well, and keeps neither chain nor mark.
Small batches gain from group commit. In batches of 1,000 on a disk that syncs in 0.1 ms the bare
loop needs 1.5 us a record, less than it takes to encode and hash one in Python (1.8 us); so that
ratio is shown, and half of the bare rate is wanted of the sizes that a cluster manager appends.
Both are run several times in turn and the best of each counts, since a shared disk is slow at
random. Read: rows, rows and hash, rows and decoded records, and all of it as `gnt-log verify` does,
in CPU time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import apsw
from rich.console import Console
from rich.table import Table

from eventstore.chain import walk
from eventstore.creation import create_log
from eventstore.layout import Layout
from eventstore.log_file import Row
from eventstore.log_reader import LogReader
from eventstore.record import Batch, Draft, Event, chain_hash, genesis_hash
from eventstore.replica import Outcome
from eventstore.single import open_single
from tests.bench.loop import Loop

RECORDS = 20_000
ROUNDS = 3
CLUSTER = "bench"
WANTED = {10: 0.5, 100: 0.5}  # of the bare rate


class Sample(Event, frozen=True, kw_only=True):
    """An event of an ordinary size: a record of about 250 bytes."""

    KIND: ClassVar[str] = "bench.sampled"

    node: str
    size_mib: int
    note: str


class Rate(NamedTuple):
    """Something measured: so many records in so many seconds."""

    records: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Records per second."""
        return self.records / self.seconds


def batches(records: int, size: int) -> Iterator[Batch]:
    """Yield batches of `size` records each."""
    for first in range(0, records, size):
        yield Batch(
            drafts=tuple(
                Draft(
                    stream=f"node/{n % 50}",
                    event=Sample(node=f"node{n % 50}.example.net", size_mib=n, note="x" * 80),
                    actor="operator:bench",
                    job=n // 10,
                )
                for n in range(first, first + size)
            )
        )


def append(directory: Path, records: int, size: int) -> tuple[Rate, list[Row]]:
    """Append through the whole path, pipelined; return the rate and the rows."""
    create_log(directory, cluster_id=CLUSTER, origin="bench", voter="v1", now_ms=1)
    loop = Loop()
    replica = open_single(directory, voter="v1", post=loop.post)
    loop.run_until(lambda: replica.leadership.ready)
    asked = list(batches(records, size))
    outcomes: list[Outcome] = []
    begun = time.perf_counter()
    for batch in asked:
        replica.propose(batch, outcomes.append)
    loop.run_until(lambda: len(outcomes) == len(asked))
    taken = time.perf_counter() - begun
    replica.close()
    reader = LogReader(Layout(directory).log)
    rows = list(reader.rows(4, reader.head()))
    reader.close()
    return Rate(records, taken), rows


def bare(path: Path, rows: list[Row], size: int) -> Rate:
    """Insert the same rows with APSW alone, in transactions of `size`."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE log(seq INTEGER PRIMARY KEY, gen INTEGER NOT NULL, term INTEGER NOT NULL,"
        " hash BLOB NOT NULL, bytes BLOB NOT NULL)"
    )
    begun = time.perf_counter()
    for first in range(0, len(rows), size):
        with db:
            db.executemany("INSERT INTO log VALUES(?,?,?,?,?)", rows[first : first + size])
    taken = time.perf_counter() - begun
    db.close()
    return Rate(len(rows), taken)


def reading(directory: Path) -> list[tuple[str, Rate]]:
    """Return the CPU cost of reading the whole log, each way with a little more to do."""
    reader = LogReader(Layout(directory).log)
    head = reader.head()
    genesis = genesis_hash(CLUSTER)

    def hashed() -> None:
        previous = genesis
        for row in reader.rows(1, head):
            previous = chain_hash(previous, row.encoded)

    def consumed(rows: Callable[[], Iterator[object]]) -> Callable[[], None]:
        return lambda: deque(rows(), maxlen=0).clear()

    ways = {
        "read": consumed(lambda: reader.rows(1, head)),
        "read + hash": hashed,
        "read + decode": consumed(lambda: reader.stored(1, head)),
        "read + hash + decode (verify the chain)": consumed(
            lambda: walk(reader.rows(1, head), first=1, last=head, previous=genesis)
        ),
    }
    rates = [
        (name, Rate(head, min(_cpu(way) for _ in range(ROUNDS)))) for name, way in ways.items()
    ]
    reader.close()
    return rates


def _cpu(way: Callable[[], None]) -> float:
    begun = time.process_time()
    way()
    return time.process_time() - begun


def main(records: int = RECORDS) -> bool:
    """Measure and print; say whether the log reaches the wanted share of the bare rate."""
    console = Console()
    appended = Table("records per batch", "log, records/s", "bare APSW", "ratio", "wanted")
    good = True
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as scratch:
        for size in (10, 100, 1000):
            ours, theirs = [], []
            for number in range(ROUNDS):
                directory = Path(scratch) / f"{size}-{number}"
                rate, rows = append(directory, records, size)
                ours.append(rate.per_second)
                theirs.append(bare(directory / "bare.sqlite", rows, size).per_second)
                if number:
                    shutil.rmtree(directory)
            ratio = max(ours) / max(theirs)
            wanted = WANTED.get(size)
            good = good and (wanted is None or ratio >= wanted)
            told = f">= {wanted:.2f}" if wanted else "-"
            appended.add_row(
                str(size), f"{max(ours):,.0f}", f"{max(theirs):,.0f}", f"{ratio:.2f}", told
            )
        console.print(appended)
        read = Table("reading, CPU time", "records/s", "of reading alone")
        rates = reading(Path(scratch) / "1000-0")
        for name, rate in rates:
            share = rate.per_second / rates[0][1].per_second
            read.add_row(name, f"{rate.per_second:,.0f}", f"{share:.2f}")
        console.print(read)
    return good


if __name__ == "__main__":
    sys.exit(not main(*map(int, sys.argv[1:])))

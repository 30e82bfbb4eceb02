"""How quick the log is, against a bare APSW loop that does the same inserts and nothing else.

    python -m tests.bench.log [RECORDS]

Append: every record is encoded, chained, committed with FULL, marked, told, with IN_FLIGHT records
on their way at most. The bare loop inserts the same bytes in transactions of the same size, durably
as well, and keeps neither chain nor mark. The log may commit several batches at once (group
commit), as it does in service. Both are run several times in turn and the best of each counts,
since a shared disk is slow at random.

CPU: the same work without disk and threads in the way, so that the figure does not depend on them:
a batch is placed (encoded, chained) and inserted, on one thread, against the bare loop. A disk that
syncs in no time leaves this ratio.

Read: rows, rows and hash, rows and decoded records, and all of it as `gnt-log verify` does, in CPU
time.
"""

from __future__ import annotations

import gc
import os
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

from eventstore.clock import HybridClock
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft, Epoch, Event, chain_hash, genesis_hash
from eventstore.replica import Committed, Outcome
from eventstore.storage.chain import walk
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile, Meta, Row
from eventstore.storage.log_reader import LogReader
from eventstore.voter.appended import Appended, Placed
from eventstore.voter.creation import create_log
from eventstore.voter.persister import WAL_PAGES
from tests.bench.lone_voter import lone_voter

RECORDS = 20_000
ROUNDS = 3
IN_FLIGHT = 8_000  # records proposed and not yet answered
CLUSTER = "bench"
WANTED = 0.5  # of the bare rate


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
    asked = list(batches(records, size))
    gc.collect()
    gc.freeze()  # as the master does with what it has loaded
    proposed, committed = 0, 0

    def answered(outcome: Outcome) -> None:
        nonlocal committed
        assert isinstance(outcome, Committed), outcome
        committed += len(outcome.records)

    def room() -> bool:
        return proposed - committed < IN_FLIGHT

    with lone_voter(directory, "v1") as (replica, reactor):
        begun = time.perf_counter()
        for batch in asked:
            replica.propose(batch, answered)
            proposed += size
            turn(reactor, until=room)
        reactor.run_until(lambda: committed == records)
        taken = time.perf_counter() - begun
    reader = LogReader(Layout(directory).log)
    rows = list(reader.rows(4, reader.head()))
    reader.close()
    return Rate(records, taken), rows


def turn(reactor: Reactor, *, until: Callable[[], bool]) -> None:
    """Turn at least once, as the master does between two requests, and until it holds."""
    turned: list[bool] = []
    reactor.call_soon(lambda: turned.append(True))
    reactor.run_until(lambda: bool(turned) and until())


def bare(path: Path, rows: list[Row], size: int) -> tuple[Rate, float]:
    """Insert the same rows with APSW alone, in transactions of `size`; the rate and CPU seconds."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE log(seq INTEGER PRIMARY KEY, gen INTEGER NOT NULL, term INTEGER NOT NULL,"
        " hash BLOB NOT NULL, bytes BLOB NOT NULL)"
    )

    def all_of_it() -> None:
        for first in range(0, len(rows), size):
            with db:
                db.executemany("INSERT INTO log VALUES(?,?,?,?,?)", rows[first : first + size])

    begun = time.perf_counter()
    cpu = _cpu(all_of_it)
    taken = time.perf_counter() - begun
    db.close()
    return Rate(len(rows), taken), cpu


def placed_and_inserted(path: Path, records: int, size: int) -> float:
    """Return the CPU seconds that it takes to place and insert so many, on this thread."""
    meta = Meta(CLUSTER, b"i" * 16, Epoch(1, 1), "", b"")
    log = LogFile.create(path, meta, ())
    end = Appended(
        seq=0,
        last_hash=genesis_hash(CLUSTER),
        versions={},
        clock=HybridClock(),
        origin="v1",
        draw_bytes=os.urandom,
    )
    asked = list(batches(records, size))
    gc.collect()
    gc.freeze()

    def all_of_it() -> None:
        for batch in asked:
            placed = end.place(batch, meta.epoch, 1)
            assert isinstance(placed, Placed)
            log.append(placed.entry.run())
            if log.wal_pages >= WAL_PAGES:  # as the writer and the bare loop's SQLite do
                log.checkpoint()

    taken = _cpu(all_of_it)
    log.close()
    return taken


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


def appending(scratch: Path, records: int, size: int) -> tuple[Rate, Rate, float, float]:
    """Return the best of ROUNDS in turn: the log and the bare loop; CPU seconds of both."""
    ours, theirs, our_cpu, their_cpu = [], [], [], []
    for number in range(ROUNDS):
        directory = scratch / f"{size}-{number}"
        rate, rows = append(directory, records, size)
        ours.append(rate)
        rate, cpu = bare(directory / "bare.sqlite", rows, size)
        theirs.append(rate)
        their_cpu.append(cpu)
        our_cpu.append(placed_and_inserted(directory / "placed.sqlite", records, size))
        if number:
            shutil.rmtree(directory)
    return min(ours, key=_seconds), min(theirs, key=_seconds), min(our_cpu), min(their_cpu)


def _seconds(rate: Rate) -> float:
    return rate.seconds


def main(records: int = RECORDS) -> bool:
    """Measure and print; say whether the log reaches the wanted share of the bare rate."""
    console = Console()
    appended = Table(
        "records per batch", "log, records/s", "bare APSW", "ratio", "CPU, us", "bare", "ratio"
    )
    good = True
    with tempfile.TemporaryDirectory(prefix="cairn-bench-") as scratch:
        for size in (10, 100, 1000):
            ours, theirs, our_cpu, their_cpu = appending(Path(scratch), records, size)
            ratio = ours.per_second / theirs.per_second
            good = good and ratio >= WANTED
            appended.add_row(
                str(size),
                f"{ours.per_second:,.0f}",
                f"{theirs.per_second:,.0f}",
                f"{ratio:.2f}",
                f"{our_cpu / records * 1e6:.2f}",
                f"{their_cpu / records * 1e6:.2f}",
                f"{their_cpu / our_cpu:.2f}",
            )
        console.print(appended)
        console.print(f"wanted of the rate: {WANTED:.2f}")
        read = Table("reading, CPU time", "records/s", "of reading alone")
        rates = reading(Path(scratch) / "1000-0")
        for name, rate in rates:
            share = rate.per_second / rates[0][1].per_second
            read.add_row(name, f"{rate.per_second:,.0f}", f"{share:.2f}")
        console.print(read)
    return good


if __name__ == "__main__":
    sys.exit(not main(*map(int, sys.argv[1:])))

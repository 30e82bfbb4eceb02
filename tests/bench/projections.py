"""What the folds cost: memory, one instance more, a replay, a state of the past.

    python -m tests.bench.projections [--records N] [--instances N] [--nodes N] [--directory DIR]

The log is synthetic but told like a real one: each instance is made by a job of 22 records (plan,
tasks, results, the fact), then jobs of one call change instances until the log is long enough. It
is written once into DIRECTORY (a temporary one by default), with the snapshots that a master would
have made and kept. Times are CPU times of this process unless they say otherwise.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import statistics
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from eventstore.record import Stored, chain_hash, genesis_hash
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile
from eventstore.storage.log_view import LogView
from eventstore.storage.rows import Run
from eventstore.storage.snapshots import SnapshotStore
from projections import collector
from projections.cluster import Cluster
from projections.configuration import fold_configuration
from projections.events import configuration as c
from projections.frozen import dump_state, load_state
from projections.past import snapshot_due, snapshot_of, state_at
from projections.registry import decode
from projections.state import Projector, State, digest_of
from tests.projections.log_maker import CLUSTER_ID, LogMaker
from tests.projections.log_on_disk import META, rows, snapshots
from tests.projections.stories import Story, mirrored

_CHUNK = 1000
_STEP = 50  # records folded at once, as `past.resume` does
_PROFILED = 100_000  # records
_ROUNDS = 3  # of a replay, in turn with reading alone; the best of each counts
_QUESTIONS = 60  # states of the past that are asked for


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        if not Layout(directory).log.exists():
            write(directory, options.records, options.instances, options.nodes)
        with LogView(directory) as log, closing(snapshots(directory)) as store:
            instance_more(options.nodes)
            memory(log, store)
            replays(log)
            past(log, store)


def write(directory: Path, records: int, instances: int, nodes: int) -> None:
    """Write the log, and fold it as a master does, with a snapshot each time that one is due."""
    maker = LogMaker(step_ms=200)
    story = Story(maker)
    projector, last_snapshot = Projector(), 0
    spent = 0.0
    file: LogFile | None = None
    with closing(snapshots(directory)) as store:
        for _ in happenings(story, records, instances, nodes):
            if len(maker.records) < _CHUNK:
                continue
            file = _append(directory, file, maker.records)
            projector.apply(maker.records)
            maker.records.clear()
            if snapshot_due(last_snapshot, projector.seq):
                last_snapshot, begin = projector.seq, time.process_time()
                store.save(snapshot_of(projector.state, projector.digest()))
                spent += time.process_time() - begin
        assert file is not None
        file = _append(directory, file, maker.records)
        projector.apply(maker.records)
        size = sum(path.stat().st_size for path in store.directory.iterdir())
        print(
            f"log: {projector.seq} records, {Layout(directory).log.stat().st_size >> 20} MiB;"
            f" {len(store.seqs())} snapshots kept of {projector.seq // 10_000} made,"
            f" {size / 2**20:.1f} MiB, {spent / (projector.seq // 10_000) * 1e3:.0f} ms to make one"
        )
    file.checkpoint(truncate=True)
    file.close()


def happenings(story: Story, records: int, instances: int, nodes: int) -> Iterator[None]:
    """Tell the story; yield after each thing that happened."""
    story.found(nodes)
    yield
    for number in range(instances):
        primary = story.nodes[number % nodes]
        secondary = story.nodes[(number * 7 + 1) % nodes]
        if secondary == primary:
            secondary = story.nodes[(number + 1) % nodes]
        story.create(f"i{number}.example.net", primary=primary, secondary=secondary)
        yield
    uuids, rng = list(story.instances), random.Random(1)
    while sum(story.log.versions.values()) < records:
        uuid = rng.choice(uuids)
        state = rng.choice(("up", "down"))
        story.change(uuid, c.InstanceStateSet(instance=uuid, admin_state=state))
        yield


def instance_more(nodes: int) -> None:
    """Print what one more instance costs at 10 and at 10,000 of them."""
    costs = [_cost_of_one_more(nodes, present) for present in (10, 10_000)]
    print(
        f"one instance more: {costs[0]:.1f} us at 10, {costs[1]:.1f} us at 10,000"
        f" ({costs[1] / costs[0]:.2f} x); on 3 nodes:"
        f" {_cost_of_one_more(3, 10_000):.1f} us at 10,000"
    )


def memory(log: LogView, store: SnapshotStore) -> None:
    """Print how much memory a state needs, and how long its bytes take."""
    newest = store.nearest(log.head, lambda seq: log.records(seq, seq)[0].hash)
    assert newest is not None
    tracemalloc.start()
    state = load_state(newest.state)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cluster = state.cluster
    load, dump = _cpu_ms(lambda: load_state(newest.state)), _cpu_ms(lambda: dump_state(state))
    print(
        f"state of {len(cluster.nodes)} nodes, {len(cluster.instances)} instances:"
        f" {held / 2**20:.1f} MiB in memory, {len(newest.state) / 2**20:.1f} MiB as bytes;"
        f" dump {dump:.0f} ms, load {load:.0f} ms,"
        f" digest from scratch {_cpu_ms(lambda: digest_of(state)):.0f} ms"
    )


def replays(log: LogView) -> None:
    """Print how fast the log is read, hashed and decoded, and how fast with folds as well."""
    with collector.paused():  # as `past.replay` does
        rounds = [
            (_spent(lambda: _read(log)), _spent(lambda: _read_and_fold(log)))
            for _ in range(_ROUNDS)
        ]
    bare, folded = (min(times) for times in zip(*rounds, strict=True))
    rate = log.head / folded
    print(
        f"replay: {log.head / bare:.0f} records/s read, hashed and decoded; {rate:.0f} with folds:"
        f" {bare / folded:.0%}; folds {(folded - bare) / log.head * 1e6:.1f} us per record"
    )
    _profile(log)


def past(log: LogView, store: SnapshotStore) -> None:
    """Print how long states at random seqs take (wall time)."""
    rng = random.Random(2)
    taken = []
    for _ in range(_QUESTIONS):
        begin = time.perf_counter()
        state_at(log, store, rng.randint(1, log.head))
        taken.append((time.perf_counter() - begin) * 1e3)
    taken.sort()
    print(
        f"a state of the past: p50 {statistics.median(taken):.0f} ms,"
        f" p95 {taken[int(len(taken) * 0.95)]:.0f} ms, worst {taken[-1]:.0f} ms"
        f" ({_QUESTIONS} random seqs of {log.head})"
    )


def _append(directory: Path, file: LogFile | None, records: list[Stored]) -> LogFile:
    if file is None:
        return LogFile.create(Layout(directory).log, META, rows(records))
    first = records[0].record
    hashes, encoded = [s.hash for s in records], [s.encoded for s in records]
    file.append(Run(first.seq, first.epoch, hashes, encoded))
    if file.wal_pages > 4000:
        file.checkpoint()
    return file


def _cost_of_one_more(nodes: int, present: int) -> float:
    story = Story()
    story.found(nodes)
    projector = Projector()
    projector.apply(story.log.records)
    cluster: Cluster = projector.state.cluster
    record = story.log.records[-1].record
    for number in range(present):
        primary, secondary = story.nodes[number % nodes], story.nodes[(number + 1) % nodes]
        made = mirrored(f"i{number}.example.net", primary, secondary)
        cluster = fold_configuration(cluster, c.InstanceCreated(instance=made), record)
    more = c.InstanceCreated(instance=mirrored("more.example.net", *story.nodes[:2]))
    timer = timeit.Timer(lambda: fold_configuration(cluster, more, record), timer=time.process_time)
    return min(timer.repeat(5, 2000)) / 2000 * 1e6


def _read(log: LogView) -> None:
    last = genesis_hash(CLUSTER_ID)
    for stored in log.iterate():
        last = chain_hash(last, stored.encoded)
        assert last == stored.hash
        decode(stored.record)


def _read_and_fold(log: LogView, records: int | None = None) -> State:
    last, projector = genesis_hash(CLUSTER_ID), Projector()
    stored = log.iterate(1, records)
    while chunk := list(islice(stored, _STEP)):
        for one in chunk:
            last = chain_hash(last, one.encoded)
            assert last == one.hash
        projector.apply(chunk)
    return projector.state


def _profile(log: LogView) -> None:
    profile = cProfile.Profile()
    profile.runcall(_read_and_fold, log, _PROFILED)
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined] # not in the stubs
    functions = sorted(stats.stats.items(), key=lambda row: -row[1][2])  # type: ignore[attr-defined]
    print(f"profile of the first {_PROFILED} records, own time:")
    for (path, _, name), (_, calls, own, _, _) in functions[:15]:
        print(f"  {own / total:6.1%}  {calls:>8}  {Path(path).name}:{name}")


def _spent(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _cpu_ms(call: Callable[[], object]) -> float:
    return min(_spent(call) for _ in range(3)) * 1e3


if __name__ == "__main__":
    main()

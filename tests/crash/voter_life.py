"""The life of a voter as its disk sees it: Persists carried out, every write and sync recorded.

It appends, votes, goes into higher terms, and has its tail cut off by other leaders, all drawn from
a seed. Several Persists are on their way at a time, as they are in a leader's pipeline.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventstore.clock import HybridClock
from eventstore.errors import EventStoreError
from eventstore.raft.effects import Persist
from eventstore.raft.entry import Entry, Position
from eventstore.raft.state import HardState, Identity
from eventstore.record import Epoch, genesis_hash
from eventstore.replica import Refused
from eventstore.storage.ack_mark import AckMark, Mark
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile
from eventstore.storage.metrics import StorageMetrics
from eventstore.voter import persister
from eventstore.voter.appended import Appended
from eventstore.voter.persister import Persister
from eventstore.voter.storage import create_voter, open_voter
from tests.crash.recording_disk import RecordingDisk, Step, Synced, Wrote
from tests.eventstore.storage_lab import CLUSTER, START_MS, batch

_CANDIDATES = tuple(Identity(name, name.encode() * 8) for name in ("v1", "v2", "v3"))
_TEXTS = (0, 100, 100, 4000)  # bytes of an event's text
_WAL_PAGES = 24  # copied into the main file so often, so that power is cut in the middle of that
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class State:
    """What a voter must remember: the end of its log, epoch and vote."""

    last: Position
    hard: HardState


@dataclass(frozen=True, slots=True)
class Life:
    """What was on the disk at first, each write and sync since, and what was said when.

    `states[n]` is the state after Persist n. `said` are (steps so far, Persist that was durable
    then), `bursts` the last Persist of each group that was under way together, `cutting` those that
    cut off records.
    """

    start: dict[str, bytes]
    steps: list[Step]
    states: list[State]
    said: list[tuple[int, int]]
    bursts: list[int]
    cutting: frozenset[int]

    def said_at(self, steps: int) -> int:
        """Return the last Persist that was said to be durable by then."""
        return max((ticket for at, ticket in self.said if at <= steps), default=0)

    def under_way_at(self, steps: int) -> range:
        """Return the Persists that may have become durable without a word."""
        said = self.said_at(steps)
        return range(said + 1, next((end for end in self.bursts if end > said), said) + 1)


class RecordingMark(AckMark):
    """An ack mark whose writes and syncs are steps like those of the log."""

    path: Path
    steps: list[Step]

    def write(self, mark: Mark) -> None:
        """Write as ever, then note which slot was written."""
        before = self.path.read_bytes()
        super().write(mark)
        after = self.path.read_bytes()
        half = len(after) // 2
        at = 0 if before[:half] != after[:half] else half
        self.steps.append(Wrote(self.path.name, at, after[at : at + half]))
        self.steps.append(Synced(self.path.name))


class Script:
    """Draws what happens to the voter; knows the log as it should be."""

    def __init__(self, seed: int, inc: bytes) -> None:
        self._draw = random.Random(seed)
        self._inc = inc
        self._log: list[Entry] = []
        self._hard = HardState(Epoch(0, 0), Identity("", b""))  # of one that joins
        self._ticket = 0

    @property
    def state(self) -> State:
        """The state after what was drawn so far."""
        return State(self._end, self._hard)

    @property
    def _end(self) -> Position:
        if not self._log:
            return Position(0, Epoch(0, 0), genesis_hash(CLUSTER))
        return self._log[-1].end

    def next(self) -> Persist:
        """Draw what becomes durable next."""
        draw, truncate_from, entries = self._draw, 0, 0
        if self._hard.epoch.gen == 0:
            self._enter(_CANDIDATES[0])
        match draw.choices(("append", "term", "vote", "cut"), (12, 2, 2, 3))[0]:
            case "term":
                self._enter(draw.choice(_CANDIDATES))
            case "vote":
                self._enter(Identity("", b""))
            case "cut" if len(self._log) > 3:
                self._enter(draw.choice(_CANDIDATES))
                gone = draw.randint(1, 3)
                truncate_from = self._log[-gone].first
                del self._log[-gone:]
                entries = draw.randint(0, 2)
            case _:
                entries = draw.randint(1, 3)
        added = tuple(self._append() for _ in range(entries))
        self._ticket += 1
        mark = Mark(self._end.seq, self._end.hash, *self._hard.epoch, *self._hard.vote, self._inc)
        return Persist(self._ticket, self._hard, truncate_from, added, mark, False)

    def _enter(self, vote: Identity) -> None:
        gen, term = self._hard.epoch
        self._hard = HardState(Epoch(max(gen, 1), term + 1), vote)

    def _append(self) -> Entry:
        end, draw = self._end, self._draw
        appended = Appended(
            seq=end.seq,
            last_hash=end.hash,
            versions={},
            clock=HybridClock(START_MS << 16),
            origin="v1",
            draw_bytes=draw.randbytes,
        )
        asked = batch(*["a"] * draw.choice((1, 1, 3)), text="x" * draw.choice(_TEXTS))
        placed = appended.place(asked, self._hard.epoch, START_MS + end.seq)
        assert not isinstance(placed, Refused)
        self._log.append(placed.entry)
        return self._log[-1]


def live(directory: Path, *, seed: int, persists: int, full_sync: bool = True) -> Life:
    """Run a voter's disk through so many Persists. `full_sync` False: as no voter may be set."""
    inc = create_voter(directory, cluster_id=CLUSTER)
    layout = Layout(directory)
    open_voter(layout).close()
    for companion in directory.glob("log.sqlite-*"):
        companion.unlink()
    start = {path.name: path.read_bytes() for path in (layout.log, layout.mark)}
    disk = RecordingDisk(f"{directory}-{full_sync}")
    mark = RecordingMark.open(layout.mark)
    assert isinstance(mark, RecordingMark)
    mark.path, mark.steps = layout.mark, disk.steps
    log = LogFile.open(layout.log, vfs=f"{directory}-{full_sync}")
    if not full_sync:
        log._db.execute("PRAGMA synchronous=NORMAL")
    try:
        life = _carry_out(log, mark, disk.steps, Script(seed, inc), persists, start)
    finally:
        log.close()
        mark.close()
        disk.unregister()
    return life


def _carry_out(
    log: LogFile,
    mark: AckMark,
    steps: list[Step],
    script: Script,
    persists: int,
    start: dict[str, bytes],
) -> Life:
    said: list[tuple[int, int]] = []
    failures: list[EventStoreError] = []
    changed = threading.Condition()

    def durable(ticket: int, _took_ms: float) -> None:
        with changed:
            said.append((len(steps), ticket))
            changed.notify()

    writer = Persister(
        log,
        mark,
        on_durable=durable,
        on_no_room=failures.append,
        fatal=failures.append,
        metrics=StorageMetrics(),
    )
    states, bursts, cutting = [script.state], [], set()
    sizes = random.Random(persists)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persister, "WAL_PAGES", _WAL_PAGES)
        writer.start()
        while len(states) <= persists:
            burst = []
            for _ in range(sizes.randint(1, 3)):
                burst.append(script.next())
                states.append(script.state)
                if burst[-1].truncate_from:
                    cutting.add(burst[-1].ticket)
            bursts.append(burst[-1].ticket)
            for persist in burst:
                writer.submit(persist)
            with changed:
                last = burst[-1].ticket
                assert changed.wait_for(lambda t=last: bool(said) and said[-1][1] == t, _PATIENCE_S)  # type: ignore[misc]  # mypy does not infer lambdas with defaults
        writer.close()  # which copies the WAL into the main file: more points to cut at
    assert not failures
    return Life(start, list(steps), states, said, bursts, frozenset(cutting))

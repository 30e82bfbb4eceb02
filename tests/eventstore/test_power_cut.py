"""Power is cut between any two writes: what was acknowledged is there, and the chain holds."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from eventstore.ack_mark import AckMark, Mark
from eventstore.appended import Appended
from eventstore.clock import HybridClock
from eventstore.errors import CorruptLog, EventStoreError
from eventstore.layout import Layout
from eventstore.log_file import LogFile
from eventstore.metrics import StorageMetrics
from eventstore.opening import open_checked
from eventstore.record import Epoch
from eventstore.replica import Refused
from eventstore.writer import Append, Writer
from tests.eventstore.power_cut import Acked, Choice, Marked, RecordingDisk, Step, image
from tests.eventstore.storage_lab import START_MS, Lab, batch

COMMITS = 24
SEED = 20_231_114
CHOICES: tuple[Choice, ...] = ("none", "all", "some", "torn")


class RecordingMark(AckMark):
    """An ack mark that notes what is on the disk after each write."""

    path: Path
    steps: list[Step]

    def write(self, mark: Mark) -> None:
        """Write as ever, then note it."""
        super().write(mark)
        self.steps.append(Marked(self.path.read_bytes()))


def run(directory: Path, *, full_sync: bool) -> tuple[dict[str, bytes], list[Step]]:
    """Write COMMITS transactions through the writer; return the files before, and every step."""
    layout = Layout(Lab(directory).directory)
    opened = open_checked(layout)
    last = opened.last
    opened.close()
    for companion in layout.directory.glob("log.sqlite-*"):
        companion.unlink()
    start = {path.name: path.read_bytes() for path in (layout.log, layout.mark)}
    with_disk = RecordingDisk(directory.name)
    mark = RecordingMark.open(layout.mark)
    assert isinstance(mark, RecordingMark)
    mark.path, mark.steps = layout.mark, with_disk.steps
    log = LogFile.open(layout.log, vfs=directory.name)
    if not full_sync:
        log._db.execute("PRAGMA synchronous=NORMAL")
    failures: list[EventStoreError] = []
    told = threading.Semaphore(0)

    def durable(seq: int) -> None:
        with_disk.steps.append(Acked(seq))
        told.release()

    writer = Writer(
        log,
        mark,
        on_durable=durable,
        on_refused=lambda seq, error: failures.append(error),
        fatal=failures.append,
        metrics=StorageMetrics(),
    )
    appended = Appended(
        seq=last.record.seq,
        last_hash=last.hash,
        versions={},
        clock=HybridClock(last.record.time),
        origin="v1",
        draw_bytes=os.urandom,
    )
    draw = random.Random(SEED)
    writer.start()
    for _ in range(COMMITS):
        size = draw.choice((1, 1, 3))
        text = "x" * draw.choice((0, 100, 9000))
        placed = appended.place(batch(*["a"] * size, text=text), Epoch(1, 1), START_MS)
        assert not isinstance(placed, Refused)
        writer.submit(Append(placed, {}))
        assert told.acquire(timeout=20)
    writer.close()  # which copies the WAL into the main file: more points to cut at
    log.close()
    mark.close()
    with_disk.unregister()
    assert not failures
    return start, with_disk.steps


def survives(files: dict[str, bytes], scratch: Path, acked: int) -> bool:
    """Say whether a voter that starts from this image has everything that was acknowledged."""
    for path in scratch.iterdir():
        path.unlink()
    for name, content in files.items():
        (scratch / name).write_bytes(content)
    try:
        opened = open_checked(Layout(scratch), whole=True)
    except CorruptLog:
        return False
    head = opened.head
    opened.close()
    return head >= acked


def lost(directory: Path, scratch: Path, *, full_sync: bool) -> tuple[int, int]:
    """Cut power after each step, in each way; return how many images there were, how many lost."""
    scratch.mkdir()
    start, steps = run(directory, full_sync=full_sync)
    draw = random.Random(SEED)
    images = losses = acked = 0
    for upto in range(len(steps) + 1):
        if upto and isinstance(told := steps[upto - 1], Acked):
            acked = told.seq
        for choice in CHOICES:
            images += 1
            files = image(start, steps[:upto], choice, draw)
            losses += not survives(files, scratch, acked)
    return images, losses


@pytest.mark.acceptance
def test_no_power_cut_loses_what_was_acknowledged(tmp_path: Path) -> None:
    """Not after any write, whichever of the unsynced sectors made it to the disk."""
    images, losses = lost(tmp_path / "full", tmp_path / "scratch", full_sync=True)
    assert images > COMMITS * len(CHOICES) * 4
    assert losses == 0, f"{losses} of {images} images (seed {SEED})"


@pytest.mark.acceptance
def test_the_search_would_find_a_commit_that_is_not_synced(tmp_path: Path) -> None:
    """The control: with synchronous=NORMAL the same cuts do lose what was acknowledged."""
    images, losses = lost(tmp_path / "normal", tmp_path / "scratch", full_sync=False)
    assert losses > images / 10


def test_a_mark_is_not_written_before_the_log_is_synced(tmp_path: Path) -> None:
    """The order of each commit: the log's sync, the mark, and only then the acknowledgement."""
    _, steps = run(tmp_path / "order", full_sync=True)
    acked = [at for at, step in enumerate(steps) if isinstance(step, Acked)]
    assert acked
    for at in acked:
        assert isinstance(steps[at - 1], Marked)
        assert type(steps[at - 2]).__name__ == "Synced"

"""What may be on the disk when power is cut, and what a voter makes of it.

Between two syncs of a file the kernel may have brought any part of its writes to the disk, in any
order, in units of a sector. So an image is all that was synced, and a choice from the rest:

    none      nothing of it
    all       all of it, as after a crash of the process alone
    some      each write or not
    torn      each write as far as some sector
    mixed     some of the sectors of some of the writes, in another order

Images are built step by step: what is synced is kept, so that an image costs its own size.
"""

from __future__ import annotations

import random
from enum import Enum
from pathlib import Path
from typing import Literal

from eventstore.errors import CorruptLog, EventStoreError, NotOurLog, StorageFailed
from eventstore.raft.entry import Position
from eventstore.raft.recovery import assess
from eventstore.storage.layout import Layout
from eventstore.voter.storage import StoredEntries, open_voter
from tests.crash.recording_disk import SECTOR, Step, Synced, Wrote
from tests.crash.voter_life import Life, State

Files = dict[str, bytes]
Choice = Literal["none", "all", "some", "torn", "mixed"]
CHOICES: tuple[Choice, ...] = ("none", "all", "some", "torn", "mixed")


class Verdict(Enum):
    """What a voter does that starts from an image."""

    WHOLE = "it has all that it said, and may vote"
    RECOVERING = "it follows, and neither votes nor stands"
    REFUSED = "it does not start, and says why"
    LACKING = "it starts and votes, and lacks what it said"


class PowerCut:
    """The disk of a voter, brought forward step by step."""

    def __init__(self, start: Files, draw: random.Random) -> None:
        self._synced = {name: bytearray(content) for name, content in start.items()}
        self._pending: dict[str, list[Wrote]] = {}
        self._draw = draw

    def carry_out(self, step: Step) -> None:
        """Take up the next step."""
        match step:
            case Wrote():
                self._pending.setdefault(step.file, []).append(step)
            case Synced():
                for wrote in self._pending.pop(step.file, []):
                    _apply(self._synced.setdefault(step.file, bytearray()), wrote)

    def image(self, choice: Choice) -> Files:
        """Return what is on the disk if power is cut now."""
        found = dict(self._synced)
        for file, writes in self._pending.items():
            content = bytearray(found.get(file, b""))
            for wrote in self._kept(writes, choice):
                _apply(content, wrote)
            found[file] = content
        return {name: bytes(content) for name, content in found.items()}

    def ways(self) -> tuple[Choice, ...]:
        """Return the choices that can differ here: with nothing unsynced there is one image."""
        return CHOICES if self._pending else ("none",)

    def _kept(self, writes: list[Wrote], choice: Choice) -> list[Wrote]:
        draw = self._draw
        match choice:
            case "none":
                return []
            case "all":
                return writes
            case "some":
                return [wrote for wrote in writes if draw.random() < 0.5]
            case "torn":
                return [self._torn(wrote) for wrote in writes]
            case "mixed":
                sectors = [sector for wrote in writes for sector in _sectors(wrote)]
                return draw.sample(sectors, draw.randint(0, len(sectors)))

    def _torn(self, wrote: Wrote) -> Wrote:
        if wrote.data is None:
            return wrote
        kept = self._draw.randint(0, len(wrote.data) // SECTOR) * SECTOR
        return Wrote(wrote.file, wrote.offset, wrote.data[:kept])


def _sectors(wrote: Wrote) -> list[Wrote]:
    if wrote.data is None:
        return [wrote]
    data, cuts = wrote.data, range(0, len(wrote.data), SECTOR)
    return [Wrote(wrote.file, wrote.offset + at, data[at : at + SECTOR]) for at in cuts]


def _apply(content: bytearray, wrote: Wrote) -> None:
    if wrote.data is None:
        del content[wrote.offset :]
        return
    end = wrote.offset + len(wrote.data)
    content.extend(bytes(max(0, end - len(content))))
    content[wrote.offset : end] = wrote.data


def put(files: Files, directory: Path) -> None:
    """Make the directory hold these files and no others."""
    for path in directory.iterdir():
        path.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)


def restart(files: Files, scratch: Path, allowed: list[State]) -> Verdict:
    """Start a voter from an image, its whole chain checked, and judge what it remembers.

    `allowed`: the state that it last said it was in, and those that it may have come into since.
    """
    put(files, scratch)
    try:
        storage = open_voter(Layout(scratch), whole=True)
    except (CorruptLog, NotOurLog, StorageFailed):
        return Verdict.REFUSED
    try:
        found = StoredEntries(storage.reader)
        mark, last = storage.mark.mark, found.position(storage.head)
        assert last is not None, "it was opened"
        hard, lost = assess(mark, storage.hard, found.position(mark.seq), last)
        if lost:
            return Verdict.RECOVERING
        return Verdict.WHOLE if _remembers(State(last, hard), allowed, found) else Verdict.LACKING
    except EventStoreError:
        return Verdict.REFUSED
    finally:
        storage.close()


def _remembers(state: State, allowed: list[State], found: StoredEntries) -> bool:
    """Say whether the state is one of those allowed."""
    return any(state == other and _has(found, other.last) for other in allowed)


def _has(found: StoredEntries, position: Position) -> bool:
    return found.position(position.seq) == position


def allowed_at(life: Life, steps: int) -> tuple[list[State], bool]:
    """Return the states that a cut after so many steps may leave, and whether the voter may have
    to recover: a crash between a truncation and the lowering of the mark shows a mark ahead."""
    under_way = life.under_way_at(steps)
    allowed = [life.states[life.said_at(steps)], *(life.states[ticket] for ticket in under_way)]
    return allowed, not life.cutting.isdisjoint(under_way)

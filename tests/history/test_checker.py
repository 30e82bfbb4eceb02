"""The checker accepts what a correct cluster may show, and finds each promise that is broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.codec import encode_record
from eventstore.record import FORMAT, Record, Stored, chain_hash, genesis_hash
from eventstore.replica import Committed
from tests.eventstore.storage_lab import Lab, batch
from tests.history.__main__ import check_files
from tests.history.checker import VoterLog, check
from tests.history.notes import Note, Notebook, What, read_notes

CLUSTER = "6f1f3f0e-0000-4000-8000-000000000001"
VOTERS = ("v1", "v2", "v3")
Cell = tuple[str | None, bytes]  # key and data of a record


@dataclass(frozen=True)
class Run:
    """What clients noted, and the committed log that they wrote; each voter has a piece of it."""

    notes: list[Note]
    cells: list[Cell]
    committed: tuple[int, ...]
    tails: dict[str, list[Cell]] = field(default_factory=dict)  # never committed

    def logs(self) -> list[VoterLog]:
        """Return the voters' logs."""
        return [
            VoterLog(voter, chained(self.cells[:upto] + self.tails.get(voter, [])), upto)
            for voter, upto in zip(VOTERS, self.committed, strict=True)
        ]

    def broken(self) -> set[str]:
        """Return which promises were broken, if the checker is right."""
        return {each.promise for each in check(CLUSTER, self.notes, self.logs())}


def chained(cells: Sequence[Cell]) -> list[Stored]:
    """Return a log of these records."""
    records: list[Stored] = []
    last_hash = genesis_hash(CLUSTER)
    for seq, (key, data) in enumerate(cells, 1):
        record = Record(
            FORMAT, seq, 1, 1, seq << 16, seq.to_bytes(16), "test.happened", 1, "s/1", seq,
            "operator:ann", "v1", None, None, key, msgspec.Raw(msgspec.msgpack.encode(data)), 0, 1,
        )  # fmt: skip
        encoded = encode_record(record)
        last_hash = chain_hash(last_hash, encoded)
        records.append(Stored(record, encoded, last_hash))
    return records


def digest(data: bytes) -> str:
    """Return what `invoked` notes of this event."""
    return hashlib.sha256(msgspec.msgpack.encode(data)).hexdigest()


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Requests that overlap at will: each is invoked, perhaps takes effect at some moment before
    its end, and ends in one of the ways that are true then."""
    notes: list[Note] = []
    cells: list[Cell] = [(None, b"founding")]
    waiting: dict[str, int | None] = {}  # writes under way -> where they took effect
    reads: dict[str, int] = {}
    names = iter(range(1000))

    def note(what: What, key: str, seq: int = 0, sha256: str = "") -> None:
        time_ns = len(notes) + 1
        notes.append(Note(time_ns=time_ns, client="c", what=what, key=key, seq=seq, sha256=sha256))

    for _ in range(draw(st.integers(6, 40))):
        match draw(st.sampled_from(("invoke", "effect", "effect", "end", "end", "read", "other"))):
            case "invoke":
                key = f"k{next(names)}"
                waiting[key] = None
                note("invoked", key, sha256=digest(key.encode()))
            case "effect" if open_keys := [key for key, seq in waiting.items() if seq is None]:
                key = draw(st.sampled_from(open_keys))
                cells.append((key, key.encode()))
                waiting[key] = len(cells)
            case "end" if waiting:
                key = draw(st.sampled_from(sorted(waiting)))
                seq = waiting.pop(key)
                unknown = draw(st.integers(0, 3)) == 0
                note("unknown" if unknown else "acked" if seq else "refused", key, seq or 0)
            case "read" if draw(st.booleans()) and reads:
                key, _ = reads.popitem()
                note("read", key, len(cells))
            case "read":
                key = f"r{next(names)}"
                reads[key] = len(cells)
                note("asked", key)
            case _:
                cells.append((None, b"of the cluster's own"))
    behind = [draw(st.integers(0, len(cells))) for _ in VOTERS[1:]]
    tail: list[Cell] = [("lost", b"never committed")] * draw(st.integers(0, 1))
    return Run(notes, cells, (len(cells), *behind), {"v2": tail})


@pytest.mark.property
@given(runs())
@settings(max_examples=300, deadline=None)
def test_what_a_correct_cluster_shows_is_accepted(run: Run) -> None:
    """No promise is called broken where all were kept."""
    assert run.broken() == set()


# --- mutants ------------------------------------------------------------------------------------


def acked(run: Run) -> list[Note]:
    """Return the acknowledgements."""
    return [note for note in run.notes if note.what == "acked"]


def is_lost(run: Run) -> Run | None:
    """An acknowledged record is not there; another stands in its place."""
    if not acked(run):
        return None
    cells = list(run.cells)
    cells[acked(run)[-1].seq - 1] = (None, b"instead")
    return replace(run, cells=cells)


def is_doubled(run: Run) -> Run | None:
    """A record stands there twice."""
    keyed = [cell for cell in run.cells if cell[0]]
    return with_all(run, [*run.cells, keyed[0]]) if keyed else None


def has_other_bytes(run: Run) -> Run | None:
    """A record has other bytes than were sent."""
    keyed = [at for at, cell in enumerate(run.cells) if cell[0]]
    if not keyed:
        return None
    cells = list(run.cells)
    cells[keyed[-1]] = (cells[keyed[-1]][0], b"forged")
    return replace(run, cells=cells)


def is_elsewhere(run: Run) -> Run | None:
    """A record does not stand where it was said to be."""
    if not acked(run):
        return None
    wrong = acked(run)[0]
    return renoted(run, wrong, msgspec.structs.replace(wrong, seq=wrong.seq + 1))


def is_before_what_was_told(run: Run) -> Run | None:
    """A record stands before one that was acknowledged before it was asked for."""
    for first in acked(run):
        for second in run.notes:
            late = second.what == "invoked" and second.time_ns > first.time_ns
            at = [n for n, cell in enumerate(run.cells, 1) if cell[0] == second.key]
            if late and at and at[0] > first.seq:
                return swapped(run, first.seq, at[0])
    return None


def is_a_stale_read(run: Run) -> Run | None:
    """A read does not see what was acknowledged before it was asked."""
    for read in (note for note in run.notes if note.what == "read"):
        asked_ns = next(n.time_ns for n in run.notes if n.key == read.key and n.what == "asked")
        before = [note.seq for note in acked(run) if note.time_ns < asked_ns]
        if before:
            return renoted(run, read, msgspec.structs.replace(read, seq=max(before) - 1))
    return None


def is_there_though_refused(run: Run) -> Run | None:
    """What was refused stands there."""
    refused = [note.key for note in run.notes if note.what == "refused"]
    if not refused:
        return None
    return with_all(run, [*run.cells, (refused[0], refused[0].encode())])


def nobody_asked(run: Run) -> Run | None:
    """There is a record that nobody asked for."""
    return with_all(run, [*run.cells, ("stranger", b"")])


def swapped(run: Run, one: int, other: int) -> Run:
    """Return the run with two records in each other's place, and notes that fit."""
    cells = list(run.cells)
    cells[one - 1], cells[other - 1] = cells[other - 1], cells[one - 1]
    at = {cell[0]: seq for seq, cell in enumerate(cells, 1) if cell[0]}
    notes = [
        msgspec.structs.replace(note, seq=at[note.key]) if note.what == "acked" else note
        for note in run.notes
    ]
    return replace(run, cells=cells, notes=notes)


def with_all(run: Run, cells: list[Cell]) -> Run:
    """Return the run with another log, which the first voter holds wholly."""
    return replace(run, cells=cells, committed=(len(cells), *run.committed[1:]))


def renoted(run: Run, note: Note, other: Note) -> Run:
    """Return the run with one note for another."""
    return replace(run, notes=[other if each is note else each for each in run.notes])


MUTANTS: dict[Callable[[Run], Run | None], str] = {
    is_lost: "b",
    is_doubled: "e",
    has_other_bytes: "e",
    is_elsewhere: "b",
    is_before_what_was_told: "c",
    is_a_stale_read: "d",
    is_there_though_refused: "e",
    nobody_asked: "e",
}


@pytest.mark.property
@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: str(mutate.__name__))
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_mutant_of_a_history_is_rejected(
    mutate: Callable[[Run], Run | None], data: st.DataObject
) -> None:
    """Each kind of lie is found, and laid to the promise that it breaks."""
    mutants = runs().map(mutate).filter(lambda run: run is not None)
    mutant = data.draw(mutants)
    assert mutant is not None
    assert MUTANTS[mutate] in mutant.broken()


@pytest.mark.property
@given(runs(), st.data())
@settings(max_examples=100, deadline=None)
def test_logs_that_fork_are_rejected(run: Run, data: st.DataObject) -> None:
    """Two voters that hold different records for committed are found, wherever they differ."""
    logs = run.logs()
    fork = data.draw(st.integers(1, len(run.cells)))
    cells = [*run.cells[: fork - 1], (None, b"forked"), *run.cells[fork:]]
    logs[1] = VoterLog("v2", chained(cells), len(cells))
    assert "a" in {each.promise for each in check(CLUSTER, run.notes, logs)}


@pytest.mark.property
@given(runs(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_log_that_does_not_chain_is_rejected(run: Run, data: st.DataObject) -> None:
    """A record whose bytes are not those that were hashed is found."""
    first = run.logs()[0]
    at = data.draw(st.integers(0, len(first.records) - 1))
    records = list(first.records)
    records[at] = Stored(records[at].record, records[at].encoded + b"\0", records[at].hash)
    broken = check(CLUSTER, run.notes, [first._replace(records=records)])
    assert "a" in {each.promise for each in broken}


# --- files --------------------------------------------------------------------------------------


def test_a_repeat_may_be_acknowledged_where_the_first_attempt_stands() -> None:
    """Unknown, asked again with the same key, and acknowledged: one record is right."""
    sha256 = digest(b"k0")
    told: list[tuple[What, int]] = [("invoked", 0), ("unknown", 0), ("invoked", 0), ("acked", 2)]
    notes = [
        Note(time_ns=n, client="c", what=what, key="k0", seq=seq, sha256=sha256 if not seq else "")
        for n, (what, seq) in enumerate(told)
    ]
    cells: list[Cell] = [(None, b""), ("k0", b"k0")]
    assert Run(notes, cells, (2, 0, 0)).broken() == set()
    twice: list[Cell] = [*cells, ("k0", b"k0")]
    assert Run(notes, twice, (3, 0, 0)).broken() >= {"b", "e"}


def test_notes_and_a_real_log_are_read_from_their_files(tmp_path: Path) -> None:
    """What a client noted while it wrote to a log is accepted; with a line changed it is not."""
    lab = Lab(tmp_path / "log")
    replica = lab.open()
    book = Notebook(tmp_path / "notes", "c1")
    for number in range(5):
        asked = batch("a", "b", key=f"test-{number}", what=number)
        data = msgspec.msgpack.encode(asked.drafts[0].event)
        book.write("invoked", f"test-{number}", data=data)
        (outcome,) = lab.ask(replica, asked)
        assert isinstance(outcome, Committed)
        book.write("acked", f"test-{number}", seq=outcome.records[0].record.seq)
    assert replica.indexer.wait_for(replica.committed, 20)
    replica.close()
    book.close()
    assert check_files([tmp_path / "notes"], [tmp_path / "log"], prefix="test-") == []
    lines = (tmp_path / "notes").read_bytes().splitlines()
    last = json.loads(lines[-1])
    changed = [*lines[:-1], json.dumps({**last, "seq": last["seq"] - 1}).encode(), b'{"cut off']
    (tmp_path / "notes").write_bytes(b"\n".join(changed))
    assert len(list(read_notes(tmp_path / "notes"))) == 10
    broken = check_files([tmp_path / "notes"], [tmp_path / "log"], prefix="test-")
    assert {each.promise for each in broken} == {"b"}

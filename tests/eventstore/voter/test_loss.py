from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventstore.errors import CorruptLog, EventStoreError, LogInUse, NotOurLog
from eventstore.replica import Committed
from eventstore.storage.log_view import LogView
from eventstore.storage.verify import verify
from eventstore.voter.loss import accept_loss, find_loss
from tests.eventstore.storage_lab import START_MS, Lab, batch, fill

COUNT = 40  # records that are appended, after three of the log's own
BAD = 20


def sql(statement: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        db = apsw.Connection(str(directory / "log.sqlite"))
        db.execute(statement)
        db.close()

    return damage


def unmark(directory: Path) -> None:
    (directory / "ack-mark").unlink()


def cut_file(directory: Path) -> None:
    """As a file system may leave it: the end of the main file is gone."""
    size = (directory / "log.sqlite").stat().st_size
    os.truncate(directory / "log.sqlite", size // 2 // 4096 * 4096)


DAMAGES = [
    (sql(f"DELETE FROM log WHERE seq >= {BAD}"), BAD - 1),
    (sql(f"UPDATE log SET bytes = zeroblob(30) WHERE seq = {BAD}"), BAD - 1),
    (sql(f"DELETE FROM log WHERE seq = {BAD}"), BAD - 1),
    (unmark, COUNT + 3),
]


def accept(directory: Path) -> int:
    loss, stored = accept_loss(
        directory, reason="the disk died", actor="operator:ann", voter="v1", now_ms=START_MS
    )
    assert stored.record.kind == "log.loss-accepted"
    assert stored.record.seq == loss.kept + 1
    return loss.kept


@pytest.mark.parametrize(("damage", "kept"), DAMAGES)
def test_a_damaged_log_goes_on_after_the_loss_is_accepted(
    tmp_path: Path, damage: Callable[[Path], None], kept: int
) -> None:
    """Refused at first; then the sound part goes on in a new generation, and verifies."""
    lab = Lab(tmp_path / "log")
    records = fill(lab, COUNT)
    damage(lab.directory)
    with pytest.raises(CorruptLog):
        lab.open()
    found = find_loss(lab.directory)
    assert found is not None
    assert (accept(lab.directory), found.kept) == (kept, kept)
    replica = lab.open(verify_whole=True)
    assert replica.leadership.epoch.gen == 2
    (outcome,) = lab.ask(replica, batch("s/0"))
    assert isinstance(outcome, Committed)
    assert tuple(replica.read(1, kept)) == tuple(records[:kept])
    assert replica.version("s/0") == 1 + sum(s.record.stream == "s/0" for s in records[:kept])
    replica.close()
    report = verify(lab.directory)
    assert report.ok, report.findings


def test_of_a_file_cut_short_its_readable_beginning_is_kept(tmp_path: Path) -> None:
    """SQLite refuses the whole file; the records in the pages that are left go on."""
    lab = Lab(tmp_path / "log")
    records = fill(lab, 600)
    cut_file(lab.directory)
    with pytest.raises(CorruptLog):
        lab.open()
    kept = accept(lab.directory)
    assert 20 < kept < len(records)
    replica = lab.open(verify_whole=True)
    assert list(replica.read(1, kept)) == records[:kept]
    replica.close()
    assert verify(lab.directory).ok


def test_a_log_of_which_nothing_is_left_is_not_begun_anew(tmp_path: Path) -> None:
    """Without its first batch there is no log to go on with: refused, and nothing is changed."""
    lab = Lab(tmp_path / "log")
    fill(lab, 5)
    sql("UPDATE log SET bytes = zeroblob(9) WHERE seq = 1")(lab.directory)
    before = (lab.directory / "log.sqlite").read_bytes()
    with pytest.raises(CorruptLog, match="not even the first batch"):
        accept(lab.directory)
    assert (lab.directory / "log.sqlite").read_bytes() == before


def test_nothing_is_destroyed(tmp_path: Path) -> None:
    """The damaged file is kept, and rows that could be read stand among the orphans."""
    lab = Lab(tmp_path / "log")
    fill(lab, COUNT)
    DAMAGES[1][0](lab.directory)
    before = (lab.directory / "log.sqlite").read_bytes()
    accept(lab.directory)
    assert (lab.directory / "log.sqlite.damaged-1").read_bytes() == before
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    assert db.execute("SELECT min(seq), max(seq) FROM orphans").fetchone() == (BAD, COUNT + 3)


def test_a_request_whose_record_was_lost_is_done_anew(tmp_path: Path) -> None:
    """The index of the lost history is not believed: keys after the cut are free again."""
    lab = Lab(tmp_path / "log")
    fill(lab, COUNT)
    DAMAGES[0][0](lab.directory)
    accept(lab.directory)
    replica = lab.open()
    kept, lost = lab.ask(replica, batch("s/0", key="k0"), batch("s/0", key=f"k{COUNT - 1}"))
    assert isinstance(kept, Committed)
    assert isinstance(lost, Committed)
    assert (kept.repeated, lost.repeated) == (True, False)
    replica.close()


def test_half_a_batch_is_not_kept(tmp_path: Path) -> None:
    """If the break is inside a batch, all of that batch goes."""
    lab = Lab(tmp_path / "log")
    replica = lab.open()
    lab.ask(replica, batch("a"), batch("a", "b", "c"), batch("a"))
    replica.close()
    sql("UPDATE log SET bytes = zeroblob(30) WHERE seq = 6")(lab.directory)
    assert accept(lab.directory) == 4
    with LogView(lab.directory) as view:
        assert [s.record.kind for s in view.iterate(4)] == ["test.happened", "log.loss-accepted"]


def test_a_sound_log_and_a_running_one_are_left_alone(tmp_path: Path) -> None:
    """Nothing lost: refused. In use: refused. Neither changes a byte."""
    lab = Lab(tmp_path / "log")
    fill(lab, 5)
    assert find_loss(lab.directory) is None
    before = (lab.directory / "log.sqlite").read_bytes()
    with pytest.raises(EventStoreError, match="nothing is lost"):
        accept(lab.directory)
    assert (lab.directory / "log.sqlite").read_bytes() == before
    replica = lab.open()
    with pytest.raises(LogInUse):
        accept(lab.directory)
    replica.close()


class Filled:
    """A log of some hundred records, ended in order, and what is in it."""

    def __init__(self, directory: Path) -> None:
        lab = Lab(directory)
        self.directory, self.records = lab.directory, fill(lab, 400)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """One for all examples, which damage copies of it."""
    return Filled(tmp_path_factory.mktemp("filled") / "log")


def damaged(data: bytes, at: float, length: float, how: str) -> bytes:
    """Damage some of a file: by place and length as parts of its size."""
    start = int(at * len(data))
    end = min(len(data), start + 1 + int(length * length * length * len(data)))
    if how == "cut":
        return data[:start]
    inside = data[start:end]
    told = bytes(len(inside)) if how == "zeros" else bytes(byte ^ 0x55 for byte in inside)
    return data[:start] + told + data[end:]


@pytest.mark.property
@settings(max_examples=40, deadline=None)
@example(at=0.75, length=0.0, how="cut")  # a page that is half there
@example(at=0.05, length=0.0, how="zeros")  # the tables cannot be found by their names
@given(
    at=st.floats(0, 1, exclude_max=True),
    length=st.floats(0, 1),
    how=st.sampled_from(["cut", "zeros", "noise"]),
)
def test_wherever_the_file_is_damaged_a_sound_beginning_goes_on(
    filled: Filled, at: float, length: float, how: str
) -> None:
    """Bytes cut off, zeroed or changed anywhere: it is named, and what is sound is kept, or words
    say that nothing of it can be read. What is kept is what was written."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "log"
        shutil.copytree(filled.directory, directory)
        path = directory / "log.sqlite"
        path.write_bytes(damaged(path.read_bytes(), at, length, how))
        try:
            found, report = find_loss(directory), verify(directory)
        except (CorruptLog, NotOurLog):
            return
        if found is None:
            assert report.ok, "verify sees more than accept-loss"
            return
        assert not report.ok
        assert report.first_bad is not None
        assert report.first_bad > found.kept
        if not found.kept:
            with pytest.raises(CorruptLog, match="not even the first batch"):
                accept(directory)
            return
        kept = accept(directory)
        after = verify(directory)
        assert after.ok, after.findings
        with LogView(directory) as view:
            assert list(view.iterate(1, kept)) == filled.records[:kept]


def test_verify_and_the_daemon_name_the_record_of_a_page_that_is_lost(
    filled: Filled, tmp_path: Path
) -> None:
    """The one behind the last that can be read, not the first of the thousand read with it."""
    directory = tmp_path / "log"
    shutil.copytree(filled.directory, directory)
    with (directory / "log.sqlite").open("r+b") as file:
        file.seek(10 * 4096)
        file.write(bytes(4096))
    report = verify(directory)
    found = find_loss(directory)
    assert found is not None
    assert 100 < found.kept < 400
    assert (report.records, report.first_bad) == (found.kept, found.kept + 1)
    with LogView(directory) as view:
        last = view.records(1, found.kept)[-1]
        assert last == filled.records[found.kept - 1]
        with pytest.raises(CorruptLog, match="cannot be read") as caught:
            view.records(1, found.kept + 1)
    assert caught.value.seq == found.kept + 1


def test_a_file_that_is_refused_though_all_records_are_there_is_written_anew(
    filled: Filled, tmp_path: Path
) -> None:
    """No record is given up; the daemon, which refused the file, opens what was written."""
    directory = tmp_path / "log"
    shutil.copytree(filled.directory, directory)
    path = directory / "log.sqlite"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE orphans", b"DREATE TABLE orphans"))
    with pytest.raises(CorruptLog, match="orphans"):
        LogView(directory)
    found = find_loss(directory)
    assert found is not None
    assert found.kept == found.acknowledged == len(filled.records)
    assert not verify(directory).ok
    assert accept(directory) == found.kept
    assert verify(directory).ok
    with LogView(directory) as view:
        assert list(view.iterate(1, found.kept)) == filled.records

"""Every kind of damage to the files of a log is found at its start, or does no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.errors import CorruptLog, EventStoreError, NotOurLog, StorageFailed
from eventstore.record import Stored
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import LogFile
from eventstore.voter.creation import create_log
from eventstore.voter.storage import VoterStorage
from tests.eventstore.storage_lab import CLUSTER, ORIGIN, START_MS, Lab, batch, fill, open_alone

RECORDS = 60


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Stored]]:
    """A log as a crash leaves it: half in the main file, half in the WAL, marked to the end."""
    lab = Lab(tmp_path_factory.mktemp("crashed") / "log")
    fill(lab, RECORDS // 2)
    replica = lab.open()
    lab.ask(replica, *[batch("t", what=n, text="x" * 50) for n in range(RECORDS // 2)])
    image = lab.directory.with_name("image")
    image.mkdir()
    for name in ("log.sqlite", "log.sqlite-wal", "ack-mark"):
        shutil.copy(lab.directory / name, image / name)
    records = list(replica.read(1, replica.committed))
    replica.close()
    assert (image / "log.sqlite-wal").stat().st_size > 10_000
    return image, records


def copied(image: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(image, to)
    return to


def all_records(opened: VoterStorage) -> list[Stored]:
    return list(opened.reader.stored(1, opened.head))


def test_a_crash_loses_nothing(crashed: tuple[Path, list[Stored]], tmp_path: Path) -> None:
    """The image of a running log opens with every record that was acknowledged."""
    image, records = crashed
    opened = open_alone(Layout(copied(image, tmp_path / "log")))
    assert all_records(opened) == records
    opened.close()


@pytest.mark.property
@pytest.mark.parametrize("name", ["log.sqlite", "log.sqlite-wal", "ack-mark"])
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_detected_or_harmless(
    crashed: tuple[Path, list[Stored]], tmp_path: Path, name: str, where: float, bit: int
) -> None:
    """One flipped bit anywhere: a typed error, or every acknowledged record is there."""
    image, records = crashed
    log = copied(image, tmp_path / "log")
    content = bytearray((log / name).read_bytes())
    at = int(where * len(content))
    content[at] ^= 1 << bit
    (log / name).write_bytes(content)
    try:
        opened = open_alone(Layout(log))
    except (CorruptLog, NotOurLog, StorageFailed):
        return
    assert all_records(opened) == records, f"{name}, byte {at}, bit {bit}"
    opened.close()


def test_a_rowid_that_flipped_does_not_end_the_walk_early(tmp_path: Path) -> None:
    """SQLite then ends a range of seqs without a word; found by the law above."""
    lab = Lab(tmp_path / "log")
    records = fill(lab, 20)
    path = lab.directory / "log.sqlite"
    content = path.read_bytes()
    cell = content.index(records[9].hash) - 6  # seq and the types of the five columns before it
    for at in range(cell - 8, cell + 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        with pytest.raises((CorruptLog, StorageFailed)):
            open_alone(Layout(lab.directory))


@pytest.mark.property
@pytest.mark.parametrize("name", ["log.sqlite", "log.sqlite-wal", "ack-mark"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_detected(
    crashed: tuple[Path, list[Stored]], tmp_path: Path, name: str, left: float
) -> None:
    """A file that lost its end never opens as if those records had not been acknowledged."""
    image, records = crashed
    log = copied(image, tmp_path / "log")
    os.truncate(log / name, int(left * (log / name).stat().st_size))
    try:
        opened = open_alone(Layout(log))
    except (CorruptLog, NotOurLog, StorageFailed):
        return
    assert all_records(opened) == records
    opened.close()


def test_a_wal_that_vanished_is_named_by_the_first_lost_seq(
    crashed: tuple[Path, list[Stored]], tmp_path: Path
) -> None:
    """To SQLite that is a sound database; the ack mark knows better, and says what helps."""
    log = copied(crashed[0], tmp_path / "log")
    (log / "log.sqlite-wal").unlink()
    with pytest.raises(CorruptLog, match="were acknowledged") as caught:
        open_alone(Layout(log))
    db = apsw.Connection(str(log / "log.sqlite"))
    assert caught.value.seq == db.execute("SELECT max(seq) FROM log").get + 1
    assert "gnt-log accept-loss" in caught.value.hint
    assert db.execute("PRAGMA integrity_check").get == "ok"


@pytest.mark.parametrize(
    ("damage", "bad"),
    [
        ("UPDATE log SET bytes = zeroblob(length(bytes)) WHERE seq = 20", 20),
        ("UPDATE log SET hash = zeroblob(32) WHERE seq = 20", 20),
        ("UPDATE log SET term = 9 WHERE seq = 20", 20),
        ("DELETE FROM log WHERE seq = 20", 20),
        ("UPDATE log SET bytes = NULL WHERE seq = 20", None),
        ("UPDATE log SET bytes = (SELECT bytes FROM log WHERE seq = 21) WHERE seq = 20", 20),
        ("DELETE FROM log WHERE seq = 1", 1),
        ("DELETE FROM log", 1),
    ],
)
def test_the_first_bad_seq_is_named(
    crashed: tuple[Path, list[Stored]], tmp_path: Path, damage: str, bad: int | None
) -> None:
    """Changed, missing and swapped records are found by the chain, with seq and command."""
    log = copied(crashed[0], tmp_path / "log")
    db = apsw.Connection(str(log / "log.sqlite"))
    if bad is None:
        with pytest.raises(apsw.ConstraintError):
            db.execute(damage)
        return
    db.execute(damage)
    db.close()
    with pytest.raises(CorruptLog) as caught:
        open_alone(Layout(log))
    assert caught.value.seq == bad
    assert "gnt-log" in caught.value.hint


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA application_id = 1",
        "UPDATE meta SET value = 2 WHERE name = 'format'",
        "UPDATE meta SET value = zeroblob(16) WHERE name = 'inc'",
    ],
)
def test_what_is_not_our_log_is_refused(
    crashed: tuple[Path, list[Stored]], tmp_path: Path, damage: str
) -> None:
    """Another program's database, a newer format, another storage's mark: NotOurLog."""
    log = copied(crashed[0], tmp_path / "log")
    db = apsw.Connection(str(log / "log.sqlite"))
    db.execute(damage)
    db.close()
    with pytest.raises(NotOurLog):
        open_alone(Layout(log))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Text, or nothing, under the log's name is NotOurLog or CorruptLog and stays as it is."""
    for content in (b"", b"just text, and a good deal of it\n" * 400):
        (tmp_path / "log.sqlite").write_bytes(content)
        with pytest.raises(EventStoreError):
            open_alone(Layout(tmp_path))
        assert (tmp_path / "log.sqlite").read_bytes() == content or not content


def test_a_mark_above_the_logs_epoch_is_refused(
    crashed: tuple[Path, list[Stored]], tmp_path: Path
) -> None:
    """A term that was spoken in and is not in the log means that something said is gone."""
    log = copied(crashed[0], tmp_path / "log")
    db = apsw.Connection(str(log / "log.sqlite"))
    db.execute("UPDATE meta SET value = 1 WHERE name = 'term'")
    db.close()
    with pytest.raises(CorruptLog, match="epoch"):
        open_alone(Layout(log))


def test_the_settings_of_the_file_are_those_that_make_commits_durable(tmp_path: Path) -> None:
    """WAL, FULL, no automatic checkpoint, on a SQLite without the WAL-reset bug."""
    lab = Lab(tmp_path / "log")
    log = LogFile.open(Layout(lab.directory).log)
    db = log._db
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("synchronous") == 2
    assert db.pragma("wal_autocheckpoint") == 0
    assert tuple(map(int, apsw.sqlitelibversion().split("."))) >= (3, 51, 3)
    log.close()


def test_a_log_is_not_made_over_another(tmp_path: Path) -> None:
    """Initialising twice is refused and harms nothing."""
    lab = Lab(tmp_path / "log")
    records = fill(lab, 5)
    with pytest.raises(NotOurLog, match="already"):
        create_log(lab.directory, cluster_id="x", origin="x", voter="v1", now_ms=START_MS)
    opened = open_alone(Layout(lab.directory), cluster_id=CLUSTER)
    assert all_records(opened) == records
    opened.close()


def test_a_log_is_not_made_under_a_name_that_could_not_sign(tmp_path: Path) -> None:
    """A bad origin is refused before anything is made, not at the first checkpoint."""
    with pytest.raises(ValueError, match="cannot name a log"):
        create_log(tmp_path / "log", cluster_id="x", origin="a b", voter="v1", now_ms=START_MS)
    assert not (tmp_path / "log").exists()


def test_a_creation_that_was_killed_can_be_done_again(tmp_path: Path) -> None:
    """What a crash leaves of a half-made log is no log, and no obstacle."""
    (tmp_path / "log.sqlite.new").write_bytes(b"half")
    (tmp_path / "log.sqlite.new-wal").write_bytes(b"half")
    (tmp_path / "ack-mark").write_bytes(b"half")
    create_log(tmp_path, cluster_id=CLUSTER, origin=ORIGIN, voter="v1", now_ms=START_MS)
    opened = open_alone(Layout(tmp_path))
    assert [stored.record.kind for stored in all_records(opened)] == [
        "log.created",
        "log.epoch-started",
    ]
    opened.close()


@pytest.mark.acceptance
def test_two_processes_cannot_write_one_log(tmp_path: Path) -> None:
    """The second process is refused and told the pid of the first."""
    lab = Lab(tmp_path / "log")
    opened = open_alone(Layout(lab.directory))
    code = (
        "import sys, pathlib\n"
        "from eventstore.errors import LogInUse\n"
        "from eventstore.storage.layout import Layout\n"
        "from eventstore.voter.storage import open_voter\n"
        "try: open_voter(Layout(pathlib.Path(sys.argv[1])))\n"
        "except LogInUse as error: sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", code, str(lab.directory)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"process {os.getpid()}" in refused.stderr
    opened.close()
    assert subprocess.run(command, check=False).returncode == 0


def test_a_log_that_is_gone_is_neither_opened_nor_begun_anew(
    crashed: tuple[Path, list[Stored]], tmp_path: Path
) -> None:
    """Where only the mark is left, it tells how much there was, and nothing overwrites it."""
    layout = Layout(copied(crashed[0], tmp_path / "log"))
    layout.log.unlink()
    mark = layout.mark.read_bytes()
    with pytest.raises(CorruptLog, match="is gone") as gone:
        open_alone(layout)
    assert "copy" in gone.value.hint
    with pytest.raises(CorruptLog, match="is gone"):
        create_log(layout.directory, cluster_id=CLUSTER, origin=ORIGIN, voter="v", now_ms=START_MS)
    assert layout.mark.read_bytes() == mark
    assert not layout.log.exists()


@pytest.mark.parametrize("foreign", [True, False])
def test_a_database_that_is_not_ours_is_not_written_to(tmp_path: Path, foreign: bool) -> None:
    """Not even by a setting: its bytes stay as they are, and an empty file stays empty."""
    path = tmp_path / "log.sqlite"
    path.touch()
    if foreign:
        db = apsw.Connection(str(path))
        db.execute("CREATE TABLE recipes(name TEXT)")
        db.close()
    before = path.read_bytes()
    with pytest.raises(NotOurLog, match="no Cairn log"):
        LogFile.open(path)
    assert path.read_bytes() == before

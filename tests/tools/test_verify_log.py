"""The auditor's verifier agrees with the writer's own, with which it shares no code."""

from __future__ import annotations

import ast
import base64
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.codec import decode_event, decode_record, encode_event, encode_record
from eventstore.events import STREAM, CheckpointSigned, KeyRevoked
from eventstore.proofs.checkpoint import key_id, parse, sign
from eventstore.record import Batch, Draft, chain_hash, genesis_hash
from eventstore.storage.ack_mark import AckMark
from eventstore.storage.log_view import LogView
from eventstore.storage.verify import verify
from shell.render.records import as_fields
from tests.eventstore.storage.test_verify import ADMITTED, SEED, SIGN_KEY, forge, signed
from tests.eventstore.storage_lab import CLUSTER, ORIGIN, Lab, batch, fill
from tools import verify_log

SCRIPT = Path(verify_log.__file__)
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of batches of one and of three records, with two checkpoints under an admitted key."""
    lab = Lab(tmp_path_factory.mktemp("sound") / "log", first=[ADMITTED])
    signed(lab, 20)
    replica = lab.open(sign_seed=SEED)
    lab.ask(replica, batch("s/1", "s/2", "s/3"), batch("s/1", what=1 << 40, text="ü" * 300))
    replica.close()
    return lab.directory


@pytest.fixture
def lab(sound: Path, tmp_path: Path) -> Lab:
    """A copy of it that may be damaged."""
    shutil.copytree(sound, tmp_path / "log")
    return Lab(tmp_path / "log")


def ours(directory: Path, *keys: bytes) -> verify_log.Report:
    """What the auditor's verifier finds."""
    mark = directory / "ack-mark"
    return verify_log.audit(
        verify_log.open_source(directory / "log.sqlite"),
        pinned=frozenset(keys),
        mark=verify_log.read_mark(mark) if mark.exists() else None,
    )


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program as an auditor does."""
    command = [sys.executable, "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def bad_seqs(report: object) -> set[int]:
    return {finding.seq for finding in report.findings}  # type: ignore[attr-defined]  # either's


def execute(lab: Lab, *statements: str) -> None:
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    for statement in statements:
        db.execute(statement)
    db.close()


def retell(lab: Lab, seq: int, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of a record and all hashes after it, as who has the whole disk could."""
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    last = genesis_hash(CLUSTER)
    for number, encoded in db.execute("SELECT seq, bytes FROM log ORDER BY seq").fetchall():
        assert isinstance(encoded, bytes)
        told = change(encoded) if number == seq else encoded
        last = chain_hash(last, told)
        db.execute("UPDATE log SET bytes=?, hash=? WHERE seq=?", (told, last, number))
    db.close()
    mark = AckMark.open(lab.directory / "ack-mark")
    mark.write(msgspec.structs.replace(mark.mark, hash=last))
    mark.close()


def checkpoints(directory: Path) -> list[int]:
    with LogView(directory) as view:
        return [s.record.seq for s in view.iterate() if s.record.kind == CheckpointSigned.KIND]


def with_note(change: Callable[[CheckpointSigned], CheckpointSigned]) -> Callable[[bytes], bytes]:
    """Change the event in the bytes of a checkpoint's record."""

    def changed(encoded: bytes) -> bytes:
        record = decode_record(encoded)
        event = change(decode_event(CheckpointSigned, record.data))
        return encode_record(msgspec.structs.replace(record, data=encode_event(event)))

    return changed


def by_a_stranger(event: CheckpointSigned) -> CheckpointSigned:
    """Sign with a key that was not admitted, under the id of the one that was."""
    note = parse(event.note)
    content = key_id(ORIGIN, SIGN_KEY) + STRANGER.sign(note.text.encode())
    line = f"— {ORIGIN} {base64.b64encode(content).decode()}\n"
    return msgspec.structs.replace(event, note=f"{note.text}\n{line}")


def rightly_signed(**changes: object) -> Callable[[CheckpointSigned], CheckpointSigned]:
    """Sign something untrue with the right key."""

    def changed(event: CheckpointSigned) -> CheckpointSigned:
        checkpoint = parse(event.note).checkpoint._replace(**changes)  # type: ignore[arg-type]  # the fields of Checkpoint
        return msgspec.structs.replace(event, note=sign(checkpoint, voter))

    voter = Ed25519PrivateKey.from_private_bytes(SEED)
    return changed


def cut_note(event: CheckpointSigned) -> CheckpointSigned:
    return msgspec.structs.replace(event, note=event.note[:40])


def swap(lab: Lab) -> None:
    execute(
        lab,
        "UPDATE log SET seq = -9 WHERE seq = 9",
        "UPDATE log SET seq = 9 WHERE seq = 10",
        "UPDATE log SET seq = 10 WHERE seq = -9",
    )


def cut_off_batch(lab: Lab) -> None:
    """End the log, and what was acknowledged, in the middle of the batch of three."""
    with LogView(lab.directory) as view:
        (middle,) = [
            s
            for s in view.iterate()
            if (s.record.index, s.record.count) == (1, 3) and s.record.seq > 5
        ]
    execute(lab, f"DELETE FROM log WHERE seq > {middle.record.seq}")
    mark = AckMark.open(lab.directory / "ack-mark")
    mark.write(msgspec.structs.replace(mark.mark, seq=middle.record.seq, hash=middle.hash))
    mark.close()


def at_checkpoint(number: int, change: Callable[[CheckpointSigned], CheckpointSigned]) -> Damage:
    return lambda lab: retell(lab, checkpoints(lab.directory)[number], with_note(change))


Damage = Callable[[Lab], None]
DAMAGES: dict[str, Damage] = {
    "nothing": lambda lab: None,
    "a byte of a record": lambda lab: execute(
        lab,
        "UPDATE log SET bytes = CAST(substr(bytes, 1, 60) || x'00' AS BLOB) || substr(bytes, 62)"
        " WHERE seq = 13",
    ),
    "a hash": lambda lab: execute(lab, "UPDATE log SET hash = zeroblob(32) WHERE seq = 13"),
    "the term beside a record": lambda lab: execute(lab, "UPDATE log SET term = 9 WHERE seq = 13"),
    "a record of another type": lambda lab: execute(lab, "UPDATE log SET bytes = 7 WHERE seq = 13"),
    "a record cut short": lambda lab: execute(
        lab, "UPDATE log SET bytes = substr(bytes, 1, 40) WHERE seq = 13"
    ),
    "a record cut short, chain redone": lambda lab: retell(lab, 13, lambda told: told[:-3]),
    "a record with more behind it": lambda lab: retell(lab, 13, lambda told: told + b"\xc0"),
    "no record at all, chain redone": lambda lab: retell(lab, 13, lambda _: b"\x93\x01\x02\x03"),
    "a record of deep arrays": lambda lab: retell(
        lab, 13, lambda told: told[:-3] + b"\x91" * 40 + told[-3:]
    ),
    "the first one gone": lambda lab: execute(lab, "DELETE FROM log WHERE seq = 1"),
    "one in the middle gone": lambda lab: execute(lab, "DELETE FROM log WHERE seq = 13"),
    "the last one gone": lambda lab: execute(
        lab, "DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)"
    ),
    "half of them gone": lambda lab: execute(lab, "DELETE FROM log WHERE seq > 20"),
    "two in the wrong order": swap,
    "a batch cut off": cut_off_batch,
    "an actor forged": lambda lab: forge(lab, 9, actor="operator:eve"),
    "a version forged": lambda lab: forge(lab, 9, version=77),
    "a time forged": lambda lab: forge(lab, 9, time=1),
    "a batch forged": lambda lab: forge(lab, 9, count=2),
    "an index forged": lambda lab: forge(lab, 9, index=1, count=2),
    "a seq forged": lambda lab: retell(
        lab, 9, lambda told: encode_record(msgspec.structs.replace(decode_record(told), seq=8))
    ),
    "a format forged": lambda lab: forge(lab, 9, v=2),
    "an id forged": lambda lab: forge(lab, 9, event_id=b"short"),
    "a key that is none admitted": lambda lab: forge(
        lab, 3, data=msgspec.Raw(msgspec.msgpack.encode({"role": "voter"}))
    ),
    "a wrong signature": at_checkpoint(0, by_a_stranger),
    "a note cut short": at_checkpoint(0, cut_note),
    "a false root, signed": at_checkpoint(1, rightly_signed(root=bytes(32))),
    "a false size, signed": at_checkpoint(1, rightly_signed(size=5)),
    "another log's, signed": at_checkpoint(1, rightly_signed(origin="other.example.net/log")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_both_verifiers_name_the_same_records(lab: Lab, damage: Damage) -> None:
    """Whatever was done to the log, both find it, or that there is nothing, at the same seqs."""
    damage(lab)
    theirs, mine = verify(lab.directory), ours(lab.directory)
    assert bad_seqs(mine) == bad_seqs(theirs), (mine.findings, theirs.findings)
    assert (mine.records, mine.head_hash) == (theirs.records, theirs.head_hash)
    assert (mine.checkpoints, mine.covered) == (theirs.checkpoints, theirs.covered)
    assert mine.first_bad == theirs.first_bad
    assert theirs.ok == (damage is DAMAGES["nothing"])


def test_an_epoch_that_falls_is_found(lab: Lab) -> None:
    """Both say at which record a reign ends that had ended already."""
    execute(lab, "UPDATE log SET term = 0 WHERE seq = 30")
    forge(lab, 30, term=0)
    assert 30 in bad_seqs(verify(lab.directory))
    assert any(f.seq == 30 and "epoch" in f.what for f in ours(lab.directory).findings)


def test_flipped_bits_in_records_are_found_where_they_are(lab: Lab) -> None:
    """One bit in the bytes or the hash of a record, in the file itself: both name that record."""
    path = lab.directory / "log.sqlite"
    whole, draw = path.read_bytes(), random.Random(3)
    with LogView(lab.directory) as view:
        stored = list(view.iterate())
    tried = 0
    for _ in range(60):
        victim = draw.choice(stored)
        target = draw.choice((victim.encoded, victim.hash))
        if whole.count(target) != 1:
            continue  # it lies over two pages, or an old copy of it in unused space
        tried += 1
        at = whole.find(target) + draw.randrange(len(target))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert ours(lab.directory).first_bad == victim.record.seq
        assert verify(lab.directory).first_bad == victim.record.seq
    assert tried > 20


def test_no_flipped_bit_passes_unless_the_records_are_whole(lab: Lab) -> None:
    """Anywhere in the file: what is called sound has all the records that were written."""
    path = lab.directory / "log.sqlite"
    whole, draw = path.read_bytes(), random.Random(5)
    written = list(verify_log.open_source(path).entries())
    found = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            report = ours(lab.directory)
        except verify_log.Unreadable:
            found += 1
            continue
        if report.findings:
            found += 1
        else:
            assert list(verify_log.open_source(path).entries()) == written
            assert report.head == len(written)
    assert found > 30


def test_keys_count_from_their_admission_to_their_revocation(tmp_path: Path) -> None:
    """Unknown keys' checkpoints do not count, nor those made after a key was revoked."""
    unknown = Lab(tmp_path / "unknown")
    signed(unknown, 5)
    assert bad_seqs(ours(unknown.directory)) == bad_seqs(verify(unknown.directory)) != set()
    revoked = Lab(tmp_path / "revoked", first=[ADMITTED])
    signed(revoked, 5, checkpoints=1)
    replica = revoked.open()
    event = KeyRevoked(curve_key="c" * 40, reason="lost")
    revoked.ask(replica, Batch(drafts=(Draft(stream=STREAM, event=event, actor="operator:ann"),)))
    replica.close()
    signed(revoked, 5, checkpoints=1)
    mine, theirs = ours(revoked.directory), verify(revoked.directory)
    assert (mine.checkpoints, bad_seqs(mine)) == (theirs.checkpoints, bad_seqs(theirs))
    assert mine.checkpoints == 1


def test_a_log_invented_with_its_keys_is_found_by_a_key_from_elsewhere(
    lab: Lab, tmp_path: Path
) -> None:
    """By itself an invention is sound; who brings the voter's key is not taken in."""
    invented = Lab(
        tmp_path / "invented",
        first=[
            msgspec.structs.replace(
                ADMITTED,
                event=msgspec.structs.replace(
                    ADMITTED.event,
                    sign_key=base64.b64encode(STRANGER.public_key().public_bytes_raw()).decode(),
                ),
            )
        ],
    )
    seed = STRANGER.private_bytes_raw()
    replica = invented.open(sign_seed=seed)
    invented.ask(replica, *[batch("s/1") for _ in range(5)])
    assert replica.indexer.wait_for(replica.committed, 20)
    before = replica.committed
    replica.tick(0.0)
    replica.tick(5.0)
    invented.run_until(lambda: replica.committed > before)
    replica.close()
    assert not ours(invented.directory).findings
    assert ours(invented.directory, SIGN_KEY).first_bad is not None
    assert not ours(lab.directory, SIGN_KEY).findings


def test_a_log_that_nobody_signed_is_not_enough_for_who_gives_a_key(tmp_path: Path) -> None:
    """Leaving out every checkpoint does not get a log past a pinned key."""
    plain = Lab(tmp_path / "plain", first=[ADMITTED])
    fill(plain, 5)
    assert not ours(plain.directory).findings
    assert ours(plain.directory, SIGN_KEY).first_bad == 1


def test_a_log_is_read_while_its_wal_is_not_copied_back(tmp_path: Path) -> None:
    """With the WAL beside it, the records that only the WAL holds are verified too."""
    live = Lab(tmp_path / "live", first=[ADMITTED])
    replica = live.open(sign_seed=SEED)
    live.ask(replica, *[batch("s/1") for _ in range(5)])
    report = ours(live.directory)
    assert (report.records, report.findings) == (replica.committed, [])
    replica.close()


# --- exports ----------------------------------------------------------------------------------


def export(directory: Path, path: Path) -> list[str]:
    """Write what `gnt-log export` writes; return the lines."""
    with LogView(directory) as view:
        lines = [msgspec.json.encode(as_fields(stored)).decode() for stored in view.iterate()]
    path.write_text("\n".join(lines) + "\n")
    return lines


def first_bad_of(path: Path, lines: list[str]) -> int | None:
    path.write_text("\n".join(lines) + "\n")
    return verify_log.audit(verify_log.open_source(path), mark=None).first_bad


def altered(line: str, **changes: object) -> str:
    return json.dumps({**json.loads(line), **changes})


def test_an_export_of_a_sound_log_is_sound(lab: Lab, tmp_path: Path) -> None:
    """The bytes are put together again, and every hash, root and signature fits."""
    path = tmp_path / "log.jsonl"
    export(lab.directory, path)
    report = verify_log.audit(verify_log.open_source(path), mark=None)
    theirs = verify(lab.directory)
    assert report.findings == []
    assert (report.records, report.checkpoints) == (theirs.records, theirs.checkpoints)
    assert (report.head_hash, report.covered) == (theirs.head_hash, theirs.covered)


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": "operator:eve"},
        {"data": base64.b64encode(msgspec.msgpack.encode({"what": 7})).decode()},
        {"event": {"what": 7}},
        {"time": "2020-01-01T00:00:00.000Z"},
        {"hlc": 5},
        {"hash": "00" * 32},
        {"epoch": [1, 9]},
        {"job": 5},
        {"seq": 99},
        {"epoch": "1.1"},
        {"event_id": None},
    ],
    ids=str,
)
def test_a_line_that_was_changed_is_named(
    lab: Lab, tmp_path: Path, changes: dict[str, object]
) -> None:
    """What is hashed, and what stands there for people: none of it can be changed unnoticed."""
    path = tmp_path / "log.jsonl"
    lines = export(lab.directory, path)
    lines[12] = altered(lines[12], **changes)
    assert first_bad_of(path, lines) == 13


def test_lines_that_are_missing_swapped_or_torn_are_named(lab: Lab, tmp_path: Path) -> None:
    """The first seq that does not follow is the one that is told."""
    path = tmp_path / "log.jsonl"
    lines = export(lab.directory, path)
    assert first_bad_of(path, lines) is None
    assert first_bad_of(path, lines[:12] + lines[13:]) == 13
    assert first_bad_of(path, [*lines[:12], lines[13], lines[12], *lines[14:]]) == 13
    assert first_bad_of(path, [*lines[:12], lines[12][:50]]) == 13
    assert first_bad_of(path, [*lines[:12], "[1, 2]"]) == 13


def test_a_history_rewritten_in_an_export_is_found_by_the_checkpoints(
    lab: Lab, tmp_path: Path
) -> None:
    """Who redoes every hash in the lines still cannot sign."""
    forge(lab, 9, actor="operator:eve")
    path = tmp_path / "log.jsonl"
    lines = export(lab.directory, path)
    assert first_bad_of(path, lines) == checkpoints(lab.directory)[0]


# --- the program --------------------------------------------------------------------------------


@pytest.mark.acceptance
def test_the_file_alone_tells_sound_from_not_sound_from_unreadable(
    lab: Lab, tmp_path: Path
) -> None:
    """Copied to another place, it exits with 0, 1 or 2 and says why."""
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    script = Path(shutil.copy(SCRIPT, alone))
    log = Path(shutil.copy(lab.directory / "log.sqlite", alone))
    done = run(script, log)
    assert (done.returncode, done.stderr) == (0, "")
    assert "SOUND" in done.stdout
    assert "no ack mark" in done.stdout
    key = base64.b64encode(SIGN_KEY).decode()
    assert run(script, log, "--key", key).returncode == 0
    typed = base64.b64encode(b"\x01" + SIGN_KEY).decode()
    c2sp = f"{ORIGIN}+{key_id(ORIGIN, SIGN_KEY).hex()}+{typed}"
    assert run(script, log, "--key", c2sp).returncode == 0
    assert run(script, log, "--key", base64.b64encode(bytes(32)).decode()).returncode == 1
    execute(lab, "DELETE FROM log WHERE seq = 13")
    done = run(script, lab.directory / "log.sqlite")
    assert done.returncode == 1
    assert "record 13: it is missing" in done.stdout
    assert "first bad seq 13" in done.stdout


@pytest.mark.acceptance
def test_what_is_no_log_is_said_in_one_line(lab: Lab, tmp_path: Path) -> None:
    """A missing file, another database, a text, part of an export, a key that is none: status 2."""
    other = tmp_path / "other.sqlite"
    apsw.Connection(str(other)).execute("CREATE TABLE t(a)")
    text = tmp_path / "text"
    text.write_text("nothing\n")
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(export(lab.directory, tmp_path / "whole.jsonl")[4:]))
    log = lab.directory / "log.sqlite"
    wrong: list[tuple[str | Path, ...]] = [
        (tmp_path / "none",), (other,), (text,), (part,), (log, "--key", "abc"),
        (log, "--key", "a+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode()),
        (log, "--ack-mark", text),
    ]  # fmt: skip
    for arguments in wrong:
        done = run(SCRIPT, *arguments)
        assert done.returncode == 2, arguments
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("verify_log.py: ")


def test_it_imports_nothing_of_ours_nor_of_anyone_unnamed() -> None:
    """Only the standard library, msgpack and cryptography."""
    allowed = set(sys.stdlib_module_names) | {"msgpack", "cryptography"}
    imported = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add((node.module or "").split(".")[0])
    assert imported <= allowed
    assert {"msgpack", "cryptography"} <= imported
    assert "import_module" not in SCRIPT.read_text()

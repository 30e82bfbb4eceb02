"""A proof for an outsider proves what it says under a voter's key, and nothing else does."""

from __future__ import annotations

import ast
import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from eventstore.events import STREAM
from eventstore.proofs.checkpoint import Checkpoint, parse, sign
from eventstore.storage.log_view import LogView
from tests.eventstore.storage.test_verify import ADMITTED, SEED, signed
from tests.eventstore.storage_lab import Lab
from tests.shell.stand_in import Master, Ran, run
from tools import verify_proof

KEY = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = KEY.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a log with two signed checkpoints, of some hundred records."""
    lab = Lab(tmp_path_factory.mktemp("proved") / "log", first=[ADMITTED])
    signed(lab, 150)
    return lab.directory


def prove(log: Path, what: object) -> Ran:
    return run(f"gnt-log prove --dir {log} {what}", Master())


def sizes(log: Path) -> list[int]:
    """Return over how many records each checkpoint is."""
    told = prove(log, "--since 1").err
    return [int(word) for word in told.rpartition("over ")[2].split(", ")]


def note_of(text: str) -> str:
    return text.partition("\n\n")[2]


def test_a_record_is_proved(log: Path) -> None:
    """From the first to the last under the checkpoint; what is told of it is what the log has."""
    last = max(sizes(log))
    for seq in (1, 2, 127, 128, 129, last - 1, last):
        told = verify_proof.check(prove(log, seq).out, [PUBLIC], None)
        with LogView(log) as view:
            record = view.records(seq, seq)[0].record
        assert told.startswith(f"seq {seq}, ")
        assert f": {record.kind} in {record.stream}, by {record.actor}\n" in told
        assert f"stands as record {seq} in the log" in told


def test_that_the_log_only_grew_is_proved(log: Path) -> None:
    """Since a checkpoint that the outsider kept, alone or in an older proof."""
    old, new = sorted(sizes(log))
    grown = prove(log, f"--since {old}").out
    with LogView(log) as view:
        notes = [s.record.data for s in view.stream(STREAM) if s.record.kind == "log.checkpoint"]
    kept = note_in(bytes(notes[0]))
    for older in (kept, f"{verify_proof.HEAD}\nextra AA==\nindex 0\n\n{kept}"):
        told = verify_proof.check(grown, [PUBLIC], older)
        assert told.startswith(f"the first {old} records are unchanged")
    same = prove(log, f"--since {new}").out
    assert verify_proof.check(same, [PUBLIC], note_of(same)).startswith(f"the first {new} ")
    other = sign(Checkpoint(parse(kept).checkpoint.origin, old, bytes(32)), KEY)
    with pytest.raises(verify_proof.Bad, match="not what was signed before"):
        verify_proof.check(grown, [PUBLIC], other)
    with pytest.raises(verify_proof.Bad, match="--old"):
        verify_proof.check(grown, [PUBLIC], None)


def note_in(data: bytes) -> str:
    return str(msgspec.msgpack.decode(data)["note"])


def test_nobody_else_can_sign_it(log: Path) -> None:
    """A proof under a key that was not given, or a checkpoint of another's, proves nothing."""
    proof = prove(log, 5).out
    stranger = STRANGER.public_key().public_bytes_raw()
    with pytest.raises(verify_proof.Bad, match="none of the given keys"):
        verify_proof.check(proof, [stranger], None)
    forged = proof.replace(note_of(proof), sign(parse(note_of(proof)).checkpoint, STRANGER))
    with pytest.raises(verify_proof.Bad, match="none of the given keys"):
        verify_proof.check(forged, [PUBLIC], None)
    assert verify_proof.check(forged, [stranger], None)


@pytest.mark.property
@given(at=st.floats(0, 1, exclude_max=True), other=st.integers(1, 255))
def test_no_byte_of_a_proof_may_be_another(log: Path, at: float, other: int) -> None:
    """Wherever it is changed, it says that it is not proved, or it proves the very same."""
    proof = _PROOFS.setdefault(str(log), prove(log, 131).out).encode()
    place = int(at * len(proof))
    changed = bytearray(proof)
    changed[place] ^= other
    try:
        text = bytes(changed).decode()
        told = verify_proof.check(text, [PUBLIC], None)
    except (UnicodeDecodeError, verify_proof.Bad):
        return
    assert told == verify_proof.check(proof.decode(), [PUBLIC], None)


_PROOFS: dict[str, str] = {}


@pytest.mark.parametrize(
    ("what", "says", "status"),
    [
        ("", "one thing is to be proved", 2),
        ("5 --since 9", "one thing is to be proved", 2),
        ("x", "'x'", 2),
        ("100000", "there is no record 100000", 1),
        ("0", "there is no record 0", 1),
        ("--since 7", "no checkpoint was signed over the first 7 records", 1),
    ],
)
def test_what_cannot_be_proved_is_refused(log: Path, what: str, says: str, status: int) -> None:
    """In words, with a hint, and nothing is written."""
    ran = prove(log, what)
    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err
    assert "hint: " in ran.err


def test_a_record_behind_the_last_checkpoint_must_wait(log: Path) -> None:
    """The checkpoint itself is signed by the next one."""
    with LogView(log) as view:
        head = view.head
    ran = prove(log, head)
    assert ran.status == 1
    assert "under no signed checkpoint yet" in ran.err


@pytest.mark.acceptance
def test_the_file_works_by_itself(log: Path, tmp_path: Path) -> None:
    """Copied elsewhere, without Cairn: exit status 0, 1 or 2, and what it says."""
    script = tmp_path / "verify_proof.py"
    script.write_text(Path(verify_proof.__file__).read_text())
    proof = tmp_path / "proof"
    proof.write_text(prove(log, 5).out)

    def ran(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", str(script), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()[-1]

    key = base64.b64encode(PUBLIC).decode()
    assert ran(str(proof), "--key", key) == (0, "PROVED")
    status, told = ran(str(proof), "--key", base64.b64encode(bytes(32)).decode())
    assert (status, told.split(":")[0]) == (1, "NOT PROVED")
    assert ran(str(tmp_path / "nothing"), "--key", key)[0] == 2


def test_it_imports_nothing_of_ours() -> None:
    """It can be read and trusted alone."""
    tree = ast.parse(Path(verify_proof.__file__).read_text())
    found = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    ours = {"eventstore", "projections", "commands", "nodeagent", "shell", "tools"}
    assert not {name.split(".")[0] for name in found} & ours

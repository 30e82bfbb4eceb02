from __future__ import annotations

import base64
from pathlib import Path

import apsw
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.codec import decode_event, decode_record, encode_record
from eventstore.errors import NotOurLog
from eventstore.events import STREAM, CheckpointSigned, KeyAdmitted, KeyRevoked
from eventstore.proofs.checkpoint import parse
from eventstore.proofs.merkle import leaf_hash, verify_consistency, verify_inclusion
from eventstore.record import Batch, Draft, chain_hash, genesis_hash
from eventstore.storage.ack_mark import AckMark
from eventstore.storage.log_view import LogView
from eventstore.storage.verify import verify
from tests.eventstore.storage_lab import CLUSTER, Lab, batch, fill

SEED = bytes(range(32))
SIGN_KEY = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
ADMITTED = Draft(
    stream=STREAM,
    actor="operator:ann",
    event=KeyAdmitted(
        name="voter:v1",
        role="voter",
        curve_key="c" * 40,
        sign_key=base64.b64encode(SIGN_KEY).decode(),
    ),
)


def signed(lab: Lab, records: int, *, checkpoints: int = 2) -> None:
    """Append records and let the leader sign checkpoints in between."""
    replica = lab.open(sign_seed=SEED)
    now_s = 0.0
    for _ in range(checkpoints):
        lab.ask(replica, *[batch(f"s/{n % 3}", what=n) for n in range(records)])
        assert replica.indexer.wait_for(replica.committed, 20)
        before = replica.committed
        replica.tick(now_s)
        replica.tick(now_s + 5)
        lab.run_until(lambda before=before: replica.committed > before)  # type: ignore[misc]  # a default
        now_s += 10
    assert replica.indexer.wait_for(replica.committed, 20)
    replica.close()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "log", first=[ADMITTED])


def test_a_sound_log_verifies_with_its_checkpoints(lab: Lab) -> None:
    """The chain, the streams, the roots and the signatures are all checked and all fit."""
    signed(lab, 40)
    report = verify(lab.directory)
    assert report.ok, report.findings
    assert (report.checkpoints, report.records) == (2, report.head)
    assert report.covered == report.head - 1
    assert report.first_bad is None


def test_checkpoints_are_due_by_time_and_by_number(lab: Lab) -> None:
    """One after five seconds with news, one after 1,000 records, none while idle."""
    replica = lab.open(sign_seed=SEED)

    def after(seconds: float) -> list[str]:
        before = replica.committed
        replica.tick(seconds)
        if replica.version(STREAM) > len(streamed):
            lab.run_until(lambda: replica.committed > before)
        return [stored.record.kind for stored in replica.read(before + 1, replica.committed)]

    streamed = [s for s in replica.read(1, replica.committed) if s.record.stream == STREAM]
    assert replica.indexer.wait_for(replica.committed, 20)
    assert after(0.0) == after(4.9) == []
    assert after(5.0) == ["log.checkpoint"]
    assert replica.indexer.wait_for(replica.committed, 20)
    streamed.append(streamed[0])
    assert after(500.0) == []
    lab.ask(replica, *[batch("a") for _ in range(1000)])
    assert replica.indexer.wait_for(replica.committed, 20)
    assert after(500.1) == ["log.checkpoint"]
    replica.close()


def forge(lab: Lab, seq: int, **changes: object) -> None:
    """Rewrite record `seq` as someone with the whole disk could: chain and ack mark included."""
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    previous = genesis_hash(CLUSTER)
    for number, stored in db.execute("SELECT seq, bytes FROM log ORDER BY seq").fetchall():
        assert isinstance(stored, bytes)
        encoded = stored
        if number == seq:
            encoded = encode_record(msgspec.structs.replace(decode_record(encoded), **changes))
        previous = chain_hash(previous, encoded)
        db.execute("UPDATE log SET bytes=?, hash=? WHERE seq=?", (encoded, previous, number))
    db.close()
    mark = AckMark.open(lab.directory / "ack-mark")
    mark.write(msgspec.structs.replace(mark.mark, hash=previous))
    mark.close()


def test_a_history_rewritten_with_its_chain_is_found_by_the_checkpoints(lab: Lab) -> None:
    """Who can recompute every hash still cannot sign: the next checkpoint does not fit."""
    signed(lab, 20)
    forge(lab, 9, actor="operator:eve")
    report = verify(lab.directory)
    with LogView(lab.directory) as view:
        kinds = {s.record.seq: s.record.kind for s in view.iterate()}
    assert kinds[report.first_bad or 0] == CheckpointSigned.KIND
    assert len(report.findings) == 2
    assert report.checkpoints == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 77}, "goes on with version 77"),
        ({"time": 1}, "time is not after"),
    ],
)
def test_what_the_chain_does_not_promise_is_checked_too(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    """Stream versions are dense and time goes on, whatever a leader may have written."""
    lab = Lab(tmp_path / "plain")
    fill(lab, 20)
    forge(lab, 9, **change)
    report = verify(lab.directory)
    assert report.first_bad == 9
    assert told in report.findings[0].what


def test_the_first_bad_record_of_a_damaged_file_is_named(lab: Lab) -> None:
    """Verification stops at the break, says where, and says how far it got."""
    signed(lab, 20)
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    db.execute("UPDATE log SET bytes = zeroblob(9) WHERE seq = 13")
    db.close()
    report = verify(lab.directory)
    assert (report.first_bad, report.records) == (13, 12)


def test_lost_records_and_a_lost_mark_are_findings(lab: Lab) -> None:
    """A log that ends before its ack mark, or without one, does not verify."""
    signed(lab, 5)
    db = apsw.Connection(str(lab.directory / "log.sqlite"))
    head = db.execute("SELECT max(seq) FROM log").get
    db.execute("DELETE FROM log WHERE seq = ?", (head,))
    db.close()
    assert verify(lab.directory).first_bad == head
    (lab.directory / "ack-mark").unlink()
    assert "ack mark" in verify(lab.directory).findings[0].what


def test_checkpoints_of_keys_that_are_not_admitted_do_not_count(tmp_path: Path) -> None:
    """A signature is worth what the log says of its key at that point: admitted, not revoked."""
    unknown = Lab(tmp_path / "unknown")
    signed(unknown, 5)
    assert len(verify(unknown.directory).findings) == 2
    revoked = Lab(tmp_path / "revoked", first=[ADMITTED])
    signed(revoked, 5, checkpoints=1)
    replica = revoked.open()
    event = KeyRevoked(curve_key="c" * 40, reason="lost")
    revoked.ask(replica, Batch(drafts=(Draft(stream=STREAM, event=event, actor="operator:ann"),)))
    replica.close()
    assert verify(revoked.directory).ok, "what was signed before the key was revoked stands"
    signed(revoked, 5, checkpoints=1)
    report = verify(revoked.directory)
    assert (report.checkpoints, len(report.findings)) == (1, 1)


@pytest.mark.parametrize("with_index", [True, False])
def test_one_record_is_proved_to_an_outsider_under_a_signed_root(
    lab: Lab, with_index: bool
) -> None:
    """With the index or without, the proofs of the view verify against the signed roots."""
    signed(lab, 300)
    if not with_index:
        (lab.directory / "index.sqlite").unlink()
    with LogView(lab.directory) as view:
        notes = [
            parse(decode_event(CheckpointSigned, s.record.data).note).checkpoint
            for s in view.stream(STREAM)
            if s.record.kind == CheckpointSigned.KIND
        ]
        old, new = notes
        for seq in (1, 2, 255, 256, 257, 300, new.size):
            (stored,) = view.records(seq, seq)
            proof = view.inclusion_proof(seq, new.size)
            assert len(proof) <= 10
            leaf = leaf_hash(stored.encoded)
            assert verify_inclusion(leaf, seq - 1, new.size, proof, new.root)
        proof = view.consistency_proof(old.size, new.size)
        assert verify_consistency(old.size, new.size, proof, old.root, new.root)


def test_progress_is_told_and_no_log_is_no_report(lab: Lab, tmp_path: Path) -> None:
    """A long verification can show how far it is; a missing log is an error, not a finding."""
    fill(lab, 10_000)
    heard: list[tuple[int, int]] = []
    report = verify(lab.directory, lambda done, whole: heard.append((done, whole)))
    assert heard == [(10_000, 2 * report.head)]
    with pytest.raises(NotOurLog):
        verify(tmp_path / "nothing")

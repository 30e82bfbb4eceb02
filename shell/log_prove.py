"""`gnt-log prove`: a proof for an outsider, who has a voter's key and not the log (edge).

    gnt-log prove SEQ             record SEQ stands in the log that a voter signed
    gnt-log prove --since SIZE    the log only grew since the checkpoint over its first SIZE records

Both rest on the newest signed checkpoint and are checked by tools/verify_proof.py. They are made
from a voter's files; nothing that fails its own check is handed out.
"""

from __future__ import annotations

from eventstore.codec import decode_event
from eventstore.errors import DecodeError
from eventstore.events import STREAM, CheckpointSigned
from eventstore.proofs.checkpoint import Checkpoint, parse
from eventstore.proofs.merkle import leaf_hash, verify_consistency, verify_inclusion
from eventstore.proofs.proof_text import consistency_text, inclusion_text
from eventstore.storage.log_view import LogView
from shell import log_source
from shell.failure import BadUsage, Failure, Status
from shell.parsing import Words
from shell.session import Session
from shell.values import number

Signed = dict[int, tuple[Checkpoint, str]]  # by size: the checkpoint, and the note that has it


def run(session: Session, words: Words) -> int:
    """Carry out prove."""
    since: int | None = words.get("since")
    if (since is None) == (not words.args):
        raise BadUsage(
            "one thing is to be proved: a record, or that the log grew",
            hint="gnt-log prove SEQ, or gnt-log prove --since SIZE",
        )
    directory = log_source.directory_of(session, words)
    if directory is None:
        raise BadUsage("there is no log on this machine", hint="--dir names its directory")
    with LogView(directory) as view:
        signed = _checkpoints(view)
        told = _grown(view, since, signed) if since is not None else _held(view, words, signed)
    session.out.write(told)
    return Status.SUCCESS


def _held(view: LogView, words: Words, signed: Signed) -> str:
    seq = number(words.args[0], "the record")
    if not 1 <= seq <= view.head:
        raise Failure(f"there is no record {seq}", hint=f"the log has records 1 to {view.head}")
    newest, note = _newest(signed, seq)
    (stored,) = view.records(seq, seq)
    path = view.inclusion_proof(seq, newest.size)
    leaf = leaf_hash(stored.encoded)
    _must(verify_inclusion(leaf, seq - 1, newest.size, path, newest.root))
    return inclusion_text(stored.encoded, seq - 1, path, note)


def _grown(view: LogView, since: int, signed: Signed) -> str:
    if since not in signed:
        near = sorted(signed, key=lambda size: abs(size - since))[:3]
        raise Failure(
            f"no checkpoint was signed over the first {since} records",
            hint=f"the nearest are over {', '.join(map(str, sorted(near)))}" if near else "",
        )
    newest, note = _newest(signed, since)
    old, _ = signed[since]
    path = view.consistency_proof(old.size, newest.size)
    _must(verify_consistency(old.size, newest.size, path, old.root, newest.root))
    return consistency_text(old.size, path, note)


def _checkpoints(view: LogView) -> Signed:
    found: Signed = {}
    for stored in view.stream(STREAM):
        if stored.record.kind == CheckpointSigned.KIND:
            try:
                note = decode_event(CheckpointSigned, stored.record.data).note
                checkpoint = parse(note).checkpoint
            except DecodeError:
                continue  # gnt-log verify names it
            found[checkpoint.size] = (checkpoint, note)
    return found


def _newest(signed: Signed, upto: int) -> tuple[Checkpoint, str]:
    """Return the newest checkpoint, which must cover the first `upto` records."""
    last = max(signed, default=0)
    if last < upto:
        raise Failure(
            f"record {upto} is under no signed checkpoint yet: the last one ends at {last}",
            hint="a checkpoint follows within 5 s of a new record, while a master leads",
        )
    return signed[last]


def _must(holds: bool) -> None:
    if not holds:
        raise Failure(
            "the log does not fit its own checkpoint: no proof is given",
            hint="gnt-log verify names what is damaged",
        )

#!/usr/bin/env python3
"""Check a proof of `gnt-log prove` by itself: one file, copied alone to any machine.

    python verify_proof.py PROOF --key KEY...               a record stands in the log
    python verify_proof.py PROOF --key KEY... --old FILE    the log only grew since that checkpoint

It needs Python 3.11 with `msgpack` and `cryptography`, and shares no code with the programs that
write the log: it was written from RFC 6962 (Merkle tree) and C2SP (tlog-proof, tlog-witness, signed
notes). KEY is a voter's public signing key that came to you another way (base64, as in
`log.key-admitted`). FILE is an older proof of this log, or a signed checkpoint alone.

Exit status: 0 proved, and what; 1 not proved, and why; 2 it cannot be read at all.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]  # it has no stubs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HEAD = "c2sp.org/tlog-proof@v1"
MOST_BYTES = 4 << 20  # of a file: a record has at most 512 KiB, a note 64 KiB
MOST_HASHES = 64
MOST_SIGNATURES = 16


class Bad(Exception):
    """It is not proved; the message says why."""


class Signed(NamedTuple):
    """A checkpoint that one of the given keys signed."""

    origin: str
    size: int
    root: bytes


class Proof(NamedTuple):
    """The lines above the checkpoint, and the checkpoint's note."""

    heads: dict[str, str]
    path: list[bytes]
    note: str


def parse(text: str) -> Proof:
    """Return what a proof says; nothing of it is believed yet. Raises Bad."""
    above, found, note = text.partition("\n\n")
    lines = above.split("\n")
    if lines[0] == HEAD:
        names: tuple[str, ...] = ("extra", "index")
        lines = lines[1:]
    else:
        names = ("old",)
    heads: dict[str, str] = {}
    for name in names:
        word, _, value = (lines.pop(0) if lines else "").partition(" ")
        if word != name or not value:
            raise Bad(f"a line `{name} ...` is missing: this is no proof of gnt-log prove")
        heads[name] = value
    if not found or len(lines) > MOST_HASHES:
        raise Bad("there is no checkpoint behind the hashes")
    path = [_unbase64(line) for line in lines]
    if any(len(each) != 32 for each in path):
        raise Bad("a hash of the proof has not 32 bytes")
    return Proof(heads, path, note)


def signed(note: str, keys: Sequence[bytes]) -> Signed:
    """Return the checkpoint in a note that one of `keys` signed. Raises Bad."""
    body, found, below = note.rpartition("\n\n")
    lines = body.split("\n")
    signatures = below.removesuffix("\n").split("\n")
    if not found or len(lines) < 3 or len(signatures) > MOST_SIGNATURES:
        raise Bad("what stands for a checkpoint is no signed note")
    text, origin = f"{body}\n", lines[0]
    ids = {_sha(origin.encode() + b"\n\x01" + key)[:4]: key for key in keys}
    good = False
    for line in signatures:
        name, _, rest = line.removeprefix("— ").partition(" ")
        content = _unbase64(rest)
        if not line.startswith("— ") or len(content) < 5:
            raise Bad("a line under the checkpoint is no signature")
        key = ids.get(content[:4]) if name == origin else None
        if key is None:
            continue  # of a key that was not given: as the format demands, it counts for nothing
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(content[4:], text.encode())
        except InvalidSignature:
            raise Bad("a signature under the checkpoint is wrong") from None
        good = True
    if not good:
        raise Bad("none of the given keys signed the checkpoint")
    return Signed(origin, _size(lines[1]), _unbase64(lines[2]))


def root_from(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162, 2.1.3.2). Raises Bad."""
    if not 0 <= index < size:
        raise Bad(f"the checkpoint is over {size} records, this one is number {index + 1}")
    place, last, found = index, size - 1, leaf
    for beside in path:
        if last == 0:
            raise Bad("the proof is longer than the tree is high")
        if place & 1 or place == last:
            found = _node(beside, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node(found, beside)
        place, last = place >> 1, last >> 1
    if last:
        raise Bad("the proof is shorter than the tree is high")
    return found


def roots_from(old: Signed, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the two roots that a consistency proof leads to (RFC 9162, 2.1.4.2). Raises Bad."""
    if old.size == size and not path:
        return old.root, old.root
    if not 0 < old.size < size or not path:
        raise Bad(f"a proof of {len(path)} hashes does not lead from {old.size} records to {size}")
    hashes = list(path) if old.size & (old.size - 1) else [old.root, *path]
    place, last = old.size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = now = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            raise Bad("the proof is longer than the tree is high")
        if place & 1 or place == last:
            before, now = _node(beside, before), _node(beside, now)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            now = _node(now, beside)
        place, last = place >> 1, last >> 1
    if last:
        raise Bad("the proof is shorter than the tree is high")
    return before, now


def check(text: str, keys: Sequence[bytes], old: str | None) -> str:
    """Return what is proved, in words. Raises Bad."""
    proof = parse(text)
    now = signed(proof.note, keys)
    where = f"in the log {now.origin}, of which {now.size} records are signed"
    if "old" in proof.heads:
        if old is None:
            raise Bad("this proof is about growth: give the older checkpoint by --old")
        before = signed(_note_in(old), keys)
        if (before.origin, before.size) != (now.origin, _size(proof.heads["old"])):
            raise Bad(f"the older checkpoint is of {before.origin}, over {before.size} records")
        if roots_from(before, now.size, proof.path) != (before.root, now.root):
            raise Bad(f"the first {before.size} records are not what was signed before")
        return f"the first {before.size} records are unchanged {where}"
    record, index = _unbase64(proof.heads["extra"]), _size(proof.heads["index"])
    if root_from(_sha(b"\x00" + record), index, now.size, proof.path) != now.root:
        raise Bad(f"the record is not number {index + 1} of what was signed")
    return f"{_told(record)}\nstands as record {index + 1} {where}"


def _note_in(text: str) -> str:
    """Return the note in a proof, or the note that it is itself."""
    is_proof = text.startswith((f"{HEAD}\n", "old "))
    return text.partition("\n\n")[2] if is_proof else text


def _told(record: bytes) -> str:
    """Return the record as people read it: the fields of docs/wire-protocol.md, section 3."""
    try:
        fields = msgpack.unpackb(record, strict_map_key=False)
        seq, time, kind, stream, actor, data = (fields[at] for at in (1, 4, 6, 8, 10, 15))
        when = datetime.fromtimestamp((time >> 16) / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, TypeError, IndexError, OverflowError, msgpack.UnpackException) as strange:
        raise Bad(f"what is proved is no record: {strange}") from None
    return f"seq {seq}, {when}: {kind} in {stream}, by {actor}\n{data!r}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Check a proof of gnt-log prove.")
    parser.add_argument("proof", type=Path, help="the file, - for standard input")
    parser.add_argument(
        "--key", action="append", required=True, help="a voter's public signing key"
    )
    parser.add_argument("--old", type=Path, help="an older checkpoint of this log, or proof")
    given = parser.parse_args(arguments)
    try:
        text = _read(given.proof)
        old = None if given.old is None else _read(given.old)
    except (OSError, ValueError) as failed:
        print(f"verify_proof.py: {failed}", file=sys.stderr)
        return 2
    try:
        print(check(text, [_key(each) for each in given.key], old))
    except Bad as why:
        print(f"NOT PROVED: {why}")
        return 1
    print("PROVED")
    return 0


def _read(path: Path) -> str:
    data = sys.stdin.buffer.read(MOST_BYTES + 1) if str(path) == "-" else path.read_bytes()
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is larger than any proof")
    return data.decode()


def _key(text: str) -> bytes:
    key = _unbase64(text)
    if len(key) != 32:
        raise Bad(f"{text} is no Ed25519 key")
    return key


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 19:
        raise Bad(f"{text!r} is no size")
    return int(text)


def _node(left: bytes, right: bytes) -> bytes:
    return _sha(b"\x01" + left + right)


def _sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except ValueError:
        raise Bad(f"{text[:40]!r} is not base64") from None


if __name__ == "__main__":
    sys.exit(main())

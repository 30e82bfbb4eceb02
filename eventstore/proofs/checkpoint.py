"""Signed checkpoints: what the log was at a size, so that it cannot be denied later (pure).

The body is a C2SP tlog-checkpoint and the whole a C2SP signed-note:

    <origin>\\n<size>\\n<base64 of the root>\\n
    \\n
    — <name> <base64 of key id || signature>\\n

The name of a key is the log's origin; several keys may bear one name and differ by their id, the
first 4 bytes of SHA-256(name || 0x0A || 0x01 || public key). Signatures of keys that the reader
does not know are ignored, as the format demands. https://c2sp.org/tlog-checkpoint, /signed-note
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from eventstore.errors import DecodeError
from eventstore.proofs.merkle import HASH_BYTES

_ED25519 = b"\x01"  # the algorithm in a key id
_DASH = "— "
MAX_NOTE_BYTES = 64 << 10
MAX_SIGNATURES = 16


class Checkpoint(NamedTuple):
    """The root over the first `size` records of the log that calls itself `origin`."""

    origin: str
    size: int
    root: bytes


class Signature(NamedTuple):
    """One line under a note."""

    name: str
    key_id: bytes
    signature: bytes


class SignedNote(NamedTuple):
    """A checkpoint, the exact text that was signed, and the signatures found under it."""

    checkpoint: Checkpoint
    text: str
    signatures: tuple[Signature, ...]


def key_id(name: str, public_key: bytes) -> bytes:
    """Return the 4 bytes that tell which key of this name made a signature."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def check_key_name(name: str) -> None:
    """Raise ValueError unless `name` may name a key, and so a log: no spaces, no plus."""
    if not name or "+" in name or any(part.isspace() for part in name):
        raise ValueError(f"{name!r} cannot name a log: it must not be empty, no spaces, no +")


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return the signed note over `checkpoint`, by one key named for the log's origin."""
    check_key_name(checkpoint.origin)
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{_base64(checkpoint.root)}\n"
    public = key.public_key().public_bytes_raw()
    signed = key_id(checkpoint.origin, public) + key.sign(text.encode())
    return f"{text}\n{_DASH}{checkpoint.origin} {_base64(signed)}\n"


def parse(note: str) -> SignedNote:
    """Return what a note says; nothing of it is believed yet. Raises DecodeError."""
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
        raise DecodeError("a note of more than 64 KiB")
    text, found, below = note.rpartition("\n\n")
    if not found or not below.endswith("\n"):
        raise DecodeError("no signatures under the note")
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise DecodeError(f"more than {MAX_SIGNATURES} signatures")
    text += "\n"
    return SignedNote(_body(text), text, tuple(_signature(line) for line in lines))


def verified_by(note: SignedNote, public_keys: Iterable[bytes]) -> bytes | None:
    """Return the first of these Ed25519 keys (32 bytes) that signed `note`, None if none did.

    A signature that bears the id of a given key and is wrong makes the note bad: None.
    """
    name = note.checkpoint.origin
    known = {key_id(name, key): key for key in public_keys}
    signer = None
    for signature in note.signatures:
        key = known.get(signature.key_id) if signature.name == name else None
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature.signature, note.text.encode())
        except InvalidSignature:
            return None
        signer = signer or key
    return signer


def _body(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4:
        raise DecodeError("a checkpoint has three lines")
    origin, size, root = lines[0], lines[1], _unbase64(lines[2])
    if not origin or not (size.isascii() and size.isdecimal()) or (size[0] == "0" and size != "0"):
        raise DecodeError("a checkpoint begins with its origin and a decimal size")
    if len(size) > 20 or len(root) != HASH_BYTES:
        raise DecodeError("a checkpoint's size or root is too long")
    return Checkpoint(origin, int(size), root)


def _signature(line: str) -> Signature:
    name, _, signed = line.removeprefix(_DASH).partition(" ")
    content = _unbase64(signed)
    if not line.startswith(_DASH) or not name or len(content) < 5:
        raise DecodeError("a line under the note is no signature")
    return Signature(name, content[:4], content[4:])


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"not base64: {error}") from error

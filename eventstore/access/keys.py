"""Key pairs in files: CURVE keys for connections, Ed25519 keys for signatures (edge).

A private key file is text, readable by its owner alone, in a directory of its owner alone:

    cairn-curve-key-1 <secret, Z85>
    cairn-sign-key-1 <seed, base64>

The public half follows from the secret one and is never stored beside it, so the two cannot differ.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from eventstore.errors import EventStoreError

_CURVE = "cairn-curve-key-1"
_SIGN = "cairn-sign-key-1"


class BadKeyFile(EventStoreError):
    """A key file is missing, unreadable, malformed, or open to others; `hint` says what to do."""


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """A CURVE key pair as Z85 text, 40 characters each. The secret does not show in `repr`."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignKeys:
    """An Ed25519 key pair: 32 raw bytes each (RFC 8032). The seed does not show in `repr`."""

    public: bytes
    seed: bytes = field(repr=False)

    @property
    def public_text(self) -> str:
        """The public key as it stands in `KeyAdmitted.sign_key`: base64."""
        return base64.b64encode(self.public).decode()


def new_curve_keys() -> CurveKeys:
    """Draw a new pair from the system's random source."""
    public, secret = zmq.curve_keypair()
    return CurveKeys(public.decode(), secret.decode())


def new_sign_keys() -> SignKeys:
    """Draw a new pair from the system's random source."""
    return _sign_keys(os.urandom(32))


def is_curve_key(text: str) -> bool:
    """Say whether `text` is a CURVE key in Z85."""
    try:
        raw = text.encode("ascii")
        # z85 of 32 bytes is 40 characters; deriving from it checks every character
        return len(raw) == 40 and len(zmq.curve_public(raw)) == 40
    except (UnicodeEncodeError, zmq.ZMQError):
        return False


def save_curve_keys(path: Path, keys: CurveKeys) -> None:
    """Write a new key file, durably. Raises BadKeyFile if there is one already."""
    _save(path, f"{_CURVE} {keys.secret}\n")


def save_sign_keys(path: Path, keys: SignKeys) -> None:
    """Write a new key file, durably. Raises BadKeyFile if there is one already."""
    _save(path, f"{_SIGN} {base64.b64encode(keys.seed).decode()}\n")


def load_curve_keys(path: Path) -> CurveKeys:
    """Read a key file. Raises BadKeyFile if it is not one, or if others may read it."""
    secret = _load(path, _CURVE)
    if not is_curve_key(secret):
        raise BadKeyFile(f"{path}: no CURVE key in it", hint=_replace_hint(path))
    return CurveKeys(zmq.curve_public(secret.encode()).decode(), secret)


def load_sign_keys(path: Path) -> SignKeys:
    """Read a key file. Raises BadKeyFile if it is not one, or if others may read it."""
    try:
        seed = base64.b64decode(_load(path, _SIGN), validate=True)
    except binascii.Error:
        seed = b""
    if len(seed) != 32:
        raise BadKeyFile(f"{path}: no Ed25519 key in it", hint=_replace_hint(path))
    return _sign_keys(seed)


def _sign_keys(seed: bytes) -> SignKeys:
    # Not at the top: command lines load CURVE keys only and must start quickly.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SignKeys(public, seed)


def _save(path: Path, text: str) -> None:
    _private_directory(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        hint = "use that key, or move the file away first"
        raise BadKeyFile(f"{path}: exists already", hint=hint) from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _private_directory(path: Path) -> None:
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        path.chmod(0o700)  # whatever the umask was


def _load(path: Path, magic: str) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as failed:
        hint = "give the key file of a user who may use this cluster"
        raise BadKeyFile(f"{path}: {failed.strerror}", hint=hint) from None
    with os.fdopen(handle, errors="replace") as file:
        if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
            raise BadKeyFile(f"{path}: others may read this key", hint=f"chmod 600 {path}")
        words = file.read(4096).split()
    if len(words) != 2 or words[0] != magic:
        raise BadKeyFile(f"{path}: not a {magic} file", hint=_replace_hint(path))
    return words[1]


def _replace_hint(path: Path) -> str:
    return f"move {path} away and let the owner of the cluster admit a new key"

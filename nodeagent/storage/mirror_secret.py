"""What the two sides of a mirror know and nobody else (pure).

Each agent has a key pair of its own (Curve25519); the public halves are in the configuration. Two
agents so have a secret in common without anybody ever sending one (RFC 7748), and from it one for
each disk is derived (HKDF, RFC 5869). Nothing that is secret stands in an order or in the log.

DRBD keeps the secret in the kernel, and `drbdsetup` takes it as an argument: on the node itself
root can see it. It proves who connects, it encrypts nothing.
"""

from __future__ import annotations

import zmq.utils.z85

_BYTES = 20  # as hexadecimal digits; DRBD takes up to 63 characters


def mirror_secret(own_secret_key: str, peer_public_key: str, disk: str) -> str:
    """Return the secret of a disk (uuid), the same on both sides. Keys are Z85, as in CURVE."""
    # 6 MiB, which an agent without mirrors does not need.
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    own = X25519PrivateKey.from_private_bytes(zmq.utils.z85.decode(own_secret_key))
    peer = X25519PublicKey.from_public_bytes(zmq.utils.z85.decode(peer_public_key))
    derive = HKDF(SHA256(), length=_BYTES, salt=None, info=f"cairn mirror {disk}".encode())
    return derive.derive(own.exchange(peer)).hex()

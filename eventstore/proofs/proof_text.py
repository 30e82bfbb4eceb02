"""Proofs as text that an outsider can check, knowing a voter's key and nothing else (pure).

That a record stands in the log, as a C2SP tlog-proof whose extra data is the record itself:

    c2sp.org/tlog-proof@v1
    extra <base64 of the record's exact bytes>
    index <its place, from 0>
    <base64 of a hash>              each hash of the RFC 6962 inclusion proof, from the leaf up
    <empty line>
    <signed checkpoint>

That the log only grew since an older checkpoint, as a witness is told so (C2SP tlog-witness):

    old <size of the older checkpoint>
    <base64 of a hash>              each hash of the RFC 6962 consistency proof
    <empty line>
    <signed checkpoint>

The outsider has the older checkpoint from before. https://c2sp.org/tlog-proof, /tlog-witness
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

HEAD = "c2sp.org/tlog-proof@v1"


def inclusion_text(record: bytes, index: int, path: Iterable[bytes], note: str) -> str:
    """Return the proof that `record` is leaf `index` under the signed `note`."""
    return _text((HEAD, f"extra {_base64(record)}", f"index {index}"), path, note)


def consistency_text(old: int, path: Iterable[bytes], note: str) -> str:
    """Return the proof that the log of the signed `note` begins with its first `old` records."""
    return _text((f"old {old}",), path, note)


def _text(lines: Iterable[str], path: Iterable[bytes], note: str) -> str:
    return "\n".join([*lines, *map(_base64, path), "", note])


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import DecodeError
from eventstore.proofs.checkpoint import Checkpoint, key_id, parse, sign, verified_by

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
POINT = Checkpoint("cairn.example.net/log", 12345, bytes(range(32)))

# The example of golang.org/x/mod/sumdb/note: verifier key, text, signature.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)


def test_key_ids_and_signatures_are_those_of_the_go_implementation() -> None:
    """The published example of the signed-note package fits our key id and what we sign over."""
    name, identity, encoded = GO_KEY.split("+", 2)
    public = base64.b64decode(encoded)[1:]
    signed = base64.b64decode(GO_SIGNATURE)
    assert key_id(name, public).hex() == identity == signed[:4].hex()
    Ed25519PublicKey.from_public_bytes(public).verify(signed[4:], GO_TEXT.encode())


def test_a_signed_checkpoint_is_parsed_and_verified() -> None:
    """The note is what C2SP's format shows, and its signer is found among known keys."""
    note = sign(POINT, KEY)
    lines = note.split("\n")
    assert lines[:2] == ["cairn.example.net/log", "12345"]
    assert lines[3] == ""
    assert lines[4].startswith("— cairn.example.net/log ")
    parsed = parse(note)
    assert parsed.checkpoint == POINT
    assert verified_by(parsed, [OTHER, PUBLIC]) == PUBLIC
    assert verified_by(parsed, [OTHER]) is None


@pytest.mark.property
@given(st.data())
def test_a_changed_note_is_refused(data: st.DataObject) -> None:
    """No change of one character leaves a note that verifies as something else."""
    note = sign(POINT, KEY)
    at = data.draw(st.integers(0, len(note) - 1))
    changed = note[:at] + data.draw(st.characters()) + note[at + 1 :]
    try:
        parsed = parse(changed)
    except DecodeError:
        return
    assert changed == note or verified_by(parsed, [PUBLIC]) is None


@pytest.mark.property
@given(st.text(max_size=200) | st.from_regex(r"[a-z\n]+\n\n— [a-z]+ [A-Za-z0-9+/=]*\n"))
def test_any_text_parses_or_raises_decode_error(note: str) -> None:
    """Only DecodeError escapes from the parser."""
    try:
        parse(note)
    except DecodeError:
        return


def test_cosignatures_of_unknown_keys_are_ignored_and_wrong_ones_of_known_keys_are_not() -> None:
    """As signed-note demands: unknown keys do not matter, a bad signature of a known one does."""
    note = sign(POINT, KEY)
    stranger = "— witness.example.org " + base64.b64encode(bytes(80)).decode() + "\n"
    assert verified_by(parse(note + stranger), [PUBLIC]) == PUBLIC
    forged = base64.b64encode(key_id(POINT.origin, OTHER) + bytes(64)).decode()
    assert verified_by(parse(note + f"— {POINT.origin} {forged}\n"), [PUBLIC, OTHER]) is None


@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "new\nline"])
def test_a_log_cannot_have_a_name_that_breaks_the_note(origin: str) -> None:
    """Names that the format cannot carry are refused before anything is signed."""
    with pytest.raises(ValueError, match="cannot name a log"):
        sign(Checkpoint(origin, 1, bytes(32)), KEY)

"""Key files: private, whole, never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from eventstore.access.keys import (
    BadKeyFile,
    is_curve_key,
    load_curve_keys,
    load_sign_keys,
    new_curve_keys,
    new_sign_keys,
    save_curve_keys,
    save_sign_keys,
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Both kinds of key come back from their files as they were."""
    curve, sign = new_curve_keys(), new_sign_keys()
    save_curve_keys(tmp_path / "curve", curve)
    save_sign_keys(tmp_path / "sign", sign)
    assert load_curve_keys(tmp_path / "curve") == curve
    assert load_sign_keys(tmp_path / "sign") == sign


def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """A key file has mode 0600 in a directory of mode 0700, also under umask 0."""
    path = tmp_path / "keys" / "voter"
    before = os.umask(0)
    try:
        save_curve_keys(path, new_curve_keys())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file that its group or the world may read is refused, with the line that repairs it."""
    path = tmp_path / "key"
    save_curve_keys(path, new_curve_keys())
    path.chmod(mode)
    with pytest.raises(BadKeyFile) as refused:
        load_curve_keys(path)
    assert refused.value.hint == f"chmod 600 {path}"


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    """Saving over an existing key is refused, and the old key is still there."""
    path = tmp_path / "key"
    first = new_curve_keys()
    save_curve_keys(path, first)
    with pytest.raises(BadKeyFile):
        save_curve_keys(path, new_curve_keys())
    assert load_curve_keys(path) == first


@pytest.mark.parametrize(
    "text",
    ["", "cairn-curve-key-1", "cairn-curve-key-1 short", "cairn-sign-key-1 AAAA", "\0\xff" * 50],
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """Neither loader takes a file that is empty, cut, of the other kind, or noise."""
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    for load in (load_curve_keys, load_sign_keys):
        with pytest.raises(BadKeyFile):
            load(path)


def test_a_missing_key_says_so(tmp_path: Path) -> None:
    """A key file that is not there is a BadKeyFile with a hint."""
    with pytest.raises(BadKeyFile, match="No such file") as refused:
        load_curve_keys(tmp_path / "none")
    assert refused.value.hint


def test_secrets_do_not_show() -> None:
    """Neither the secret key nor the seed is part of what is printed."""
    curve, sign = new_curve_keys(), new_sign_keys()
    assert curve.secret not in repr(curve)
    assert repr(sign.seed) not in repr(sign)


def test_curve_keys_are_told_from_noise() -> None:
    """Only 40 characters of Z85 are a CURVE key."""
    assert is_curve_key(new_curve_keys().public)
    assert not any(map(is_curve_key, ("", "x" * 39, "~" * 40, "é" * 40)))

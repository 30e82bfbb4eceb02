from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eventstore.errors import CorruptLog
from eventstore.storage.ack_mark import SLOT_BYTES, AckMark, Mark, read_mark

FIRST = Mark(0, bytes(32), 1, 1, "v1", bytes(16), bytes(16))


def marks(count: int) -> list[Mark]:
    return [msgspec.structs.replace(FIRST, seq=seq, hash=bytes([seq]) * 32) for seq in range(count)]


def written(path: Path, count: int) -> None:
    mark = AckMark.create(path, FIRST)
    for following in marks(count):
        mark.write(following)
    mark.close()


def test_the_last_mark_is_found_again(tmp_path: Path) -> None:
    """After any number of writes, opening gives the last one, and writing goes on from it."""
    for count in range(1, 6):
        written(tmp_path / "mark", count)
        mark = AckMark.open(tmp_path / "mark")
        assert mark.mark == marks(count)[-1]
        mark.write(msgspec.structs.replace(FIRST, seq=99))
        mark.close()
        assert read_mark(tmp_path / "mark") == msgspec.structs.replace(FIRST, seq=99)


def test_a_torn_or_flipped_slot_leaves_the_other(tmp_path: Path) -> None:
    """Whatever happens to the slot under way, the mark before it still stands."""
    path = tmp_path / "mark"
    written(path, 5)
    content = path.read_bytes()
    newest = SLOT_BYTES * (6 % 2)  # the sixth write: one by `create`, five by `written`
    for at in range(newest, newest + 120):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        mark = read_mark(path)
        assert mark in marks(5)[3:], f"byte {at}"
    assert mark == marks(5)[4], "bytes after the payload do not matter"


def test_a_mark_of_which_nothing_can_be_read_is_corruption(tmp_path: Path) -> None:
    """Missing, empty, or both slots bad: what was acknowledged is unknown, and that is said."""
    path = tmp_path / "mark"
    for content in (None, b"", b"x" * 2 * SLOT_BYTES):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CorruptLog) as caught:
            AckMark.open(path)
        assert "accept-loss" in caught.value.hint

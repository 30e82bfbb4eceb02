"""The documented bytes are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore.wire import frames, messages

DOCUMENT = Path(__file__).parents[3] / "docs" / "wire-protocol.md"
EXAMPLES: dict[str, tuple[type[Any], Any]] = {
    "request": (
        messages.Request,
        (1, 7, "range", 30_000, None, messages.RangeRequest(1, 2, 4096, "")),
    ),
    "reply": (
        messages.Reply,
        (1, 7, 0, 1, 4, True, 117, messages.RangeReply([(b"\x92\x01\x02", b"\xaa" * 32)], True)),
    ),
    "fault": (
        messages.Reply,
        (
            1, 7, 2, 1, 4, True, 117,
            messages.Fault(
                "clash",
                "job/1: expected version 3, it is at 4",
                data={"stream": msgspec.Raw(frames.encode("job/1"))},
            ),
        ),
    ),
    "publication": (
        messages.Publication,
        messages.Publication(1, 1, 4, True, 118, 118, b"\xbb" * 32, 118),
    ),
    "heartbeat": (
        messages.Heartbeat,
        messages.Heartbeat(
            1, 1, 4, True, "v1", "v1", 118, "6f1f3f0e-0000-4000-8000-000000000001"
        ),
    ),
}  # fmt: skip


def documented(name: str) -> bytes:
    """Return the bytes of an example in docs/wire-protocol.md."""
    found = re.search(rf"<!-- example: {name} -->\n((?: {{4}}[0-9a-f ]+\n)+)", DOCUMENT.read_text())
    assert found, name
    return bytes.fromhex(found[1])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_documented_bytes_are_those_of_the_code(name: str) -> None:
    """Each example of the document is what the code sends, and is understood when it comes."""
    kind, value = EXAMPLES[name]
    assert frames.encode(value) == documented(name)
    assert isinstance(frames.decode(documented(name), kind), kind)


def test_no_example_is_unchecked() -> None:
    """Every example of the document is among those that are checked."""
    assert set(re.findall(r"<!-- example: (\w+) -->", DOCUMENT.read_text())) == set(EXAMPLES)


def test_elements_that_a_later_version_adds_are_ignored() -> None:
    """A request or a publication with more elements than known is understood."""
    for name in EXAMPLES:
        kind, _ = EXAMPLES[name]
        longer = [*frames.decode(documented(name), list[msgspec.Raw]), "new", {"more": 1}]
        assert isinstance(frames.decode(frames.encode(longer), kind), kind)


def test_defaults_of_a_range_may_be_left_out() -> None:
    """`[1]` asks for the log from its first record on."""
    assert frames.decode(b"\x91\x01", messages.RangeRequest) == messages.RangeRequest(1)

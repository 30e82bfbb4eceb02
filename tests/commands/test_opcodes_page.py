"""The page about opcodes is true."""

from __future__ import annotations

from tests.commands.opcodes_page import PATH, page


def test_the_page_is_what_the_opcodes_say() -> None:
    """Run `python -m tests.commands.opcodes_page` after a change."""
    assert PATH.read_text() == page()

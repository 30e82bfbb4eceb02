"""What a program of htools can be stopped by."""

from __future__ import annotations


class HtoolsError(Exception):
    """The program ends with this message on stderr, after "Error: ", and this status."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class DataError(Exception):
    """Data of a cluster that cannot be read; the message says what and where."""


def position(text: str | bytes, at: int) -> str:
    """The line and the column of an offset, as messages name them; bytes before it are UTF-8."""
    before = text[:at] if isinstance(text, str) else text[:at].decode(errors="replace")
    *_, last = lines = before.split("\n")
    return f"(line {len(lines)}, column {len(last) + 1})"

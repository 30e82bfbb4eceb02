"""What a program of htools can be stopped by."""

from __future__ import annotations


class HtoolsError(Exception):
    """The program ends with this message on stderr, after "Error: ", and this status."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class DataError(Exception):
    """Data of a cluster that cannot be read; the message says what and where."""

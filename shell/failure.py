"""What goes wrong on a command line, and how it is said: Ganeti's words, our hint (pure)."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses; Ganeti's where it has one (params.json, exit_codes)."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    NOT_CLUSTER = 5
    NOT_MASTER = 11
    NODE_SETUP = 12
    CONFIRMATION = 13
    UNKNOWN_FIELD = 14
    INTERRUPTED = 130  # by Ctrl-C, as shells report it


# Codes of what was refused before anything was done; others happened while it was being done.
_BEFORE = frozenset(
    {
        "wrong_input",
        "wrong_state",
        "unknown_entity",
        "already_exists",
        "resource_not_unique",
        "insufficient_resources",
        "temp_insufficient_resources",
        "access_denied",
    }
)


class Failure(Exception):
    """The command cannot go on. `hint` says what would help; `status` is the exit status."""

    def __init__(self, message: str, *, hint: str = "", status: Status = Status.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


class BadUsage(Failure):
    """The words typed are not a command."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, status=Status.USAGE)


def refused(code: str, message: str, hint: str = "", step: str = "") -> Failure:
    """Return the failure of an order that was refused, or that failed, with a code."""
    if code in _BEFORE and not step:
        text = (
            "Failure: prerequisites not met for this operation:\n"
            f"error type: {code}, error details:\n{message}"
        )
    else:
        where = f" (step {step})" if step else ""
        text = f"Failure: command execution error{where}:\n{message}"
    return Failure(text, hint=hint)


def text_of(failure: Failure) -> str:
    """Return what is printed on stderr."""
    return f"{failure.message}\nhint: {failure.hint}" if failure.hint else failure.message

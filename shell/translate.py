"""Errors of the other rooms, as this room says them (pure)."""

from __future__ import annotations

from commands.errors import Refused
from eventstore.errors import AccessDenied, EventStoreError, NotLeader, Unreachable
from projections.errors import NoSuchObject, ProjectionError
from shell.failure import Failure, Status, refused


def as_failure(error: Exception) -> Failure | None:
    """Return what to tell the person, None for an error that nobody foresaw."""
    match error:
        case Failure():
            return error
        case Refused():
            return refused(error.code, error.message, error.hint)
        case NoSuchObject():
            return refused("unknown_entity", str(error), error.hint)
        case Unreachable():
            return Failure(
                f"Cannot communicate with the master daemon: {error}",
                hint=error.hint or "is it running, and can it be reached from here?",
            )
        case NotLeader():
            return Failure(str(error), hint=error.hint, status=Status.NOT_MASTER)
        case AccessDenied():
            return refused("access_denied", str(error), error.hint)
        case EventStoreError():
            code = getattr(error, "code", "")
            return (
                refused(code, str(error), error.hint)
                if code
                else Failure(f"Failure: {error}", hint=error.hint)
            )
        case ProjectionError():
            return refused("wrong_input", str(error), getattr(error, "hint", ""))
        case OSError():
            return Failure(f"Failure: {error.filename or ''}: {error.strerror}".replace(" :", ""))
    return None


def internal(error: Exception) -> Failure:
    """Return what to tell the person of a bug of ours."""
    return Failure(
        f"Internal error: {type(error).__name__}: {error}",
        hint="this is a bug of Cairn; the same command with --debug shows where",
    )

"""Refusals: what the world asked for and cannot have. Codes are Ganeti's error classes."""

from __future__ import annotations

WRONG_INPUT = "wrong_input"
WRONG_STATE = "wrong_state"
UNKNOWN_ENTITY = "unknown_entity"
ALREADY_EXISTS = "already_exists"
NOT_UNIQUE = "resource_not_unique"
INSUFFICIENT_RESOURCES = "insufficient_resources"
TEMPORARILY_INSUFFICIENT = "temp_insufficient_resources"
ENVIRONMENT_ERROR = "environment_error"
INTERNAL_ERROR = "internal_error"
ACCESS_DENIED = "access_denied"


class CommandError(Exception):
    """Base of all errors of this package."""


class Refused(CommandError):
    """The opcode cannot be done, and nothing was done. `hint`: what would be accepted.

    `basis`: MessagePack that says to programs what it rests on (commands/placement/basis.py), empty
    where the message says it all; it is recorded with the refusal.
    """

    def __init__(self, code: str, message: str, *, hint: str, basis: bytes = b"") -> None:
        super().__init__(message)
        self.basis = basis
        self.code = code
        self.message = message
        self.hint = hint

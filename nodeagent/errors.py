"""What can go wrong on a node. Each error says which code of `calls.Failure` it becomes (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nodeagent.calls import Failure

OUTPUT_BYTES = 4096  # of a command's output that travel; the rest stays in the node's log


class NodeAgentError(Exception):
    """Base of all errors of this package. `retry`: the same call may succeed a little later."""

    CODE: ClassVar[str] = "environment_error"

    def __init__(self, message: str, *, hint: str = "", retry: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.retry = retry

    def failure(self) -> Failure:
        """Return what is told to the leader."""
        return Failure(code=self.CODE, message=str(self), hint=self.hint, retry=self.retry)


class BadCall(NodeAgentError):
    """The call itself makes no sense here: an unknown template, driver, parameter or version."""

    CODE = "wrong_input"


class Missing(NodeAgentError):
    """A tool, module, link or directory that a driver needs is not there; `hint`: what to do."""


class NoRoom(NodeAgentError):
    """Not enough storage or memory; the message says how much is free."""

    CODE = "insufficient_resources"


class StateMismatch(NodeAgentError):
    """The thing exists, but as something else, or is in a state that forbids the call."""

    CODE = "wrong_state"


class NoSuchThing(NodeAgentError):
    """What should exist does not."""

    CODE = "unknown_entity"


class CommandFailed(NodeAgentError):
    """An external command ended badly."""

    def __init__(
        self, argv: Sequence[str], *, exit_status: int | None, output: str, hint: str = ""
    ) -> None:
        how = "could not be started" if exit_status is None else f"ended with {exit_status}"
        super().__init__(f"{argv[0]} {how}", hint=hint)
        self.argv = tuple(argv)
        self.exit_status = exit_status
        self.output = output

    def failure(self) -> Failure:
        """Return what is told to the leader, with the end of the output."""
        return Failure(
            code=self.CODE,
            message=str(self),
            hint=self.hint,
            argv=self.argv,
            exit_status=self.exit_status,
            output=self.output[-OUTPUT_BYTES:],
        )


class Stopped(NodeAgentError):
    """The call was ended before it was through: its time was over, or it was withdrawn.

    `code` is `timeout` or `stopped`. Drivers let it pass; the message says what may be left.
    """

    def __init__(self, code: str, message: str, *, output: str = "") -> None:
        super().__init__(message, retry=code == "timeout")
        self.code = code
        self.output = output

    def failure(self) -> Failure:
        """Return what is told to the leader."""
        return Failure(
            code=self.code,
            message=str(self),
            hint="the call states a wanted result: making it again finishes it, undoing it cleans",
            retry=self.retry,
            output=self.output[-OUTPUT_BYTES:],
        )

"""Asking a person before something is stopped or destroyed (edge).

Without a terminal nothing is ever asked: the command says what option would have answered, and
ends with a status of its own (13).
"""

from __future__ import annotations

from collections.abc import Sequence

from shell.failure import Failure, Status
from shell.session import Session


def ask(session: Session, question: str, *, names: Sequence[str] = (), option: str = "-f") -> bool:
    """Return whether the person says yes. `names` are shown when they ask to view them.

    Raises Failure (exit status 13) where there is nobody to ask.
    """
    if not session.stdin.isatty():
        raise Failure(
            f"{question}\nThere is no terminal to ask at; nothing was done.",
            hint=f"give {option} to say yes beforehand",
            status=Status.CONFIRMATION,
        )
    choices = "y/[n]/v/?" if names else "y/[n]/?"
    while True:
        session.note(f"{question}\n{choices}: ")
        answer = session.stdin.readline().strip().lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("", "n", "no"):
            return False
        if answer == "v" and names:
            session.note("\n".join(f"  {name}" for name in names))
        else:
            session.note("y: do it; n: do nothing" + ("; v: view the names" if names else ""))


def many(session: Session, names: Sequence[str], kind: str, operation: str) -> bool:
    """Return whether the person wants `operation` on all of these."""
    question = f"The {operation} will operate on {len(names)} {kind}.\nDo you want to continue?"
    return ask(session, question, names=names, option="--force-multiple")

"""Changes of an instance's disks or interfaces, as Ganeti writes them (pure).

A change is (action, which, settings). `which` is an index, a name or a uuid; -1 is the last one, or
behind the last one for `add`. Changes are carried out in order, each on what the one before left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from commands.errors import WRONG_INPUT, Refused
from projections.objects import Value

Change = tuple[str | int, int | str, dict[str, Value]]
_LAST = (-1, "-1")


class Part(Protocol):
    """A disk or an interface."""

    @property
    def uuid(self) -> str:
        """Its uuid."""

    @property
    def name(self) -> str:
        """Its name, "" if it has none."""


def position(parts: Sequence[Part], which: int | str, what: str) -> int:
    """Return where the part is. `what`: "interface of web1", for people. Raises Refused."""
    if which in _LAST and parts:
        return len(parts) - 1
    for at, part in enumerate(parts):
        if str(which) in (str(at), part.uuid) or (part.name and which == part.name):
            return at
    raise Refused(
        WRONG_INPUT,
        f"there is no {what} {which}",
        hint=f"0 to {len(parts) - 1}, a name or a uuid" if parts else "there is none; add one",
    )


def place(parts: Sequence[Part], which: int | str, what: str) -> int:
    """Return where a new part goes: before the one that is named, or at the end."""
    if which in _LAST or str(which) == str(len(parts)):
        return len(parts)
    return position(parts, which, what)


def no_change(what: str, action: str | int) -> Refused:
    """Return the refusal of an action that there is not."""
    return Refused(WRONG_INPUT, f"{what}: {action!r} is no change", hint="add, modify or remove")

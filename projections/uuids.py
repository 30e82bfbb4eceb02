"""A persistent set of uuids: a member more or less costs the same at 10 and at 10,000 (pure).

`frozenset` copies itself at each change; a node that holds thousands of instances would make every
new one slower than the one before. This is the keys of a persistent map behind the interface of
`collections.abc.Set`, so it compares, and combines with `|`, `&` and `-`, like any set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import immutables


class Uuids(Set[str]):
    """An immutable set of strings."""

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[str] = ()) -> None:
        self._members: immutables.Map[str, None] = immutables.Map(dict.fromkeys(members))

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __hash__(self) -> int:
        return self._hash()

    def __repr__(self) -> str:
        return f"Uuids({sorted(self)})"

    def plus(self, member: str) -> Uuids:
        """Return the set with `member` too."""
        return _wrap(self._members.set(member, None))

    def minus(self, member: str) -> Uuids:
        """Return the set without `member`, which must be in it."""
        return _wrap(self._members.delete(member))


def _wrap(members: immutables.Map[str, None]) -> Uuids:
    made = Uuids.__new__(Uuids)
    made._members = members
    return made


NONE = Uuids()

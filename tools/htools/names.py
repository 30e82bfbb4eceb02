"""Finding nodes and instances by what an operator types: a name, or the beginning of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def match_name(names: Sequence[str], wanted: str) -> str | None:
    """The name that `wanted` stands for: itself, or the one name that it begins, up to a dot."""
    if wanted in names:
        return wanted
    found = [name for name in names if name.startswith(f"{wanted}.")]
    return found[0] if len(found) == 1 else None


def unmatched(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` that stand for nothing, or for more than one name."""
    return [word for word in wanted if match_name(names, word) is None]

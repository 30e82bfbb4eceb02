"""What a tag may be (pure). Limits: Ganeti's."""

from __future__ import annotations

import re
from collections.abc import Iterable

from commands.errors import WRONG_INPUT, Refused

MAX_LENGTH = 128
MAX_PER_OBJECT = 4096
_TAG = re.compile(r"[\w.+*/:@-]+")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags, sorted, each once. Raises Refused where one is malformed or too many."""
    unique = tuple(sorted(set(tags)))
    for tag in unique:
        if not 0 < len(tag) <= MAX_LENGTH or not _TAG.fullmatch(tag):
            raise Refused(
                WRONG_INPUT,
                f"{tag!r} cannot be a tag",
                hint=f"1 to {MAX_LENGTH} letters, digits and . _ + * / : @ -",
            )
    if len(unique) > MAX_PER_OBJECT:
        raise Refused(WRONG_INPUT, f"{len(unique)} tags are too many", hint=f"{MAX_PER_OBJECT}")
    return unique

"""`gnt-log export`: the log as JSON Lines, for other programs (edge).

One record to a line, in order, always the same text for the same log. It holds the fields, not the
exact bytes that are hashed; tools/verify_log.py puts these together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TextIO

import msgspec

from eventstore.record import Stored
from shell import log_source
from shell.failure import BadUsage, Failure, Status
from shell.parsing import Words
from shell.render.records import as_cloud_event, as_fields
from shell.session import Session

Form = Callable[[Stored], dict[str, Any]]


def run(session: Session, words: Words) -> int:
    """Carry out export."""
    source = log_source.open_source(session, words)
    first, last = words.get("first", 1), words.get("last")
    head = source.head
    if not 1 <= first <= head or (last is not None and last < first):
        raise BadUsage(
            f"there are no records from {first}{'' if last is None else f' to {last}'}",
            hint=f"the log has records 1 to {head}",
        )
    form: Form = as_fields
    if words.flag("cloudevents"):
        form = partial(as_cloud_event, cluster_id=source.cluster_id)
    path = words.get("output_file")
    if path is None:
        _write(session.out, form, source.iterate(first, last))
        return Status.SUCCESS
    try:
        with open(path, "w", encoding="utf-8") as file:
            count = _write(file, form, source.iterate(first, last))
    except OSError as failed:
        raise Failure(
            f"{path}: {failed.strerror}", hint="give a file that can be written"
        ) from None
    session.note(f"{count} records written to {path}")
    return Status.SUCCESS


def _write(stream: TextIO, form: Form, records: Iterable[Stored]) -> int:
    encode = msgspec.json.Encoder().encode
    count = 0
    for stored in records:
        stream.write(encode(form(stored)).decode() + "\n")
        count += 1
    return count

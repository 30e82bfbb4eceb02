"""Rows for the index: who did what to which object, and who may connect (pure).

Each is a function of one record, so the index can be thrown away and made again. A state is not
looked at: what a person reads here is what was recorded, not what it led to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from eventstore.events import KeyAdmitted, KeyRevoked
from eventstore.record import Event, Record
from eventstore.storage.index_table import IndexTable, TableRow
from projections.events import configuration as facts
from projections.events import jobs as job_events
from projections.registry import decode

MAX_SUMMARY = 200  # characters

# What the engine and the log do on their own behalf: the job's records tell it, the audit does not.
INNER: frozenset[str] = frozenset(
    event.KIND
    for event in (
        job_events.OpBlocked,
        job_events.OpStarted,
        job_events.OpPlanned,
        job_events.StepRecorded,
        job_events.WaitStarted,
        job_events.WaitFired,
        job_events.TaskRequested,
        job_events.TaskWithdrawRequested,
        job_events.TaskDone,
        job_events.TaskRuns,
        job_events.TaskWithdrawn,
        job_events.OpFeedback,
    )
) | {"log.checkpoint"}


def audit_rows(record: Record) -> Iterator[TableRow]:
    """Yield the row of a record that matters to an auditor."""
    if record.kind in INNER:
        return
    event = decode(record)
    table, _, subject = record.stream.partition("/")
    if isinstance(event, facts.TagsAdded | facts.TagsRemoved):
        table, subject = event.table, event.subject
    yield {
        "seq": record.seq,
        "time_ms": record.unix_ms,
        "actor": record.actor,
        "kind": record.kind,
        "object_table": table,
        "object": subject,
        "job": record.job,
        "cause": record.cause,
        "summary": "" if event is None else summary(event),
    }


def key_rows(record: Record) -> Iterable[TableRow]:
    """Yield what a record changes of the keys."""
    if record.kind not in (KeyAdmitted.KIND, KeyRevoked.KIND):
        return
    match decode(record):
        case KeyAdmitted() as admitted:
            yield {
                "curve_key": admitted.curve_key,
                "name": admitted.name,
                "role": admitted.role,
                "sign_key": admitted.sign_key,
                "admitted_seq": record.seq,
                "revoked_seq": None,
                "reason": "",
            }
        case KeyRevoked() as revoked:
            yield {
                "curve_key": revoked.curve_key,
                "revoked_seq": record.seq,
                "reason": revoked.reason,
            }


def summary(event: Event) -> str:
    """Return the event on one line: `name=web1 admin_state=up`, at most MAX_SUMMARY characters.

    Values inside objects are left out but for the object's name; a job is told by its opcodes.
    """
    if isinstance(event, job_events.JobSubmitted):
        text = " ".join(event.summaries)
    else:
        fields = msgspec.to_builtins(event, builtin_types=(bytes,), enc_hook=_opaque)
        text = " ".join(_told(name, value) for name, value in fields.items() if _tells(value))
    text = " ".join(text.split())
    return text if len(text) <= MAX_SUMMARY else f"{text[: MAX_SUMMARY - 1]}…"


def _tells(value: object) -> bool:
    if isinstance(value, dict):
        return "name" in value
    return value not in ("", None, (), []) and not isinstance(value, bytes)


def _told(name: str, value: Any) -> str:
    """Any: a plain value of any event's field."""
    if isinstance(value, dict):
        return f"{name}={value['name']}"
    if isinstance(value, list | tuple):
        plain = all(isinstance(part, str | int) for part in value)
        return f"{name}={','.join(map(str, value))}" if plain else f"{name}={len(value)}"
    return f"{name}={value}"


def _opaque(value: object) -> object:
    return b""  # msgspec.Raw: results and failures, which are not for one line


AUDIT = IndexTable(
    name="audit",
    columns={
        "seq": int, "time_ms": int, "actor": str, "kind": str, "object_table": str,
        "object": str, "job": int, "cause": int, "summary": str,
    },
    key="seq",
    rows=audit_rows,
    indexes=(("object",), ("actor",), ("job",), ("time_ms",)),
)  # fmt: skip

KEYS = IndexTable(
    name="access_key",
    columns={
        "curve_key": str, "name": str, "role": str, "sign_key": str,
        "admitted_seq": int, "revoked_seq": int, "reason": str,
    },
    key="curve_key",
    rows=key_rows,
    indexes=(("name",),),
)  # fmt: skip

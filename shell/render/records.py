"""Records of the log as rows, fields and trees (pure)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.record import Stored
from shell.render.cells import moment_ms
from shell.render.formats import Row, iso
from shell.render.tree import Tree

COLUMNS = (
    ("seq", "Seq", "number"),
    ("time", "Time", "text"),
    ("stream", "Stream", "text"),
    ("version", "Version", "number"),
    ("kind", "Kind", "text"),
    ("actor", "Actor", "text"),
    ("job", "Job", "number"),
    ("what", "What", "text"),
)

_WIDTH = 100  # of what a line says of the event itself


def as_row(stored: Stored) -> Row:
    """Return a record as a row of COLUMNS."""
    record = stored.record
    return (
        (0, record.seq),
        (0, moment_ms(record.unix_ms)),
        (0, record.stream),
        (0, record.version),
        (0, record.kind),
        (0, record.actor),
        (0, record.job) if record.job is not None else (3, None),
        (0, _short(_event(stored))),
    )


def as_fields(stored: Stored) -> dict[str, Any]:
    """Return a record as JSON can hold it: bytes as base64, times as they are and in ISO 8601.

    The order of the fields is always the same, so the same log gives the same text.
    """
    record = stored.record
    return {
        "seq": record.seq,
        "hash": stored.hash.hex(),
        "epoch": [record.gen, record.term],
        "time": iso(record.unix_ms / 1000),
        "hlc": record.time,
        "event_id": record.event_id.hex(),
        "kind": record.kind,
        "schema": record.schema,
        "stream": record.stream,
        "version": record.version,
        "actor": record.actor,
        "origin": record.origin,
        "job": record.job,
        "cause": record.cause,
        "key": record.key,
        "index": record.index,
        "count": record.count,
        "event": _event(stored),
        "data": base64.b64encode(bytes(record.data)).decode(),
    }


def as_cloud_event(stored: Stored, cluster_id: str) -> dict[str, Any]:
    """Return a record as a CloudEvent (version 1.0, JSON format), for those who speak it.

    Its place in the log stands in the extensions `seq`, `epoch` and `hash`.
    """
    record = stored.record
    return {
        "specversion": "1.0",
        "id": record.event_id.hex(),
        "source": f"/cluster/{cluster_id}",
        "type": record.kind,
        "subject": record.stream,
        "time": iso(record.unix_ms / 1000),
        "datacontenttype": "application/json",
        "seq": record.seq,
        "epoch": f"{record.gen}.{record.term}",
        "hash": stored.hash.hex(),
        "data": _event(stored),
    }


def as_tree(stored: Stored) -> Tree:
    """Return a record in full for people."""
    fields = as_fields(stored)
    del fields["data"]
    event = fields.pop("event")
    return {**{name: _leaf(value) for name, value in fields.items()}, "event": _tree(event)}


def _event(stored: Stored) -> Any:
    """Return the event as plain values, bytes as base64."""
    return _plain(msgspec.msgpack.decode(stored.record.data))


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case bytes():
            return base64.b64encode(value).decode()
    return value


def _short(event: Any) -> str:
    text = msgspec.json.encode(event).decode()
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _tree(value: Any) -> Tree:
    if isinstance(value, dict):
        return {name: _tree(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_tree(each) for each in value]
    return _leaf(value)


def _leaf(value: Any) -> Tree:
    if value is None:
        return "-"
    return " ".join(map(str, value)) if isinstance(value, list) else value

"""`gnt-log tail` and `show`: records for people (edge)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from eventstore.record import Stored
from shell import log_source, reading
from shell.failure import BadUsage, Failure, Status
from shell.log_source import Source
from shell.parsing import Words
from shell.render.formats import Head, rendered, to_json, to_yaml
from shell.render.records import COLUMNS, as_fields, as_row, as_tree
from shell.render.tree import text
from shell.session import Session
from shell.values import number

LINES = 20
_POLL_S = 0.5
# Of COLUMNS, for who follows the log: so wide that most records fit, and none moves the others.
_USUAL = (6, 23, 45, 5, 20, 16, 4, 0)
_NO_WIDTHS = (0,) * len(COLUMNS)
_NAMED = ("instance", "node", "group")  # tables whose objects have names


def tail(session: Session, words: Words) -> int:
    """Carry out tail."""
    source = log_source.open_source(session, words)
    count = words.get("lines", LINES)
    streams = [_stream(session, words, source, name) for name in words.args]
    last = _last(source, streams, count)
    widths = list(_USUAL if words.flag("follow") else _NO_WIDTHS)
    _print(session, words, last, headers=not words.flag("no_headers"), widths=widths)
    if not words.flag("follow"):
        return Status.SUCCESS
    seq = source.head
    records = _poll(source, seq) if words.get("dir") else _subscribe(session, source, seq)
    wanted = frozenset(streams)
    try:
        for stored in records:
            if not wanted or stored.record.stream in wanted:
                _print(session, words, [stored], headers=False, widths=widths)
                session.out.flush()
    except KeyboardInterrupt:
        return Status.SUCCESS
    raise AssertionError("a subscription does not end by itself")


def show(session: Session, words: Words) -> int:
    """Carry out show: one record in full, or a stream."""
    source = log_source.open_source(session, words)
    wanted = words.args[0]
    if _is_seq(wanted):
        seq = number(wanted, "the record")
        found = list(source.records(seq, seq))
        if not found:
            raise Failure(
                f"there is no record {wanted}", hint=f"the log has records 1 to {source.head}"
            )
    else:
        found = list(source.stream(_stream(session, words, source, wanted)))
        if not found:
            raise Failure(
                f"there is no stream {wanted}",
                hint="such as cluster, job/42, instance/web1, node/node1, group/<uuid>",
            )
    form = reading.style_of(session, words).format
    if form == "json":
        session.out.write(to_json([as_fields(stored) for stored in found]))
    elif form == "yaml":
        session.out.write(to_yaml([as_fields(stored) for stored in found]))
    elif form == "csv" or not _is_seq(wanted):
        _print(session, words, found, headers=True, widths=list(_NO_WIDTHS))
    else:
        session.out.write(text(as_tree(found[0])))
    return Status.SUCCESS


def _is_seq(wanted: str) -> bool:
    return wanted.isascii() and wanted.isdecimal()


def _stream(session: Session, words: Words, source: Source, name: str) -> str:
    """Return the stream of an object that is called by its name, anything else as it is.

    Streams bear uuids. What a name means now the cluster says: of a directory alone nobody does.
    """
    table, _, called = name.partition("/")
    if table not in _NAMED or not called or words.get("dir"):
        return name
    if next(iter(source.stream(name)), None) is not None:
        return name
    now = Words(words.tool, words.command)  # whatever moment the rest is asked as of
    reply = reading.query(session, now, table, ("uuid",), names=(called,))
    (row,) = reading.records(reply)
    return f"{table}/{row['uuid']}"


def _last(source: Source, streams: Iterable[str], count: int) -> list[Stored]:
    """Return the last `count` records of the log, or of some streams, in order."""
    if count < 0:
        raise BadUsage("-n: a count cannot be negative", hint="such as -n 100")
    if not count:
        return []
    names = list(streams)
    if not names:
        head = source.head
        return list(source.records(max(1, head - count + 1), head))
    found = [stored for name in names for stored in list(source.stream(name))[-count:]]
    return sorted(found, key=lambda stored: stored.record.seq)[-count:]


def _print(
    session: Session, words: Words, records: Iterable[Stored], *, headers: bool, widths: list[int]
) -> None:
    style = reading.style_of(session, words)
    if style.format == "json":  # one object to a line, so that it can be followed
        import msgspec

        for stored in records:
            session.say(msgspec.json.encode(as_fields(stored)).decode())
        return
    heads = [Head(name, title, kind) for name, title, kind in COLUMNS]
    rows = [as_row(stored) for stored in records]
    import dataclasses

    session.out.write(rendered(heads, rows, dataclasses.replace(style, headers=headers), widths))


def _poll(source: Source, seq: int) -> Iterator[Stored]:
    while True:
        for stored in source.iterate(seq + 1):
            seq = stored.record.seq
            yield stored
        time.sleep(_POLL_S)


def _subscribe(session: Session, source: Source, seq: int) -> Iterator[Stored]:
    from eventstore.access.keys import load_curve_keys
    from eventstore.clients.following import Log
    from eventstore.clients.subscriber import Subscriber

    config = session.config
    (last,) = source.records(seq, seq)
    # Nobody listens to the connection for questions any more: what ZeroMQ tells of it would pile up
    # while the master is away, and in the end stop the thread that both share.
    session.close()
    keys = load_curve_keys(config.resolve(config.config.key_file))
    with Subscriber(session.voters, keys, Log(seq, last.hash)) as subscriber:
        for delivery in subscriber:
            yield from delivery.records

"""`gnt-log why`: the record that gave a field its value, what led to it, who began it (edge)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from commands import api
from shell import log_source, reading
from shell.failure import BadUsage, Status
from shell.log_source import Source
from shell.moments import parse_moment
from shell.parsing import Words
from shell.render.cells import moment_ms, plain
from shell.render.formats import to_json, to_yaml
from shell.render.tree import Tree, text
from shell.session import Session

if TYPE_CHECKING:
    from projections.changes import Fields

TABLES = ("instance", "node", "group", "cluster")


_ALIASES = {"pnode": "primary", "status": "admin_state", "os_type": "os"}  # of an instance


def run(session: Session, words: Words) -> int:
    """Carry out why: `why instance web1 memory`, `why cluster mac_prefix`."""
    from projections.changes import why

    table, name, field = _question(words)
    source = log_source.open_source(session, words)
    about = _about(session, words, source, table, name)
    column, key = _column(table, field)
    found = why(source, about, column, key)
    change = found.chain[0].record
    answer: dict[str, Any] = {
        "object": f"{table} {about.name}",
        "field": field if column == field else f"{column} ({field})",
        "value": "inherited: not set on it" if key and found.value is None else plain(found.value),
        "since record": change.seq,
        "at": moment_ms(change.unix_ms),
        "by": found.actor,
        "job": change.job,
        "reason": "; ".join(f"{source}: {said}" for source, said, _ in found.reason) or None,
        "because": [
            f"record {link.record.seq} {link.record.kind} in {link.record.stream}"
            for link in found.chain
        ],
    }
    form = reading.style_of(session, words).format
    if form == "json":
        session.out.write(to_json(answer))
    elif form == "yaml":
        session.out.write(to_yaml(answer))
    else:
        tree: Tree = {name: plain(each) if each is None else each for name, each in answer.items()}
        session.out.write(text(tree))
    return Status.SUCCESS


def _question(words: Words) -> tuple[str, str, str]:
    table, *rest = words.args
    if table == "cluster" and len(rest) == 1:
        return table, "", rest[0]
    if table in TABLES and len(rest) == 2:
        return table, rest[0], rest[1]
    raise BadUsage(
        "which field of what is not said",
        hint="such as: why instance web1 memory, why cluster name",
    )


def _about(session: Session, words: Words, source: Source, table: str, name: str) -> Fields:
    """Return the object's fields: the master has them at hand, a directory's log must be folded."""
    from projections.changes import Fields, fields_of
    from projections.past import state_at

    if words.get("dir"):
        return fields_of(state_at(source, None, _seq(session, words, source)).cluster, table, name)
    moment = words.get("at") or session.at
    body = api.Fields(table=table, key=name, at=parse_moment(moment) if moment else None)
    told = session.ask("fields", body, api.FieldsReply)
    return Fields(table, told.uuid, told.name, told.values, told.seqs)


def _column(table: str, field: str) -> tuple[str, str]:
    """Return the field of the object that holds what is asked for, and the key in it, if any."""
    from projections.cluster import TABLES as STRUCTS
    from projections.params import tables

    if field in STRUCTS[table].__struct_fields__:
        return field, ""
    if field in _ALIASES:
        return _ALIASES[field], ""
    name = field.rpartition("/")[2]
    found = tables()
    if name == "memory" or name in found.beparams:
        return "beparams", "maxmem" if name == "memory" else name
    if name in found.ndparams:
        return "ndparams", name
    if any(name in own for own in found.hvparams.values()):
        return "hvparams", name
    return field, ""  # unknown; the answer names those there are


def fields_of_kind(table: str) -> list[str]:
    """Return what may be asked about an object of this kind: its fields, and parameters in them."""
    from projections.cluster import TABLES as STRUCTS
    from projections.params import tables

    fields = STRUCTS[table].__struct_fields__
    found, known = {*fields}, tables()
    if "beparams" in fields:
        found |= {"memory", *known.beparams}
    if "ndparams" in fields:
        found |= {*known.ndparams}
    if "hvparams" in fields:
        found |= {name for own in known.hvparams.values() for name in own}
    return sorted(found)


def _seq(session: Session, words: Words, source: Source) -> int:
    from projections.moments import require_seq, require_time, seq_at

    moment = words.get("at") or session.at
    if not moment:
        return source.head
    wanted = parse_moment(moment)
    (last,) = source.records(source.head, source.head)
    head, head_ms = source.head, last.record.unix_ms
    if wanted.seq is not None:
        require_seq(wanted.seq, head=head, head_ms=head_ms)
        return wanted.seq
    time_ms = wanted.time_ms or 0
    require_time(time_ms, now_ms=time.time_ns() // 1_000_000, head=head, head_ms=head_ms)
    return seq_at(source, time_ms)

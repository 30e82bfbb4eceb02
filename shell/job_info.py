"""`gnt-job info`: a job in full, as Ganeti prints it, with its steps and what is left (edge)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shell import reading
from shell.failure import Status
from shell.parsing import Words
from shell.render.cells import moment_ms, plain
from shell.render.tree import Tree, text
from shell.session import Session

FIELDS = (
    "id", "status", "priority", "actor", "reason", "received_ts", "start_ts", "end_ts", "summary",
    "ops", "opstatus", "opstart", "opend", "opresult", "oplocks", "opsteps", "opleft", "oplog",
)  # fmt: skip

Row = Mapping[str, Any]


def run(session: Session, words: Words) -> int:
    """Carry out info."""
    reply = reading.query(session, words, "job", FIELDS, names=words.args, archived=True)
    if reading.style_of(session, words).format != "table":
        return reading.show(session, words, reply)
    session.out.write(text([_job(row) for row in reading.records(reply)]))
    return Status.SUCCESS


def _job(row: Row) -> Tree:
    times = {
        "Received": _time(row["received_ts"]),
        "Processing start": _time(row["start_ts"]),
        "Processing end": _time(row["end_ts"]),
    }
    return {
        "Job ID": row["id"],
        "Status": row["status"],
        "Priority": row["priority"],
        "Submitted by": row["actor"],
        "Reason": "; ".join(f"{source}: {what}" for source, what, _ in row["reason"]) or "(none)",
        **times,
        "Total processing time": _duration(row),
        "Opcodes": [_opcode(row, at) for at in range(len(row["ops"]))],
    }


def _opcode(row: Row, at: int) -> Tree:
    values = dict(row["ops"][at])
    tree: dict[str, Tree] = {
        values.pop("OP_ID"): "",
        "Status": row["opstatus"][at],
        "Processing start": _time(row["opstart"][at]),
        "Processing end": _time(row["opend"][at]),
        "Input fields": {name: plain(value) for name, value in sorted(values.items())},
        "Result": _result(row["opresult"][at]),
    }
    if row["oplocks"][at]:
        tree["Locks"] = [
            f"{name} ({'shared' if shared else 'exclusive'})" for name, shared in row["oplocks"][at]
        ]
    if row["opsteps"][at]:
        tree["Steps"] = [_step(step) for step in row["opsteps"][at]]
    if row["opleft"][at]:
        tree["Left"] = row["opleft"][at]
    tree["Execution log"] = [
        {f"Log entry {serial}": "", "Time": _time(when), "Content": what}
        for serial, when, _, what in row["oplog"][at]
    ]
    return tree


def _step(step: Sequence[Any]) -> str:
    number, name, state, undo = step
    return f"{number}:{name}: {state}" + f", undo {undo}" * bool(undo)


def _result(value: object) -> Tree:
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items() if each not in ("", None)}
    if isinstance(value, list) and any(isinstance(each, list) for each in value):
        return [plain(each) for each in value]  # rows, such as the findings of a verification
    return plain(value)


def _time(stamp: Sequence[int] | None) -> str:
    return "N/A" if stamp is None else moment_ms(stamp[0] * 1000 + stamp[1] // 1000)


def _duration(row: Row) -> str:
    if row["received_ts"] is None or row["end_ts"] is None:
        return "N/A"
    begin, end = (row[name][0] + row[name][1] / 1e6 for name in ("received_ts", "end_ts"))
    return f"{end - begin:.3f} seconds"

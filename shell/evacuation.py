"""Commands that move many instances: evacuate, change-group. Their jobs are followed (edge)."""

from __future__ import annotations

import dataclasses
from typing import Any

from shell import confirm
from shell.failure import BadUsage, Failure, Status
from shell.following import follow
from shell.orders import opcode_of
from shell.parsing import Words
from shell.reading import query, records
from shell.session import Session
from shell.submission import Ended, carry_out

_MODES = {"primary_only": "primary-only", "secondary_only": "secondary-only"}
_LISTS = {
    "primary-only": ("pinst_list",),
    "secondary-only": ("sinst_list",),
    "all": ("pinst_list", "sinst_list"),
}


def node(session: Session, words: Words) -> int:
    """Carry out gnt-node evacuate: asked about unless -f is given, as in Ganeti."""
    chosen = [mode for dest, mode in _MODES.items() if words.flag(dest)]
    if len(chosen) > 1:
        raise BadUsage(
            "Only one of --primary-only and --secondary-only can be passed",
            hint="leave both out to evacuate everything",
        )
    mode = chosen[0] if chosen else "all"
    more: dict[str, object] = {"mode": mode}
    if "dst_node" in words.given:
        more["remote_node"] = words.given["dst_node"]
    given = {k: v for k, v in words.given.items() if k not in (*_MODES, "dst_node")}
    op = opcode_of(dataclasses.replace(words, given=given), **more)
    name = words.args[0]
    there = _instances(session, words, name, mode)
    if not there:
        session.note(f"No instances to evacuate from node(s) {name}, exiting.")
        return Status.SUCCESS
    question = f"Relocate instances {', '.join(there)} from node(s) {name}?"
    agreed = words.flag("force") or words.flag("dry_run")
    if not agreed and not confirm.ask(session, question, names=there):
        return Status.FAILURE
    return _followed(session, carry_out(session, words, op))


def group(session: Session, words: Words) -> int:
    """Carry out gnt-group evacuate."""
    return _followed(session, carry_out(session, words, _to_groups(words)))


def change_group(session: Session, words: Words) -> int:
    """Carry out gnt-instance change-group."""
    ended = carry_out(session, words, _to_groups(words))
    name = words.args[0]
    return _followed(session, ended, done=f"Instance {name} changed its group successfully.")


def _to_groups(words: Words) -> Any:  # an opcode, whose type is known to the registry
    given = {dest: value for dest, value in words.given.items() if dest != "to"}
    more: dict[str, object] = {}
    if words.given.get("to"):
        more["target_groups"] = list(words.given["to"])
    return opcode_of(dataclasses.replace(words, given=given), **more)


def _instances(session: Session, words: Words, node_name: str, mode: str) -> list[str]:
    (row,) = records(query(session, words, "node", _LISTS[mode], names=(node_name,)))
    return sorted({name for names in row.values() for name in names or ()})


def _followed(
    session: Session, ended: Ended, *, done: str = "All instances evacuated successfully."
) -> int:
    """Follow the jobs that an evacuation has submitted, all of them, whatever becomes of each."""
    for result in ended.results or ():
        told = result.values[0]
        if not isinstance(told, dict):
            continue
        staying = told.get("failed", ())
        for name, reason in staying:
            session.note(f"{name} stays where it is: {reason}")
        jobs = [job for accepted, job in told.get("jobs", ()) if accepted]
        failed = sum(not _succeeded(session, job) for job in jobs)
        if failed or staying:
            raise Failure(
                f"There were {failed + len(staying)} errors during the evacuation.",
                hint="gnt-job list shows the jobs; the rest is done",
            )
        session.say(done)
    return ended.status


def _succeeded(session: Session, job: int) -> bool:
    try:
        follow(session, job)
    except Failure as failure:
        if failure.status is Status.INTERRUPTED:
            raise
        session.note(f"Job {job} has failed: {failure.message}")
        if failure.hint:
            session.note(f"hint: {failure.hint}")
        return False
    return True

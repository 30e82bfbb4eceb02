"""`gnt-instance modify`: parameters, state, disks and interfaces of an instance (edge)."""

from __future__ import annotations

import dataclasses

from shell.failure import BadUsage
from shell.order_table import CLIENT
from shell.orders import opcode_of, tell_changes
from shell.parameters import move_backend
from shell.parsing import Words
from shell.session import Session
from shell.submission import carry_out
from shell.values import Ident, KeyValues

_ACTIONS = ("add", "remove", "modify", "attach", "detach")
Change = tuple[str, int | str, KeyValues]  # action, index (-1: at the end) or name, values


def run(session: Session, words: Words) -> int:
    """Carry out modify, and say what was changed and when it takes effect."""
    if not set(words.given) - CLIENT - {"force"}:
        raise BadUsage(
            "Please give at least one of the parameters.", hint="gnt-instance modify --help"
        )
    if words.flag("offline_inst") and words.flag("online_inst"):
        raise BadUsage("--offline and --online contradict each other", hint="give one of the two")
    rest = dict(words.given)
    more: dict[str, object] = {}
    hvparams, beparams = move_backend(session, rest.pop("hvparams", {}), rest.pop("beparams", {}))
    for name, values in (("hvparams", hvparams), ("beparams", beparams)):
        if values:
            more[name] = values
    for name, option in (("disks", "--disk"), ("nics", "--net")):
        if name in rest:
            more[name] = [_change(each, option) for each in rest.pop(name)]
    if words.flag("offline_inst"):
        more["offline"] = True
    elif words.flag("online_inst"):
        more["offline"] = False
    if "runtime_mem" in rest:
        from commands.parse import size_mib

        more["runtime_mem"] = size_mib(rest.pop("runtime_mem"), "--runtime-memory")
    ended = carry_out(session, words, opcode_of(dataclasses.replace(words, given=rest), **more))
    for result in ended.results or ():
        tell_changes(session, words, result.values[0])
        if result.values[0]:
            session.say(_WHEN)
    return ended.status


_WHEN = (
    "Please don't forget that most parameters take effect only at the next (re)start of the"
    " instance initiated by Cairn; restarting from within the instance will not be enough."
)


def _change(typed: Ident, option: str) -> Change:
    """Return Ganeti's change: `add:size=1G`, `1:remove`, `0:add,size=1G`, `0:mode=ro`, `data:...`.

    What is not a number is the name or uuid of a disk or interface.
    """
    ident, given = typed
    values: KeyValues = dict(given) if isinstance(given, dict) else {}
    if ident in ("add", "remove", "attach", "detach"):
        return ident, -1, {} if ident == "remove" else values
    actions = [action for action in _ACTIONS if values.pop(action, None)]
    if len(actions) > 1:
        raise BadUsage(f"{option}: {' and '.join(actions)} at once", hint="give one of them")
    action = actions[0] if actions else "modify"
    which = int(ident) if ident.lstrip("-").isdecimal() else ident
    if ident == "modify" or not ident:
        raise BadUsage(
            f"{option}: {ident!r} names none", hint=f"such as {option} 0:..., {option} data:remove"
        )
    return action, which, {} if action == "remove" else values

"""Commands that are one opcode: from what was typed to its fields (edge)."""

from __future__ import annotations

from typing import Any

from commands.opcode import Opcode
from shell import grammar, opcodes
from shell.failure import Failure
from shell.order_table import CLIENT, ORDERS, POLICY, Order
from shell.parsing import Words
from shell.render.cells import plain
from shell.session import Session
from shell.submission import carry_out


def run(session: Session, words: Words) -> int:
    """Carry out a command that is one opcode, and say what a modification changed."""
    ended = carry_out(session, words, opcode_of(words))
    if words.command == "modify":
        for result in ended.results or ():
            tell_changes(session, words, result.values[0])
    return ended.status


def tell_changes(session: Session, words: Words, changed: object) -> None:
    """Print what was modified, as Ganeti does: (parameter, value) one to a line."""
    what = " ".join((words.tool.removeprefix("gnt-"), *words.args))
    if not isinstance(changed, list):
        return
    session.say(f"Modified {what}" if changed else f"Nothing was changed on {what}")
    for parameter, value in changed:
        session.say(f" - {parameter:<5} -> {_shown(value)}")


def _shown(value: object) -> str:
    return str(value) if isinstance(value, bool) else plain(value)  # True, as Ganeti prints it


def opcode_of(words: Words, **more: Any) -> Opcode:
    """Return the command's opcode; `more` are fields that the command worked out itself."""
    order = ORDERS[words.tool, words.command]
    values: dict[str, object] = dict(zip(order.args, words.args, strict=False))
    policy = policy_of(words)
    if policy:
        values["ipolicy"] = policy
    for dest, value in words.given.items():
        if dest in CLIENT or dest in order.client or dest in POLICY:
            continue
        found = dict(value) if dest in order.pairs else value
        if dest in order.lists:
            found = [word for word in value.split(",") if word]
        values[order.fields.get(dest, dest)] = found
    return opcodes.build(order.opcode, {**values, **more}, _options(words, order))


def policy_of(words: Words) -> dict[str, Any]:
    """Return the instance policy that the options spell, with Ganeti's keys."""
    return {key: words.given[dest] for dest, key in POLICY.items() if dest in words.given}


def _options(words: Words, order: Order) -> dict[str, str]:
    """Return by field the option that gives it, for messages."""
    tool = grammar.load(words.tool)
    command = tool.commands[words.command]
    named = {
        order.fields.get(option.dest, option.dest): option.longest
        for option in tool.options_of(command)
    }
    return {**named, **{name: name.replace("_", " ") for name in order.args}}


def need(words: Words, *dests: str) -> None:
    """Raise Failure if one of these options was given: the command cannot honour it."""
    tool = grammar.load(words.tool)
    for option in tool.options_of(tool.commands[words.command]):
        if option.dest in dests and option.dest in words.given:
            raise Failure(
                f"{option.longest}: this version of Cairn cannot do this yet",
                hint=f"leave {option.longest} out",
            )

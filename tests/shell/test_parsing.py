"""Parity with Ganeti's arguments: every option and every count of words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shell import commands, grammar, opcodes, parsing
from shell.failure import BadUsage
from shell.order_table import CLIENT, ORDERS

REFERENCE: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data/ganeti_arguments.json").read_text()
)
VALUES = {
    "bool": "yes",
    "float": "1.5",
    "identkeyval": "0:size=1",
    "int": "3",
    "keyprivateval": "a=1",
    "keyval": "a=1",
    "list": "a,b",
    "maybefloat": "1.5",
    "multilistidentkeyval": "min:a=1",
    "string": "text",
    "unit": "1G",
}


def cases() -> Iterator[Any]:
    for tool, found in REFERENCE.items():
        for command, words in found.items():
            for names, kind, choices in words["options"]:
                for name in names:
                    yield pytest.param(
                        tool, command, name, kind, choices, id=f"{tool}-{command}{name}"
                    )


def least(tool: str, command: str) -> list[str]:
    """Return the fewest words that the command takes."""
    count = sum(each.min for each in grammar.load(tool).commands[command].args)
    return ["word"] * count


@pytest.mark.parametrize(("tool", "command", "name", "kind", "choices"), list(cases()))
def test_every_option_of_ganeti_is_accepted(
    tool: str, command: str, name: str, kind: str, choices: list[str]
) -> None:
    """Each option parses, under each of its names, with a value of its type."""
    words = grammar.load(tool)
    typed = [name]
    if kind == "choice":
        typed.append(choices[0])
    elif kind not in ("flag", "callback"):
        typed.append(VALUES[kind])
    parsed = parsing.parse(words, command, words.commands[command], [*typed, *least(tool, command)])
    assert parsed.given or parsed.notes


@pytest.mark.parametrize("tool", sorted(REFERENCE))
def test_every_alias_and_count_of_ganeti_is_kept(tool: str) -> None:
    """A command is found under Ganeti's aliases and takes as many words as Ganeti's."""
    words = grammar.load(tool)
    for command, reference in REFERENCE[tool].items():
        found = words.commands[command]
        assert list(found.aliases) == reference["aliases"]
        assert [[a.kind, a.min, a.max] for a in found.args] == reference["args"]
        for alias in found.aliases:
            assert words.find(alias) == (command, found)


@pytest.mark.parametrize("tool", grammar.TOOLS)
def test_every_command_is_carried_out_by_something(tool: str) -> None:
    """Each word of the grammar has its function, and each function its word."""
    assert set(commands.COMMANDS[tool]) == set(grammar.load(tool).commands)
    for command in commands.COMMANDS[tool]:
        assert callable(commands.find(tool, command))


@pytest.mark.parametrize(("tool", "command"), sorted(ORDERS))
def test_every_argument_of_an_order_is_a_field_of_its_opcode(tool: str, command: str) -> None:
    """The words after a command fill fields that its opcode has, and so do renamed options."""
    order = ORDERS[tool, command]
    known = set(opcodes.load(order.opcode).__struct_fields__)
    assert set(order.args) <= known
    assert set(order.fields.values()) <= known
    dests = {option.dest for option in grammar.load(tool).options.values()}
    assert {*order.fields, *order.client, *order.lists} <= dests | CLIENT


def parse(*typed: str) -> parsing.Words:
    words = grammar.load("gnt-instance")
    return parsing.parse(words, typed[0], words.commands[typed[0]], typed[1:])


def test_only_what_was_typed_is_given() -> None:
    """No default of an option reaches an opcode."""
    assert parse("remove", "web1").given == {}
    assert parse("remove", "web1", "--shutdown-timeout", "5").given == {"shutdown_timeout": 5}
    assert parse("add", "web1", "--no-start").given == {"start": False}


def test_options_may_stand_anywhere() -> None:
    """Words and options mix, as scripts write them."""
    assert parse("grow-disk", "web1", "--absolute", "0", "1g").args == ("web1", "0", "1g")


@pytest.mark.parametrize(
    "typed",
    [("remove",), ("remove", "a", "b"), ("list", "--nonsense"),
     ("remove", "web1", "--shutdown-timeout", "x"), ("shutdown", "--all", "--node"),
     ("list", "--format", "xml")],
)  # fmt: skip
def test_bad_usage(typed: tuple[str, ...]) -> None:
    """What does not fit is refused with exit status 2 and a hint."""
    with pytest.raises(BadUsage) as refused:
        parse(*typed)
    assert refused.value.status == 2
    assert refused.value.hint


def test_options_without_effect_are_told() -> None:
    """An option that asks for what is so anyway is accepted, with a note."""
    assert parse("add", "web1", "--no-name-check").notes == (
        "--no-name-check has no effect: it is so by default",
    )


@pytest.mark.parametrize(
    "typed", [["list", "\udcff"], ["list", "-o", "a\udce9"], ["add-tags", "web1", "\udcff"]]
)
def test_bytes_that_are_no_text_are_refused(typed: list[str]) -> None:
    """Nothing of them reaches the log, where only text may stand."""
    tool = grammar.load("gnt-instance")
    with pytest.raises(BadUsage, match="is not UTF-8"):
        parsing.parse(tool, typed[0], tool.commands[typed[0]], typed[1:])


def test_one_argument_is_not_called_arguments() -> None:
    """The count and the noun agree."""
    tool = grammar.load("gnt-instance")
    for name, text in (("add", "1 argument wanted, 0"), ("rename", "2 arguments wanted, 0")):
        with pytest.raises(BadUsage, match=text):
            parsing.parse(tool, name, tool.commands[name], [])

"""The words of each tool: commands, arguments, options, as data (edge: reads package files).

One file per tool. The parser, completion, the manual and the tests read it, so they cannot drift
apart. The arguments are Ganeti's; our own (`--format`, `--at`, gnt-log, ...) stand beside them.
What a word *does* is in the module that `shell/commands.py` names for it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

DESCRIPTIONS = Path(__file__).with_name("descriptions.json")
TOOLS = ("gnt-cluster", "gnt-group", "gnt-instance", "gnt-job", "gnt-log", "gnt-node")
LISTED = {  # what `list` and `list-fields` of a tool show
    "gnt-instance": "instance",
    "gnt-node": "node",
    "gnt-group": "group",
    "gnt-job": "job",
}


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option. `dest` is the name of its value; several flags may set one (`const`).

    action: store, store_true, store_false, store_const, append, count; ignore: accepted because
    scripts give it, and without effect because it asks for what is so anyway.
    """

    names: tuple[str, ...]
    dest: str
    type: str
    action: str = "store"
    choices: tuple[str, ...] = ()
    metavar: str = ""
    completes: str = ""
    const: str | tuple[str, ...] | None = None

    @property
    def longest(self) -> str:
        """The name by which people know it."""
        return max(self.names, key=len)

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone."""
        return self.type == "flag"


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Positional words. `max` None: any number."""

    kind: str
    min: int
    max: int | None = None
    choices: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command. `options` are keys of the tool's options."""

    summary: str
    usage: str
    args: tuple[Argument, ...]
    options: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    env_default_args: str = ""  # a variable of the environment that holds arguments


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program. `later`: Ganeti's commands that this version does not have."""

    tool: str
    options: dict[str, Option]
    commands: dict[str, Command]
    later: tuple[str, ...]

    def find(self, word: str) -> tuple[str, Command] | None:
        """Return a command by its name or an alias of it."""
        found = self.commands.get(word)
        if found is not None:
            return word, found
        for name, command in self.commands.items():
            if word in command.aliases:
                return name, command
        return None

    def options_of(self, command: Command) -> list[Option]:
        """Return the options of a command."""
        return [self.options[key] for key in command.options]


@cache
def load(tool: str) -> Tool:
    """Return the words of a tool."""
    path = Path(__file__).with_name(f"{tool}.json")
    return msgspec.json.decode(path.read_bytes(), type=Tool)


@cache
def descriptions() -> dict[str, dict[str, str]]:
    """Return what the fields of each opcode say of themselves (`shell/manual_writer.py`)."""
    return msgspec.json.decode(DESCRIPTIONS.read_bytes(), type=dict[str, dict[str, str]])

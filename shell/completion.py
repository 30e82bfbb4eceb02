"""Completion for bash: `source <(cairn completion bash)` (edge).

The script calls `cairn completion words` with the words of the line; the candidates come from the
same grammar as the parser, names from the master, with a short timeout and in silence without one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shell import grammar
from shell.failure import Failure, Status
from shell.grammar import Command, Option, Tool

TIMEOUT_S = 0.5
_LIMIT = 2000

_TABLES = {
    "ArgInstance": "instance",
    "ArgNode": "node",
    "ArgGroup": "group",
    "ArgJobId": "job",
    "OPT_COMPL_ONE_NODE": "node",
    "OPT_COMPL_INST_ADD_NODES": "node",
    "OPT_COMPL_ONE_NODEGROUP": "group",
    "OPT_COMPL_ONE_OS": "os",
    "OPT_COMPL_ONE_INSTANCE": "instance",
}

_SCRIPT = """\
# completion of cairn and gnt-* for bash
_cairn_complete() {
    local IFS=$'\\n'
    local word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(cairn completion words "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ( ${COMPREPLY[0]} == *: || ${COMPREPLY[0]} == *, ) ]]; then
        compopt -o nospace
    fi
    # bash takes a colon as the end of a word, so what stands before it must not be repeated
    if [[ $word != *:* && ${COMP_WORDS[COMP_CWORD-1]} == : ]]; then
        COMPREPLY=("${COMPREPLY[@]##*:}")
    fi
}
complete -o default -F _cairn_complete cairn %s
"""


def run(typed: Sequence[str]) -> int:
    """Print the script, or the candidates for a line. Never writes an error while completing."""
    match typed:
        case ["bash"]:
            sys.stdout.write(_SCRIPT % " ".join(grammar.TOOLS))
            return Status.SUCCESS
        case ["words", at, *words] if at.isdecimal():
            for candidate in candidates(words[: int(at) + 1]):
                print(candidate)
            return Status.SUCCESS
    print("Usage: cairn completion bash", file=sys.stderr)
    return Status.USAGE


def candidates(words: Sequence[str]) -> list[str]:
    """Return what may stand at the place of the last word, sorted."""
    if not words:
        return []
    program, *rest = words
    name = Path(program).name
    if name == "cairn":
        kinds = [tool.removeprefix("gnt-") for tool in grammar.TOOLS]
        if len(rest) <= 1:
            return _beginning([*kinds, "completion", *_plugins()], rest[-1] if rest else "")
        if rest[0] not in kinds:
            return []
        name, rest = f"gnt-{rest[0]}", rest[1:]
    if name not in grammar.TOOLS:
        return []
    tool = grammar.load(name)
    if len(rest) <= 1:
        aliases = [alias for command in tool.commands.values() for alias in command.aliases]
        return _beginning([*tool.commands, *aliases], rest[-1] if rest else "")
    found = tool.find(rest[0])
    return [] if found is None else _of_command(tool, found[1], rest[1:])


def _plugins() -> list[str]:
    from shell.plugins import plugin_names

    return plugin_names()


def _of_command(tool: Tool, command: Command, typed: Sequence[str]) -> list[str]:
    word = typed[-1]
    options = tool.options_of(command)
    if len(typed) > 1:
        before = next((option for option in options if typed[-2] in option.names), None)
        if before is not None and not before.is_flag:
            return _of_value(before, word)
    if word.startswith("-"):
        return _beginning([name for option in options for name in (*option.names,)], word)
    return _of_argument(command, options, typed)


def _of_value(option: Option, word: str) -> list[str]:
    if option.choices:
        return _beginning(option.choices, word)
    if option.type == "bool":
        return _beginning(("yes", "no"), word)
    head, colon, tail = word.rpartition(":")
    table = _TABLES.get(option.completes)
    if table is None:
        return []
    return [f"{head}{colon}{name}" for name in _names(table, tail)]


def _of_argument(command: Command, options: Sequence[Option], typed: Sequence[str]) -> list[str]:
    position, takes_value = 0, {name for each in options if not each.is_flag for name in each.names}
    for before, word in zip(("", *typed), typed[:-1], strict=False):
        if not word.startswith("-") and before not in takes_value:
            position += 1
    for argument in command.args:
        if argument.max is None or position < argument.max:
            if argument.choices:
                return _beginning(argument.choices, typed[-1])
            table = _TABLES.get(argument.kind)
            return _names(table, typed[-1]) if table else []
        position -= argument.max
    return []


def _names(table: str, prefix: str) -> list[str]:
    from commands.api import Names, NamesReply
    from eventstore.errors import EventStoreError
    from shell.session import Session

    session = Session()
    try:
        body = Names(table=table, prefix=prefix, limit=_LIMIT)
        return list(session.ask("names", body, NamesReply, timeout_s=TIMEOUT_S).names)
    except (EventStoreError, Failure, OSError):
        if "CAIRN_COMPLETION_DEBUG" in os.environ:
            raise
        return []
    finally:
        session.close()


def _beginning(words: Sequence[str], prefix: str) -> list[str]:
    return sorted(word for word in words if word.startswith(prefix))

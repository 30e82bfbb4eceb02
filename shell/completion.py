"""Completion for bash: `source <(cairn completion bash)` (edge).

The script calls `cairn completion line` with the line up to the cursor; the candidates come from
the same grammar as the parser, names from the master, with a short timeout and in silence without.

Bash takes `:` and `=` as the end of a word, so its own words are not those of the line, and what it
replaces is only what follows the last of them. Therefore the line is taken apart here, as a shell
would, and candidates are cut to what bash replaces.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from shell import grammar
from shell.failure import Failure, Status
from shell.grammar import Command, Option, Tool
from shell.plugins import plugin_names, plugin_words

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
    "OPT_COMPL_ONE_IALLOCATOR": "allocator",
    "OPT_COMPL_ONE_INSTANCE": "instance",
}

_SCRIPT = """\
# completion of cairn and gnt-* for bash
_cairn_complete() {
    local IFS=$'\\n'
    local line="${COMP_LINE:0:COMP_POINT}"
    COMPREPLY=($(cairn completion line "$line" "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ( ${COMPREPLY[0]} == *: || ${COMPREPLY[0]} == *, ) ]]; then
        compopt -o nospace
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
        case ["line", line, replaced]:
            for candidate in for_bash(line, replaced):
                print(candidate)
            return Status.SUCCESS
    print("Usage: cairn completion bash", file=sys.stderr)
    return Status.USAGE


def for_bash(line: str, replaced: str) -> list[str]:
    """Return the candidates for the end of a line, without what stands before bash's own word."""
    words = _words(line)
    found = candidates(words)
    own = replaced.lstrip(":=")
    kept = len(words[-1]) - len(own) if words and words[-1].endswith(own) else 0
    return [each[kept:] for each in found]


def _words(line: str) -> list[str]:
    """Return the words of a line, the last one as far as it is typed; a quote may be open."""
    for end in ("", '"', "'"):
        try:
            words = shlex.split(line + end)
        except ValueError:
            continue
        return [*words, ""] if not end and line[-1:].isspace() else words
    return []


def candidates(words: Sequence[str]) -> list[str]:
    """Return what may stand at the place of the last word, sorted."""
    if not words:
        return []
    program, *rest = words
    name = Path(program).name
    if name == "cairn":
        kinds = [tool.removeprefix("gnt-") for tool in grammar.TOOLS]
        if len(rest) <= 1:
            return _beginning([*kinds, "completion", *plugin_names()], rest[-1] if rest else "")
        if rest[0] not in kinds:
            return _beginning(plugin_words(rest[0], rest[1:-1]), rest[-1])
        name, rest = f"gnt-{rest[0]}", rest[1:]
    if name not in grammar.TOOLS:
        return []
    tool = grammar.load(name)
    if len(rest) <= 1:
        aliases = [alias for command in tool.commands.values() for alias in command.aliases]
        return _beginning([*tool.commands, *aliases], rest[-1] if rest else "")
    found = tool.find(rest[0])
    return [] if found is None else _of_command(tool, found[1], rest[1:])


def _of_command(tool: Tool, command: Command, typed: Sequence[str]) -> list[str]:
    word = typed[-1]
    if tool.tool == "gnt-log" and command is tool.commands["at"] and len(typed) > 1:
        return _of_the_past(typed[1:-1], word)
    options = tool.options_of(command)
    if len(typed) > 1:
        before = next((option for option in options if typed[-2] in option.names), None)
        if before is not None and not before.is_flag:
            return _of_value(tool, before, word)
    head, equals, value = word.partition("=")
    if equals and head.startswith("--"):
        named = next((option for option in options if head in option.names), None)
        found = [] if named is None or named.is_flag else _of_value(tool, named, value)
        return [f"{head}={each}" for each in found]
    if word.startswith("-"):
        return _beginning([name for option in options for name in (*option.names,)], word)
    return _of_argument(tool, command, _positional(options, typed), word)


def _of_value(tool: Tool, option: Option, word: str) -> list[str]:
    if option.choices:
        return _beginning(option.choices, word)
    if option.type == "bool":
        return _beginning(("yes", "no"), word)
    if option.dest == "output" and tool.tool in grammar.LISTED:
        return _of_fields(tool, word)
    head, colon, tail = word.rpartition(":")
    table = _TABLES.get(option.completes)
    if table is None:
        return []
    return [f"{head}{colon}{name}" for name in _names(table, tail)]


def _of_fields(tool: Tool, word: str) -> list[str]:
    """Return lists of fields, of which the last one is yet to be typed: `name,sta`, `+ta`."""
    from projections.query.evaluate import fields_of

    plus = "+" if word.startswith("+") else ""
    head, comma, tail = word.removeprefix("+").rpartition(",")
    return [
        f"{plus}{head}{comma}{each}"
        for each in _beginning(fields_of(grammar.LISTED[tool.tool]), tail)
    ]


def _positional(options: Sequence[Option], typed: Sequence[str]) -> list[str]:
    """Return the words before the last that are no options, nor values of options."""
    takes_value = {name for each in options if not each.is_flag for name in each.names}
    return [
        word
        for before, word in zip(("", *typed), typed[:-1], strict=False)
        if not word.startswith("-") and before not in takes_value
    ]


def _of_argument(tool: Tool, command: Command, before: Sequence[str], word: str) -> list[str]:
    if tool.tool == "gnt-log" and command is tool.commands["why"]:
        return _of_why(before, word)
    if tool.tool in grammar.LISTED and command is tool.commands["list-fields"]:
        return _of_fields(tool, word)
    position = len(before)
    for argument in command.args:
        if argument.max is None or position < argument.max:
            if argument.choices:
                return _beginning(argument.choices, word)
            table = _TABLES.get(argument.kind)
            return _names(table, word) if table else []
        position -= argument.max
    return []


def _of_the_past(before: Sequence[str], word: str) -> list[str]:
    """Return what `gnt-log at MOMENT` may go on with: a tool, what of it reads, its own words."""
    match before:
        case []:
            return _beginning([tool.removeprefix("gnt-") for tool in grammar.TOOLS], word)
        case [kind] if f"gnt-{kind.removeprefix('gnt-')}" in grammar.TOOLS:
            found = grammar.load(f"gnt-{kind.removeprefix('gnt-')}").commands
            return _beginning([name for name, each in found.items() if "at" in each.options], word)
        case [kind, *rest]:
            return candidates([f"gnt-{kind.removeprefix('gnt-')}", *rest, word])
    return []


def _of_why(before: Sequence[str], word: str) -> list[str]:
    """Return the kinds of objects, the names of one kind, or the fields that may be asked about."""
    from shell.log_why import TABLES as KINDS
    from shell.log_why import fields_of_kind

    match before:
        case []:
            return _beginning(KINDS, word)
        case ["cluster"]:
            return _beginning(fields_of_kind("cluster"), word)
        case [kind] if kind in KINDS:
            return _names(kind, word)
        case [kind, _] if kind in KINDS and kind != "cluster":
            return _beginning(fields_of_kind(kind), word)
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


def _beginning(words: Iterable[str], prefix: str) -> list[str]:
    return sorted(word for word in words if word.startswith(prefix))

"""From typed words to a command with its values; click does the parsing (pure but for --help).

Only what was given stands in `given`: a default is the opcode's business, never this room's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from click.core import ParameterSource

from shell import values
from shell.failure import BadUsage
from shell.grammar import Command, Option, Tool


@dataclass(frozen=True, slots=True)
class Words:
    """A parsed command. `given` holds by `dest` the options that were typed, and only those."""

    tool: str
    command: str
    args: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)  # Any: each option has its own type
    notes: tuple[str, ...] = ()  # for stderr: options without effect

    def get(self, dest: str, default: Any = None) -> Any:
        """Return the value of an option, or `default` if it was not typed."""
        return self.given.get(dest, default)

    def flag(self, dest: str) -> bool:
        """Say whether a flag was typed."""
        return bool(self.given.get(dest))


Convert = Callable[[str, str], object]

_CONVERT: dict[str, Convert] = {
    "keyval": values.key_values,
    "keyprivateval": values.key_values,
    "identkeyval": values.ident_key_values,
    "multilistidentkeyval": values.spec_lists,
    "bool": values.yes_or_no,
    "int": values.number,
    "maybefloat": values.maybe_float,
    "list": lambda text, _: text.split(","),
}


def parse(tool: Tool, name: str, command: Command, typed: Sequence[str]) -> Words:
    """Return the command that was typed. Raises BadUsage; `--help` raises click's Exit."""
    _check_text(tool.tool, name, typed)
    options = tool.options_of(command)
    found: dict[str, Any] = {}
    parser = as_click(tool.tool, name, command, options)
    try:
        context = parser.make_context(f"{tool.tool} {name}", list(typed))
    except click.exceptions.Exit:
        raise
    except click.UsageError as wrong:
        raise BadUsage(
            f"{tool.tool} {name}: {wrong.format_message()}",
            hint=f"{tool.tool} {name} --help shows what it takes",
        ) from None
    notes = []
    for at, option in enumerate(options):
        if context.get_parameter_source(_slot(at)) is not ParameterSource.COMMANDLINE:
            continue
        if option.action == "ignore":
            notes.append(f"{option.longest} has no effect: it is so by default")
        else:
            _set(found, option, context.params[_slot(at)])
    args = tuple(context.params["words"])
    _check_count(tool.tool, name, command, args)
    return Words(tool.tool, name, args, found, tuple(notes))


def as_click(
    tool: str, name: str, command: Command, options: Sequence[Option], helps: Sequence[str] = ()
) -> click.Command:
    """Return the command for click. `helps` are the texts of the options, for `--help`."""
    parameters: list[click.Parameter] = [
        _as_click_option(at, option, helps[at] if helps else "")
        for at, option in enumerate(options)
    ]
    parameters.append(click.Argument(["words"], nargs=-1, metavar=command.usage or ""))
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    if any(argument.kind == "ArgCommand" for argument in command.args):
        # what follows the first word is another command, with options of its own
        settings |= {"allow_interspersed_args": False, "ignore_unknown_options": True}
    return click.Command(
        name, params=parameters, help=command.summary + ".", context_settings=settings
    )


def _as_click_option(at: int, option: Option, text: str) -> click.Option:
    names = [_slot(at), *option.names]
    if option.action == "count":
        return click.Option(names, count=True, help=text)
    if option.is_flag:
        return click.Option(names, is_flag=True, help=text)
    kind: click.ParamType[Any] = click.STRING
    if option.type == "choice":
        kind = click.Choice(option.choices)
    elif option.type == "float":
        kind = click.FLOAT
    metavar = option.metavar or (None if option.choices else _METAVARS.get(option.type, "TEXT"))
    return click.Option(
        names, type=kind, multiple=option.action == "append", help=text, metavar=metavar
    )


_METAVARS = {
    "keyval": "KEY=VALUE,...",
    "keyprivateval": "KEY=VALUE,...",
    "identkeyval": "ID:KEY=VALUE,...",
    "multilistidentkeyval": "ID:KEY=VALUE,.../...",
    "bool": "yes|no",
    "int": "NUMBER",
    "unit": "SIZE",
    "maybefloat": "NUMBER",
    "list": "WORD,...",
}


def _slot(at: int) -> str:
    return f"option_{at}"


def _set(found: dict[str, Any], option: Option, raw: Any) -> None:
    convert = _CONVERT.get(option.type, _as_typed)
    match option.action:
        case "store_true":
            new: object = True
        case "store_false":
            new = False
        case "store_const":
            new = option.const
        case "count":
            new = raw
        case "append":
            new = [convert(each, option.longest) for each in raw]
        case _:
            new = convert(raw, option.longest) if isinstance(raw, str) else raw
    if option.action == "store_const" and found.get(option.dest, new) != new:
        raise BadUsage(
            f"{option.longest} contradicts another option", hint="give only one of the two"
        )
    found[option.dest] = new


def _as_typed(text: str, _: str) -> object:
    return text


def _check_text(tool: str, name: str, typed: Sequence[str]) -> None:
    """Raise BadUsage for bytes that are no text: Python hands them over as surrogates."""
    for word in typed:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise BadUsage(
                f"{tool} {name}: {word!a} is not UTF-8", hint="names and values are text"
            ) from None


def _check_count(tool: str, name: str, command: Command, args: tuple[str, ...]) -> None:
    least = sum(argument.min for argument in command.args)
    open_ended = any(argument.max is None for argument in command.args)
    most = None if open_ended else sum(argument.max or 0 for argument in command.args)
    if len(args) >= least and (most is None or len(args) <= most):
        return
    wanted = (
        str(least) if most == least else f"at least {least}" if open_ended else f"{least} to {most}"
    )
    usage = f"{tool} {name} {command.usage}".rstrip()
    noun = "argument" if wanted.endswith("1") else "arguments"
    raise BadUsage(f"{tool} {name}: {wanted} {noun} wanted, {len(args)} given", hint=usage)

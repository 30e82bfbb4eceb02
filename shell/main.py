"""The programs: find the tool and the command, run it, turn what goes wrong into words (edge).

`cairn instance list` is `gnt-instance list`; `cairn lab` and others come from plugins.py.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from shell.failure import BadUsage, Failure, Status, text_of
from shell.plugins import plugin, plugin_names
from shell.render.cells import printable

if TYPE_CHECKING:
    from shell.grammar import Tool
    from shell.session import Session

VERSION = "0.1.0"
KINDS = ("cluster", "group", "instance", "job", "log", "node")


def cairn() -> None:
    """Run `cairn`."""
    sys.exit(run_cairn(sys.argv[1:]))


def gnt_cluster() -> None:
    """Run `gnt-cluster`."""
    sys.exit(run("gnt-cluster", sys.argv[1:]))


def gnt_node() -> None:
    """Run `gnt-node`."""
    sys.exit(run("gnt-node", sys.argv[1:]))


def gnt_group() -> None:
    """Run `gnt-group`."""
    sys.exit(run("gnt-group", sys.argv[1:]))


def gnt_instance() -> None:
    """Run `gnt-instance`."""
    sys.exit(run("gnt-instance", sys.argv[1:]))


def gnt_job() -> None:
    """Run `gnt-job`."""
    sys.exit(run("gnt-job", sys.argv[1:]))


def gnt_log() -> None:
    """Run `gnt-log`."""
    sys.exit(run("gnt-log", sys.argv[1:]))


def run(tool: str, typed: Sequence[str], session: Session | None = None) -> int:
    """Run one command of a tool and return its exit status. Writes what went wrong to stderr."""
    debug = any(word in ("-d", "--debug", "-dd") for word in typed)
    try:
        status = _run(tool, typed, session)
        sys.stdout.flush()
        return status
    except Failure as failure:
        return _report(failure, session)
    except KeyboardInterrupt:
        return _report(Failure("Interrupted.", status=Status.INTERRUPTED), session)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit is silent
        return Status.FAILURE
    except Exception as error:  # the top of the program: nothing may pass as a traceback
        from shell.translate import as_failure, internal

        known = as_failure(error)
        if known is None and debug:
            raise
        return _report(known or internal(error), session)


def run_cairn(typed: Sequence[str], session: Session | None = None) -> int:
    """Run `cairn ...` and return the exit status."""
    word = typed[0] if typed else ""
    if word in KINDS:
        return run(f"gnt-{word}", typed[1:], session)
    if word == "completion":
        from shell import completion

        return completion.run(typed[1:])
    if word in ("--version", "version"):
        print(f"cairn {VERSION}")
        return Status.SUCCESS
    if word and not word.startswith("-"):
        call = plugin(word)
        if call is not None:
            return call(typed[1:])
        return _report(_unknown("cairn", word, [*KINDS, *plugin_names(), "completion"]), session)
    print(_cairn_usage())
    return Status.SUCCESS if word in ("-h", "--help") else Status.USAGE


def _run(tool: str, typed: Sequence[str], session: Session | None) -> int:
    from shell import grammar

    words = grammar.load(tool)
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(_tool_usage(words))
        return Status.SUCCESS if typed else Status.USAGE
    if typed[0] == "--version":
        print(f"{tool} (cairn) {VERSION}")
        return Status.SUCCESS
    found = words.find(typed[0])
    if found is None:
        if typed[0] in words.later:
            raise Failure(
                f"{tool} {typed[0]}: this version of Cairn does not have this command yet",
                hint=f"{tool} --help lists what there is",
            )
        aliases = (alias for command in words.commands.values() for alias in command.aliases)
        raise _unknown(tool, typed[0], [*words.commands, *aliases])
    name, command = found
    rest = [*shlex.split(os.environ.get(command.env_default_args, "")), *typed[1:]]
    if "-h" in rest or "--help" in rest:
        from shell.manual import help_of

        print(help_of(words, name))
        return Status.SUCCESS
    return _carry_out(words, name, rest, session)


def _carry_out(tool: Tool, name: str, typed: Sequence[str], session: Session | None) -> int:
    from shell import commands, parsing
    from shell.session import Session

    words = parsing.parse(tool, name, tool.commands[name], typed)
    own = session is None
    session = session if session is not None else Session()
    for note in words.notes:
        session.note(f"note: {note}")
    try:
        return commands.find(tool.tool, name)(session, words)
    finally:
        if own:
            session.close()


def _report(failure: Failure, session: Session | None) -> int:
    sys.stdout.flush()
    stream = session.err if session is not None else sys.stderr
    stream.write(printable(text_of(failure)) + "\n")
    return failure.status


def _unknown(tool: str, word: str, known: Iterable[str]) -> Failure:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"{tool} --help lists what there is"
    return BadUsage(f"{tool}: there is no command {word!r}", hint=hint)


def _tool_usage(tool: Tool) -> str:
    width = max(map(len, tool.commands))
    lines = [f"Usage: {tool.tool} COMMAND [options] [arguments]", "", "Commands:"]
    lines += [f"  {name:<{width}}  {tool.commands[name].summary}" for name in sorted(tool.commands)]
    return "\n".join([*lines, "", f"{tool.tool} COMMAND --help shows the options of a command."])


def _cairn_usage() -> str:
    plugins = "".join(
        f"  {name:<11} cairn {name} --help tells what it does\n" for name in plugin_names()
    )
    return (
        "Usage: cairn COMMAND [arguments]\n\nCommands:\n"
        + "".join(f"  {kind:<11} the same as gnt-{kind}\n" for kind in KINDS)
        + "  completion  print a script for bash: source <(cairn completion bash)\n"
        + plugins
    ).rstrip()

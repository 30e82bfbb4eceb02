"""`gnt-log at MOMENT COMMAND...`: any command that reads, as it would have answered then (edge)."""

from __future__ import annotations

from shell import grammar
from shell.failure import BadUsage
from shell.moments import parse_moment
from shell.parsing import Words
from shell.session import Session


def run(session: Session, words: Words) -> int:
    """Carry out at: `gnt-log at 812 instance list -o +tags`."""
    from shell.main import run as run_tool

    moment, first, *rest = words.args
    parse_moment(moment)  # refused here, before anything is asked
    tool = first if first.startswith("gnt-") else f"gnt-{first}"
    if tool not in grammar.TOOLS or not rest:
        raise BadUsage(
            f"after the moment a command is expected, not {first!r}",
            hint="such as: gnt-log at 812 instance list",
        )
    found = grammar.load(tool).find(rest[0])
    if found is None or "at" not in found[1].options:
        raise BadUsage(
            f"{tool} {rest[0]} does not read the state of a moment",
            hint="list, info, list-tags, search-tags and why do",
        )
    session.at = moment
    return run_tool(tool, rest, session)

"""Commands that other packages add to `cairn`: click commands in the entry point group (edge).

`shell` imports none of those packages; `cairn lab` is found so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from shell.failure import Status

if TYPE_CHECKING:
    import click

GROUP = "cairn.commands"


def plugin_names() -> list[str]:
    """Return their names; none of them is loaded."""
    from importlib.metadata import entry_points

    return sorted(entry.name for entry in entry_points(group=GROUP))


def plugin(name: str) -> Callable[[Sequence[str]], int] | None:
    """Return what carries out `cairn NAME` with these arguments, None if there is no such one."""
    from importlib.metadata import entry_points

    found = [entry.load() for entry in entry_points(group=GROUP, name=name)]
    if not found:
        return None
    command: click.Command = found[0]

    def call(args: Sequence[str]) -> int:
        import click

        try:
            status = command.main(args=list(args), prog_name=f"cairn {name}", standalone_mode=False)
        except click.ClickException as wrong:  # usage errors; click prints them with the usage
            wrong.show()
            return Status.USAGE
        except click.Abort:  # Ctrl-C
            return Status.INTERRUPTED
        return status if isinstance(status, int) else Status.SUCCESS

    return call


def plugin_words(name: str, typed: Sequence[str]) -> list[str]:
    """Return what may follow these words of `cairn NAME`: subcommands, choices and options."""
    from importlib.metadata import entry_points

    import click

    found = [entry.load() for entry in entry_points(group=GROUP, name=name)]
    if not found:
        return []
    command: click.Command = found[0]
    for word in typed:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    options = [
        opt for each in command.params if isinstance(each, click.Option) for opt in each.opts
    ]
    if isinstance(command, click.Group):
        return [*command.commands, *options]
    before = next((each for each in command.params if typed and typed[-1] in each.opts), None)
    if isinstance(before, click.Option) and not before.is_flag:
        return [str(each) for each in getattr(before.type, "choices", ())]
    return options

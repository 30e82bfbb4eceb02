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

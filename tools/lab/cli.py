"""`cairn lab`: a cluster on this machine, to try things on. Its drivers are simulated."""

from __future__ import annotations

import functools
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tools.lab.layout import MASTER, LabError, LabLayout, Wires, default_directory

F = TypeVar("F", bound=Callable[..., Any])  # Any: click passes what the command declares


class Clear(click.Group):
    """Turns what goes wrong into one line, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # Any: click's own
        """Run a command of the group."""
        from eventstore.errors import EventStoreError
        from shell.failure import Failure

        try:
            return super().invoke(ctx)
        except (LabError, EventStoreError, Failure) as wrong:
            click.echo(f"cairn lab: {wrong}", err=True)
            if hint := getattr(wrong, "hint", ""):
                click.echo(f"  {hint}", err=True)
            ctx.exit(1)


@click.group(cls=Clear)
def lab() -> None:
    """A cluster on this machine, in one directory, with simulated disks and hypervisors.

    Everything listens on the loopback only. The directory is --dir, else $CAIRN_LAB, else
    cairn-lab in the user's state directory.
    """


def in_lab(command: F) -> F:
    """Give the command the lab's layout as its first argument, from --dir."""

    @click.option("--dir", "directory", type=click.Path(path_type=Path), help="the lab's directory")
    @functools.wraps(command)
    def wrapped(directory: Path | None, **rest: Any) -> Any:
        return command(LabLayout((directory or default_directory()).absolute()), **rest)

    return wrapped  # type: ignore[return-value]  # click reads the options from the wrapper


@lab.command()
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--voters",
    default="1",
    show_default=True,
    type=click.Choice(["1", "3", "5"]),
    help="nodes that replicate the log, one of which leads",
)
@click.option("--cluster", default="", help="also make a cluster of this name, with every node")
@click.option("--apart", is_flag=True, help="give each node a network of its own (root)")
@in_lab
def up(layout: LabLayout, nodes: int, voters: str, cluster: str, *, apart: bool) -> None:
    """Start a lab: its agents wait to be invited into a cluster."""
    from tools.lab import running

    names = [f"node{number}" for number in range(1, nodes + 1)]
    if int(voters) > nodes:
        raise LabError(f"{voters} voters need as many nodes: --nodes {voters}")
    running.up(layout, names, settings={}, voters=int(voters), apart=apart)
    click.echo(f"{nodes} nodes are up in {layout.directory}, with simulated drivers.")
    if cluster:
        from tools.lab.founding import found_cluster

        found_cluster(layout, cluster)
        click.echo(f"{cluster} has {nodes} nodes.")
    where = f" --dir {shlex.quote(str(layout.directory))}" if _elsewhere(layout) else ""
    click.echo(f'To use it:  eval "$(cairn lab env{where})"')
    if not cluster:
        click.echo("Then:       gnt-cluster init NAME; gnt-node add node2; ...")


@lab.command()
@in_lab
def env(layout: LabLayout) -> None:
    """Print shell exports, so that every command talks to the lab."""
    layout.load()
    click.echo(f"export CAIRN_CONFIG={shlex.quote(str(layout.client))}")
    click.echo(f"export CAIRN_LAB={shlex.quote(str(layout.directory))}")
    binaries = Path(sys.executable).parent
    click.echo(f'export PATH={shlex.quote(str(binaries))}:"$PATH"')


@lab.command()
@in_lab
def status(layout: LabLayout) -> None:
    """Show which daemons run."""
    from tools.lab import running

    for daemon, pid in running.pids(layout).items():
        if daemon == MASTER and not (layout.master / "master.json").exists():
            told = "no cluster yet"
        else:
            told = f"pid {pid}" if pid is not None else "down"
        click.echo(f"{daemon:<14} {told}")


@lab.command()
@click.argument("daemon")
@click.option("--signal", "name", default="KILL", show_default=True, help="KILL, TERM, STOP, ...")
@in_lab
def kill(layout: LabLayout, daemon: str, name: str) -> None:
    """Send a signal to DAEMON: a node's name, `master`, or `master@NODE`."""
    from tools.lab import running

    try:
        signum = signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise LabError(f"no signal {name!r}: KILL, TERM, STOP, CONT, ...") from None
    pid = running.kill(layout, daemon, signum)
    click.echo(f"{signum.name} to {daemon}, pid {pid}")


@lab.command()
@click.argument("daemon")
@in_lab
def start(layout: LabLayout, daemon: str) -> None:
    """Start DAEMON (a node's name, `master`, or `master@NODE`) again."""
    from tools.lab import running

    click.echo(f"{daemon} runs, pid {running.start(layout, daemon)}")


@lab.command()
@click.argument("sender")
@click.argument("receivers", nargs=-1, required=True)
@click.option("--both", is_flag=True, help="what they send back, too")
@in_lab
def cut(layout: LabLayout, sender: str, receivers: tuple[str, ...], *, both: bool) -> None:
    """Lose in silence what SENDER sends to the RECEIVERS, all of them nodes of a lab `--apart`."""
    from tools.lab import wires

    laid = _wires(layout, sender, *receivers)
    wires.cut(laid, sender, receivers)
    for receiver in receivers if both else ():
        wires.cut(laid, receiver, (sender,))
    click.echo(f"{sender} {'<->' if both else '->'} {', '.join(receivers)}: cut")


@lab.command()
@in_lab
def heal(layout: LabLayout) -> None:
    """End every cut."""
    from tools.lab import wires

    wires.heal(_wires(layout))
    click.echo("every node hears every other one")


@lab.command("break")
@click.argument("what", type=click.Choice(["disk"]))
@click.argument("disk", metavar="INSTANCE[/INDEX]")
@click.argument("node")
@click.option("--repair", is_flag=True, help="make it readable again")
@in_lab
def break_(layout: LabLayout, what: str, disk: str, node: str, *, repair: bool) -> None:
    """Make what NODE holds of a disk unreadable."""
    from tools.lab import breaking

    for volume in breaking.break_disk(layout, disk, node, repair=repair):
        click.echo(f"{volume} on {node} can{'' if repair else 'not'} be read")


@lab.command()
@click.argument("node")
@click.argument("call")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1))
@click.option("--late", is_flag=True, help="fail after the call has acted")
@in_lab
def fail(layout: LabLayout, node: str, call: str, times: int, *, late: bool) -> None:
    """Let the next such CALL on NODE fail (`ensure-volume`, `install-os`, ..., or `*`)."""
    from tools.lab import breaking

    breaking.fail_call(layout, node, call, times=times, late=late)
    click.echo(f"the next {times} x {call} on {node} will fail")


@lab.command()
@click.argument("node")
@click.argument("seconds", type=click.FloatRange(0, 3600))
@in_lab
def slow(layout: LabLayout, node: str, seconds: float) -> None:
    """Let every call on NODE take SECONDS longer (0: as fast as it can)."""
    from tools.lab import breaking

    breaking.slow(layout, node, seconds)
    click.echo(
        f"every call on {node} takes {seconds:g} s longer"
        if seconds
        else f"calls on {node} are as fast as they can be"
    )


@lab.command()
@in_lab
def down(layout: LabLayout) -> None:
    """End every daemon of the lab and remove its directory."""
    from tools.lab import running

    running.down(layout)
    click.echo(f"{layout.directory} is gone")


def _wires(layout: LabLayout, *nodes: str) -> Wires:
    """Return the networks of a lab; these must be nodes of it."""
    laid = layout.load().wires
    if laid is None:
        raise LabError("all nodes share the loopback: cairn lab up --apart makes networks to cut")
    for node in nodes:
        if node not in laid.nodes:
            raise LabError(f"no {node} in this lab; there are {', '.join(laid.nodes)}")
    return laid


def _elsewhere(layout: LabLayout) -> bool:
    return layout.directory != default_directory().absolute()

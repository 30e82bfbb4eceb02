"""`python -m tools.testbed`: build, up, status, exec, kill, boot, tree, down (edge)."""

from __future__ import annotations

import sys
import time

import click

from tools.testbed import image
from tools.testbed.bed import Bed
from tools.testbed.layout import NODES, BedError, default_layout

_began = time.monotonic()


def say(text: str) -> None:
    """Tell the person who waits, with the seconds that have passed."""
    click.echo(f"[{time.monotonic() - _began:4.0f} s] {text}", err=True)


@click.group(help="Three node VMs with real LVM, DRBD, QEMU and bridges. Needs root, no KVM.")
@click.pass_context
def main(context: click.Context) -> None:
    """The group; `obj` is the test bed."""
    context.obj = Bed(default_layout(), say)


@main.command(help="Make the image (3 minutes), unless it is there.")
@click.pass_obj
def build(bed: Bed) -> None:
    """Make the image."""
    image.build(bed.layout, say)


@main.command(help="Start nodes, fresh: from the template, with the work tree in /opt/cairn.")
@click.argument("nodes", nargs=-1, type=click.Choice(NODES))
@click.pass_obj
def up(bed: Bed, nodes: tuple[str, ...]) -> None:
    """Start nodes."""
    bed.up(nodes or NODES)
    say("up")


@main.command(help="Say which nodes run.")
@click.pass_obj
def status(bed: Bed) -> None:
    """Say which nodes run."""
    for name, machine in bed.nodes.items():
        pid = machine.pid
        click.echo(f"{name} {'is down' if pid is None else f'runs, pid {pid}'}")


@main.command(
    name="exec",
    help="Run a command in a node (or `all`); exits with its status.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("node", type=click.Choice((*NODES, "all")))
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(bed: Bed, node: str, argv: tuple[str, ...]) -> None:
    """Run a command in nodes, one after the other. A single argument is given to a shell."""
    command = ("sh", "-c", *argv) if len(argv) == 1 else argv
    worst = 0
    for name in NODES if node == "all" else (node,):
        ended = bed.nodes[name].run(command, timeout_s=600)
        sys.stdout.buffer.write(ended.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(ended.stderr)
        worst = worst or ended.status
    sys.exit(worst)


@main.command(help="Cut a node's power.")
@click.argument("node", type=click.Choice(NODES))
@click.pass_obj
def kill(bed: Bed, node: str) -> None:
    """Cut a node's power."""
    bed.nodes[node].kill()


@main.command(help="Switch a node on that was killed, with its disks as they were.")
@click.argument("node", type=click.Choice(NODES))
@click.pass_obj
def boot(bed: Bed, node: str) -> None:
    """Switch a node on."""
    bed.boot(node)
    say("up")


@main.command(help="Bring the work tree as it is now to the nodes that run.")
@click.pass_obj
def tree(bed: Bed) -> None:
    """Bring the work tree."""
    bed.bring_tree(name for name, machine in bed.nodes.items() if machine.pid is not None)


@main.command(help="End all nodes; the image and the template stay.")
@click.pass_obj
def down(bed: Bed) -> None:
    """End all nodes."""
    bed.down()


if __name__ == "__main__":
    try:
        main()
    except (BedError, OSError) as failed:
        click.echo(f"testbed: {failed}", err=True)
        sys.exit(1)

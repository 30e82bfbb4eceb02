"""What several programs print or write in the same way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from commands.placement.moves import Kind
from commands.placement.options import Options
from commands.placement.state import Placement
from tools.htools.choices import Choices
from tools.htools.load import Loaded
from tools.htools.text import cluster_text

if TYPE_CHECKING:
    from commands.placement.balance import Step

_SCRIPT: Final = """#!/bin/sh

# Auto-generated script for executing cluster rebalancing

# To stop, touch the file /tmp/stop-htools

set -e

check() {
  if [ -f /tmp/stop-htools ]; then
    echo 'Stop requested, exiting'
    exit 0
  fi
}

"""


def algorithm_options(choices: Choices) -> Options:
    """The options of the algorithms that a command line sets."""
    restricted = choices.restrict_to
    return Options(
        disk_moves=choices.disk_moves,
        instance_moves=choices.instance_moves,
        restricted_migration=choices.restricted_migration,
        ignore_soft_errors=choices.ignore_soft_errors,
        evacuation=choices.evacuation,
        min_gain=choices.min_gain,
        min_gain_limit=choices.min_gain_limit,
        capacity_checks=choices.capacity_checks,
        restrict_to=None if restricted is None else frozenset(restricted),
        accept_existing=choices.accept_existing,
    )


def show_warnings(loaded: Loaded, choices: Choices) -> None:
    """Tell of inconsistent data."""
    if loaded.warnings and choices.verbose != 0:
        lines = "".join(f"  - {line}\n" for line in loaded.warnings)
        print(f"Warning: cluster has inconsistent data:\n{lines}", file=sys.stderr)


def save_text(choices: Choices, extension: str, what: str, text: str) -> None:
    """`-S`: write the cluster beside the name that was given."""
    assert choices.save is not None
    path = f"{choices.save}.{extension}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"The cluster state {what} has been written to file '{path}'", file=sys.stderr)


def save_cluster(
    loaded: Loaded, choices: Choices, extension: str, what: str, placement: Placement
) -> None:
    """`-S` for all nodes and instances, as the data marks them."""
    if choices.save is not None:
        save_text(choices, extension, what, cluster_text(loaded.cluster, placement))


def commands_of(step: Step, name: str, nodes: Sequence[str], *, running: bool) -> list[str]:
    """The gnt-instance commands of a move, without the program's name."""
    over = f"{'migrate' if running else 'failover'} -f {name}"
    primary = nodes[step.after[0]]

    def replace(node: int) -> str:
        return f"replace-disks -n {nodes[node]} {name}"

    match step.move.kind:
        case Kind.FAILOVER:
            return [over]
        case Kind.FAILOVER_TO_ANY:
            return [f"{'migrate' if running else 'failover'} -f -n {primary} {name}"]
        case Kind.REPLACE_SECONDARY:
            return [replace(step.after[1])]
        case Kind.REPLACE_AND_FAILOVER:
            return [replace(step.after[0]), over]
        case Kind.REPLACE_PRIMARY:
            return [over, replace(step.after[0]), over]
        case Kind.FAILOVER_AND_REPLACE:
            return [over, replace(step.after[1])]


def code_of(step: Step, nodes: Sequence[str]) -> str:
    """A move in the notation of the step lines: `f r:node3`."""
    target = nodes[step.move.target] if step.move.target >= 0 else ""
    return {
        Kind.FAILOVER: "f",
        Kind.FAILOVER_TO_ANY: f"fa:{target}",
        Kind.REPLACE_SECONDARY: f"r:{target}",
        Kind.REPLACE_AND_FAILOVER: f"r:{target} f",
        Kind.REPLACE_PRIMARY: f"f r:{target} f",
        Kind.FAILOVER_AND_REPLACE: f"f r:{target}",
    }[step.move.kind]


def job_commands(
    loaded: Loaded, placement: Placement, steps: list[Step], *, full_names: bool = False
) -> list[list[list[str]]]:
    """Sets of jobs of commands."""
    from commands.placement.balance import job_sets  # only who balances pays for its import

    nodes = [loaded.alias(name) for name in placement.frame.names]

    def commands(step: Step) -> list[str]:
        inst = placement.instances[step.move.instance]
        name = inst.name if full_names else loaded.alias(inst.name)
        return commands_of(step, name, nodes, running=inst.running)

    return [[commands(step) for step in found] for found in job_sets(steps)]


def format_jobs(sets: list[list[list[str]]]) -> str:
    """The commands as shell text, with a check for a stop file before each job."""
    lines: list[str] = []
    for number, jobs in enumerate(sets, 1):
        lines += ["", f"echo jobset {number}, {len(jobs)} jobs"]
        for position, commands in enumerate(jobs, 1):
            lines += [f"  echo job {number}/{position}", "  check"]
            lines += [f"  gnt-instance {command}" for command in commands]
    return "".join(f"{line}\n" for line in lines)


def save_commands(choices: Choices, title: str, text: str) -> None:
    """`-C`: print the commands, or write them to a file as a script."""
    if choices.commands is None:
        return
    if choices.commands == "-":
        lines = [line for line in text.split("\n")[:-1] if line != "  check"]
        if text and not text.endswith("\n"):
            lines = [line for line in text.split("\n") if line != "  check"]
        print(f"\n{title}")
        print("".join(f"  {line}\n" for line in lines), end="")
        return
    with open(choices.commands, "w", encoding="utf-8") as file:
        file.write(_SCRIPT + text)
    print(f"The commands have been written to file '{choices.commands}'")


def no_arguments(choices: Choices) -> None:
    """Refuse words that are no options."""
    from tools.htools.errors import HtoolsError

    if choices.arguments:
        raise HtoolsError("This program doesn't take any arguments.")

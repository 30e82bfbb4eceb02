"""A cluster with every node of a lab, by the same commands that a person types (edge)."""

from __future__ import annotations

import os
import subprocess

from tools.lab import daemons
from tools.lab.layout import LabError, LabLayout


def found_cluster(layout: LabLayout, name: str) -> None:
    """Make the cluster and add all nodes to it. Raises LabError with what a command said."""
    gnt(layout, "gnt-cluster", "init", name)
    for node in layout.load().nodes[1:]:
        gnt(layout, "gnt-node", "add", node)


def gnt(layout: LabLayout, tool: str, *arguments: str) -> str:
    """Run one command against the lab; return what it printed. Raises LabError if it fails."""
    done = subprocess.run(
        [daemons.script(tool), *arguments],
        env=environment(layout),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{tool} {' '.join(arguments)}: {done.stderr.strip() or done.stdout}")
    return done.stdout


def environment(layout: LabLayout) -> dict[str, str]:
    """Return the environment in which every command talks to this lab."""
    return {**os.environ, "CAIRN_CONFIG": str(layout.client), "CAIRN_LAB": str(layout.directory)}
